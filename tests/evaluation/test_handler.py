"""The comparison table attached to a real MONAI evaluator, on files with the project's own transforms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, CopyItemsd, EnsureChannelFirstd, LoadImaged
from torch import Tensor

from mdcsrn.errors import ConfigError, root_error
from mdcsrn.evaluation import ComparisonTable, compare
from mdcsrn.io import Volume, write_volume
from mdcsrn.kspace import DegradationSpec, degrade, project
from mdcsrn.transforms import KSpaceLowPassd

SPEC = DegradationSpec(reduction=(1, 2, 2))


class Sharpen(torch.nn.Module):
    """A fixed stand-in for a generator: adds a share of the high-pass residual."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        return x + 0.2 * (x - torch.nn.functional.avg_pool3d(x, 3, stride=1, padding=1))


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, str]]:
    generator = np.random.default_rng(0)
    items = []
    for name in ("a/T1w.nii.gz", "b/T1w.nii.gz", "sub-3.nii"):
        array = np.zeros((13, 14, 16), np.float32)
        array[2:11, 2:12, 2:14] = generator.random((9, 10, 12)) * 500 + 100
        write_volume(Volume(array, np.diag([1.0, 1.2, 0.8, 1.0])), tmp_path / name)
        items.append({"label": str(tmp_path / name)})
    return items


def consistent(items: list[dict]) -> list[dict]:
    for item in items:
        item["pred_raw"] = item["pred"]
        item["pred"] = project(item["pred"], item["image"], SPEC)
    return items


def evaluator(files: list[dict[str, str]], handler: ComparisonTable, decollate: bool = True) -> SupervisedEvaluator:
    transform = Compose(
        [LoadImaged("label"), EnsureChannelFirstd("label"), CopyItemsd("label", names="image"),
         KSpaceLowPassd("image", spec=SPEC)]
    )  # fmt: skip

    def keep(item: dict) -> dict:
        return consistent([item])[0]

    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(files, transform), batch_size=1),
        network=Sharpen(),
        postprocessing=keep if decollate else None,
        val_handlers=[handler],
        decollate=decollate,
    )


@pytest.mark.parametrize("degradation", [SPEC.to_dict(), None])
def test_table_of_a_run(
    files: list, tmp_path: Path, capsys: pytest.CaptureFixture[str], degradation: dict | None
) -> None:
    handler = ComparisonTable(tmp_path / "eval", degradation, legacy=True)
    engine = evaluator(files, handler)
    engine.run()
    lines = list(csv.DictReader((tmp_path / "eval" / "per_subject.csv").open()))
    assert list(dict.fromkeys(line["subject"] for line in lines)) == ["T1w", "b/T1w", "sub-3"]
    methods = ["SR", "SR without consistency", "nearest", "trilinear", "cubic B-spline", "zero-filled"]
    assert list(dict.fromkeys(line["method"] for line in lines)) == methods
    assert len(lines) == 3 * 6 * 2

    truth = torch.from_numpy(np.asarray(Dataset(files, LoadImaged("label"))[2]["label"]))[None]
    low = degrade(truth, SPEC)
    raw = Sharpen()(low[None])[0]
    expected = compare(truth, {"SR": project(raw, low, SPEC), "SR without consistency": raw, "zero-filled": low}, SPEC)
    found = {(r.method, r.region): r.values for r in handler.rows if r.subject == "sub-3"}
    for row in expected:
        for name, value in row.values.items():
            assert found[row.method, row.region][name] == pytest.approx(value, rel=1e-4, abs=1e-6), (row, name)
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["degradations"] == {"1x2x2 box": SPEC.to_dict()}
    assert summary["summary"][0]["psnr"]["n"] == 3
    printed = capsys.readouterr().out
    assert "SR without consistency" in printed
    assert "3 subjects | region: head | degradation: 1x2x2 box" in printed

    engine.run()
    assert len(handler.rows) == 36, "a second run starts a new table"


def test_cubic_beats_nearest_on_smooth_volumes(tmp_path: Path) -> None:
    """The order of the baselines is what a half-voxel error would break."""
    axes = np.meshgrid(*[np.arange(n) - n / 2 for n in (20, 22, 24)], indexing="ij")
    blob = 1000 * np.exp(-sum(a**2 for a in axes) / 40)
    write_volume(Volume(blob.astype(np.float32), np.eye(4)), tmp_path / "blob.nii")
    handler = ComparisonTable(tmp_path / "out", SPEC)
    evaluator([{"label": str(tmp_path / "blob.nii")}], handler).run()
    psnr = {row.method: row.values["psnr"] for row in handler.rows if row.region == "head"}
    assert psnr["zero-filled"] > psnr["cubic B-spline"] > psnr["trilinear"] > psnr["nearest"]
    assert psnr["cubic B-spline"] > 30


def test_wrong_engines_are_refused(files: list, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="decollate"):
        evaluator(files, ComparisonTable(tmp_path), decollate=False).run()
    with pytest.raises(ConfigError, match="sinc"):
        ComparisonTable(tmp_path, baselines=["sinc"])


def test_unwritable_folder_is_an_output_error(files: list, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Exception, match="cannot write") as caught:
        evaluator(files, ComparisonTable(tmp_path / "file" / "eval", SPEC, baselines=[])).run()
    error = root_error(caught.value)
    assert error is not None
    assert error.exit_code == 7
