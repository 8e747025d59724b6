"""What an export says of itself, lower precisions, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from mdcsrn.bundle.export import export
from mdcsrn.bundle.export_formats import FORMS
from mdcsrn.cli.main import main
from mdcsrn.errors import ConfigError, DataError, OutputError
from mdcsrn.networks import MDCSRN, save_weights
from mdcsrn.processor import has_bfloat16

NATIVE = pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")


@pytest.mark.parametrize(
    ("name", "precision", "least"),
    [
        pytest.param("torchscript", "bfloat16", 35, marks=NATIVE),
        pytest.param("pt2", "bfloat16", 35, marks=[NATIVE, pytest.mark.long]),
        ("openvino", "float16", 50),
    ],
)
def test_lower_precisions_say_their_psnr(
    name: str, precision: str, least: float, both: Path, scan: Path, tmp_path: Path
) -> None:
    record = export(both, name, tmp_path / f"export{FORMS[name].suffix}", precision=precision, volume=scan)
    assert record["precision"] == precision
    assert least < record["check"]["psnr_db"] < 100  # it is another precision, and no other network


def test_the_description_travels_in_the_file(both: Path, scan: Path, tmp_path: Path) -> None:
    import onnx
    import openvino

    described = {}
    for name in FORMS:
        target = tmp_path / f"export{FORMS[name].suffix}"
        record = export(both, name, target, volume=scan)
        if name == "torchscript":
            extra = {"mdcsrn.json": ""}
            torch.jit.load(str(target), _extra_files=extra)
            described[name] = json.loads(extra["mdcsrn.json"])
        elif name == "pt2":
            extra = {"mdcsrn.json": ""}
            torch.export.load(target, extra_files=extra)
            described[name] = json.loads(extra["mdcsrn.json"])
        elif name == "onnx":
            described[name] = json.loads({p.key: p.value for p in onnx.load(str(target)).metadata_props}["mdcsrn"])
        elif name == "openvino":
            described[name] = json.loads(openvino.Core().read_model(str(target)).get_rt_info(["mdcsrn"]).astype(str))
        else:
            with safe_open(target, framework="np") as file:
                described[name] = json.loads(file.metadata()["mdcsrn"])["facts"]
        assert described[name] == {key: record[key] for key in described[name]}
        assert described[name]["architecture"]["space_to_depth"] == [2, 2, 2]
        assert "research only" in described[name]["use"]


def test_refusals(both: Path, scan: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such format"):
        export(both, "caffe", tmp_path / "a.caffe", volume=scan)
    with pytest.raises(ConfigError, match="trt_export"):
        export(both, "tensorrt", tmp_path / "a.ts", volume=scan)
    with pytest.raises(ConfigError, match="int8"):
        export(both, "onnx", tmp_path / "a.onnx", precision="int8", volume=scan)
    with pytest.raises(ConfigError, match="ends in"):
        export(both, "onnx", tmp_path / "a.pt", volume=scan)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export(both, "safetensors", tmp_path / "file" / "a.safetensors", volume=scan)
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20), np.float32), np.eye(4)), tmp_path / "empty.nii")
    with pytest.raises(DataError, match="empty"):
        export(both, "safetensors", tmp_path / "a.safetensors", volume=tmp_path / "empty.nii")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.nii", "file"]


def test_an_export_that_differs_is_not_handed_over(
    both: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    def other(network: MDCSRN, path: Path, *rest: object) -> None:
        twin = MDCSRN(**network.architecture)
        twin.load_state_dict({name: value * 1.001 for name, value in network.state_dict().items()})
        save_weights(path, twin)

    monkeypatch.setitem(FORMS, "safetensors", dataclasses.replace(FORMS["safetensors"], write=other))
    with pytest.raises(ConfigError, match="differs from the network"):
        export(both, "safetensors", tmp_path / "a.safetensors", volume=scan)
    assert list(tmp_path.iterdir()) == []


def test_as_a_command(both: Path, scan: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    words = ["bundle", "export", str(both), "--format", "onnx", "-o", str(target), "--volume", str(scan)]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert "relative error" in shown.output
    document = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert document["check"]["scan"] == "scan.nii.gz"
    assert CliRunner().invoke(main, [*words[:-6], "--format", "caffe", "-o", "x"]).exit_code == 4
