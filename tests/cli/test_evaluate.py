"""The evaluate command on files and folders, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from mdcsrn.cli.evaluate import command
from mdcsrn.errors import DataError, GeometryError, OutputError
from mdcsrn.io import Volume, read_volume, write_volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.metrics import data_range, head_mask, psnr

AFFINE = np.array([[0.9, 0.1, 0, -40], [-0.1, 1.1, 0, 12], [0, 0, 1.2, 3], [0, 0, 0, 1]])


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    return write_volume(Volume(array.astype(np.float32), affine), path)


def head(seed: int = 0) -> np.ndarray:
    array = np.zeros((13, 14, 15), np.float32)
    array[2:11, 2:12, 2:13] = np.random.default_rng(seed).random((9, 10, 11)) * 900 + 100
    return array


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_two_files(tmp_path: Path) -> None:
    truth = head()
    reference = write(tmp_path / "r.nii.gz", truth)
    prediction = write(tmp_path / "p.nii", truth + 20)
    result = run("--prediction", prediction, "--reference", reference, "--json", tmp_path / "out" / "f.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out" / "f.json").read_text())["rows"]
    y = torch.from_numpy(truth)
    assert [row["region"] for row in rows] == ["head", "volume"]
    assert rows[0]["psnr"] == pytest.approx(psnr(y + 20, y, data_range(y), head_mask(y)), abs=1e-4)
    assert "band_error" not in rows[0]
    assert f"{rows[0]['psnr']:.2f}" in result.output
    assert "99.9th percentile" in result.output


def test_spec_legacy_and_mask(tmp_path: Path) -> None:
    truth = head()
    spec = DegradationSpec(reduction=(2, 1, 2))
    (tmp_path / "spec.yaml").write_text("degradation:\n  reduction: [2, 1, 2]\n")
    reference = write(tmp_path / "r.nii", truth)
    prediction = write(tmp_path / "p.nii", degrade(torch.from_numpy(truth), spec).numpy())
    mask = write(tmp_path / "m.nii", (np.indices(truth.shape)[0] < 6).astype(np.float32))
    result = run(
        "--prediction", prediction, "--reference", reference, "--mask", mask, "--spec", tmp_path / "spec.yaml",
        "--legacy", "--json", tmp_path / "f.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "f.json").read_text())
    assert [row["region"] for row in content["rows"]] == ["mask", "volume"]
    assert content["rows"][1]["band_error"] == pytest.approx(1.0, abs=1e-4)
    assert "legacy_ssim" in content["rows"][1]
    assert content["degradations"]["2x1x2 box"]["reduction"] == [2, 1, 2]


def test_folders_are_matched_by_name_and_the_good_are_done(tmp_path: Path) -> None:
    for index, name in enumerate(("a", "b", "c")):
        write(tmp_path / "r" / f"{name}.nii.gz", head(index))
        write(tmp_path / "p" / f"{name}.nii", head(index) + 5 * (index + 1))
    result = run("--prediction", tmp_path / "p", "--reference", tmp_path / "r", "--json", tmp_path / "ok.json")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "ok.json").read_text())
    assert content["subjects"] == ["a", "b", "c"]
    assert content["summary"][0]["nrmse"]["n"] == 3
    assert "3 subjects" in result.output

    (tmp_path / "p" / "b.nii").write_bytes(b"not a volume")
    (tmp_path / "r" / "only_reference.nii").write_bytes((tmp_path / "p" / "a.nii").read_bytes())
    result = run("--prediction", tmp_path / "p", "--reference", tmp_path / "r", "--json", tmp_path / "part.json")
    assert isinstance(result.exception, DataError)
    assert "2 of 4" in str(result.exception)
    assert "b.nii" in result.stderr
    assert "only_reference.nii" in result.stderr
    assert json.loads((tmp_path / "part.json").read_text())["subjects"] == ["a", "c"]


def test_grids_must_agree_and_both_files_are_named(tmp_path: Path) -> None:
    reference = write(tmp_path / "r.nii", head())
    moved = AFFINE.copy()
    moved[0, 3] += 0.01  # a hundredth of a voxel
    shifted = write(tmp_path / "shifted.nii", head() + 1, moved)
    result = run("--prediction", shifted, "--reference", reference)
    assert isinstance(result.exception, GeometryError)
    assert "shifted.nii" in str(result.exception)
    assert "r.nii" in str(result.exception)
    cut = write(tmp_path / "cut.nii", head()[1:])
    result = run("--prediction", cut, "--reference", reference)
    assert isinstance(result.exception, GeometryError)
    assert "cut.nii" in str(result.exception)
    result = run("--prediction", reference, "--reference", reference, "--mask", cut)
    assert isinstance(result.exception, GeometryError)


def test_rounding_of_an_affine_is_no_difference(tmp_path: Path) -> None:
    reference = write(tmp_path / "r.nii", head())
    rounded = write(tmp_path / "p.nii", head() + 1, AFFINE + np.eye(4, k=3) * 1e-5)
    assert run("--prediction", rounded, "--reference", reference).exit_code == 0


def test_bad_input_is_the_projects_own_error(tmp_path: Path) -> None:
    reference = write(tmp_path / "r.nii", head())
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.nii").write_bytes(b"")
    for arguments in (
        ("--prediction", tmp_path / "missing.nii", "--reference", reference),
        ("--prediction", tmp_path / "empty", "--reference", reference),
        ("--prediction", tmp_path / "empty", "--reference", tmp_path / "empty"),
        ("--prediction", tmp_path / "zero.nii", "--reference", reference),
        ("--prediction", reference, "--reference", reference, "--mask", tmp_path / "empty"),
        ("--prediction", reference, "--reference", reference, "--mask", tmp_path / "missing.nii"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, DataError), (arguments, result.exception)
    result = run("--prediction", reference, "--reference", reference, "--json", tmp_path / "zero.nii" / "x.json")
    assert isinstance(result.exception, OutputError)


def test_a_real_volume_against_its_own_degradation(tmp_path: Path, shared_data: Path) -> None:
    source = sorted((shared_data / "t1w" / "val").glob("*.nii.gz"))[0]
    volume = read_volume(source)
    middle = tuple(slice(n // 2 - 24, n // 2 + 24) for n in volume.shape)
    part = volume.replace(np.ascontiguousarray(volume.array[middle]))
    low = degrade(torch.from_numpy(part.array), DegradationSpec(reduction=(1, 2, 2))).numpy()
    write_volume(part, tmp_path / "r.nii.gz")
    write_volume(part.replace(low), tmp_path / "p.nii.gz")
    result = run("--prediction", tmp_path / "p.nii.gz", "--reference", tmp_path / "r.nii.gz", "--json", tmp_path / "j")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "j").read_text())["rows"][0]
    assert 15 < row["psnr"] < 50
    assert 0.4 < row["ssim"] < 1
