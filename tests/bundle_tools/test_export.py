"""Exports, loaded back by the documented path alone: sizes that nobody recorded, metadata, precisions, refusals."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mdcsrn.bundle.export import LIMIT, export
from mdcsrn.bundle.export_formats import FORMS
from mdcsrn.networks import load_weights

SIZES = ((16, 18, 14), (9, 21, 13), (4, 5, 7))


def loaded(name: str, path: Path, images: list[np.ndarray]) -> list[np.ndarray]:
    """What the line of the record gives, in a process that has the named package and no code of a bundle."""
    record = json.loads(Path(f"{path}.json").read_text())
    for index, image in enumerate(images):
        np.save(path.parent / f"image{index}.npy", image)
    lines = record["load"].replace(repr(path.name), repr(str(path))).split("; ")
    to, of = ("", "") if name in ("onnx", "openvino") else ("torch.from_numpy", ".detach().numpy()")
    packages = {"onnx": "onnxruntime", "openvino": "openvino", "safetensors": "torch, mdcsrn.networks"}
    code = [f"import numpy, {packages.get(name, 'torch')}", lines[0], f"for index in range({len(images)}):"]
    code += [f"    image = {to}(numpy.load('image' + str(index) + '.npy'))", f"    {lines[1]}"]
    code += [f"    numpy.save('pred' + str(index) + '.npy', pred{of})"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [np.load(path.parent / f"pred{index}.npy") for index in range(len(images))]


def cases() -> list[object]:
    """Every form with both networks; torch.export takes its time, and safetensors are tested where they are made."""
    found = []
    for name in FORMS:
        for model in ("model", "plain"):
            slow = name == "pt2" or (name, model) == ("safetensors", "plain")
            marks = [pytest.mark.long] if slow else []
            found.append(pytest.param(name, model, marks=marks, id=f"{name}-{model}"))
    return found


@pytest.mark.parametrize(("name", "model"), cases())
def test_float32(name: str, model: str, both: Path, scan: Path, tmp_path: Path) -> None:
    target = tmp_path / f"export{FORMS[name].suffix}"
    record = export(both, name, target, model, volume=scan)
    assert record["check"]["relative_error"] <= LIMIT
    assert record["architecture"]["blocks"] == 2
    assert json.loads(Path(f"{target}.json").read_text()) == record
    for file, facts in record["files"].items():
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == facts["sha256"]

    network = load_weights(both / "models" / f"{model}.pt")
    images = [torch.rand(1, 1, *shape) for shape in SIZES]
    for image, got in zip(images, loaded(name, target, [image.numpy() for image in images]), strict=True):
        expected = network(image).detach().numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= LIMIT * np.abs(expected).max()


@pytest.mark.long
@pytest.mark.parametrize("name", FORMS)
def test_the_shipped_network_on_a_real_scan(name: str, shared_data: Path, shipped: Path, tmp_path: Path) -> None:
    scan = sorted((shared_data / "t1w" / "test").glob("*.nii.gz"))[0]
    record = export(shipped.name, name, tmp_path / f"model{FORMS[name].suffix}", volume=scan)
    assert record["check"]["relative_error"] <= LIMIT
    assert record["trained_range"] is not None


@pytest.mark.long
def test_int8_of_the_shipped_network(shared_data: Path, shipped: Path, tmp_path: Path) -> None:
    """Of the layers only: an image brighter than any that was calibrated on is not cut to eight bits."""
    pytest.importorskip("nncf")
    import openvino

    scan = sorted((shared_data / "t1w" / "test").glob("*.nii.gz"))[0]
    record = export(shipped.name, "openvino", tmp_path / "model.xml", precision="int8", volume=scan)
    assert 28 < record["check"]["psnr_db"] < 80
    nodes = openvino.Core().read_model(str(tmp_path / "model.xml")).get_ordered_ops()
    read = [
        port.get_node()
        for node in nodes
        if node.get_type_name() == "FakeQuantize"
        for port in node.output(0).get_target_inputs()
    ]
    assert len(read) > 10
    assert "Add" not in {node.get_type_name() for node in read}
