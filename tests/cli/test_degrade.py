"""``mdcsrn degrade`` as a user runs it: a process, files in, files out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.eulerangles import euler2mat

AFFINE = np.eye(4)  # oblique, left-handed, anisotropic
AFFINE[:3] = np.c_[euler2mat(0.2, -1.4, 0.4) @ np.diag([0.9, -1.1, 1.4]), (90, -120, -70)]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mdcsrn", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    array = rng.normal(500, 100, (12, 15, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_reference_grid_is_the_low_pass_of_numpy(scan: Path, tmp_path: Path, numpy_low_pass: Callable) -> None:
    out = tmp_path / "new" / "lr.nii.gz"
    done = run("degrade", scan, "-o", out, "--spec", "hcp_2x2")
    assert done.returncode == 0, done.stderr
    source, result = nib.load(scan), nib.load(out)
    np.testing.assert_allclose(result.get_fdata(), numpy_low_pass(source.get_fdata(), (1, 2, 2)), atol=1e-3)
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-5)
    assert result.get_data_dtype() == np.float32
    assert sorted(path.name for path in out.parent.iterdir()) == ["lr.json", "lr.nii.gz"]


def test_sidecar_says_how_it_was_made(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "lr.nii.gz"
    spec = tmp_path / "my.yaml"
    spec.write_text("degradation: {reduction: [2, 1, 1.5], window: hamming, noise: 0.01, seed: 3}\n")
    assert run("degrade", scan, "-o", out, "--spec", spec).returncode == 0
    record = json.loads((out.parent / "lr.json").read_text())
    assert record["degradation"]["reduction"] == [2, 1, 1.5]
    assert record["source"] == "../scan.nii.gz"
    for key, path in (("source_sha256", scan), ("output_sha256", out)):
        assert record[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    again = tmp_path / "again.nii.gz"
    assert run("degrade", scan, "-o", again, "--spec", spec).returncode == 0
    assert again.read_bytes() == out.read_bytes()


def test_acquired_grid_has_the_affine_of_its_samples(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.nii.gz"
    assert run("degrade", scan, "-o", out, "--spec", "hcp_2x2", "--grid", "acquired").returncode == 0
    small, whole = sitk.ReadImage(str(out)), sitk.ReadImage(str(scan))
    assert small.GetSize() == (12, 8, 8)
    np.testing.assert_allclose(small.GetSpacing(), np.multiply(whole.GetSpacing(), (1, 15 / 8, 2)), rtol=1e-5)
    # New sample j lies at old index (j - m//2) n/m + n//2: sample m//2 is the old n//2.
    centre = whole.TransformIndexToPhysicalPoint((6, 7, 8))
    np.testing.assert_allclose(small.TransformIndexToPhysicalPoint((6, 4, 4)), centre, atol=1e-4)
    assert nib.load(out).get_fdata().mean() == pytest.approx(nib.load(scan).get_fdata().mean(), rel=1e-5)


def _bad(tmp_path: Path, kind: str) -> Path:
    arrays = {
        "nan": np.full((8, 8, 8), np.nan, np.float32),
        "zero": np.zeros((8, 8, 8), np.float32),
        "four": np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32),
    }
    path = tmp_path / f"{kind}.nii.gz"
    if kind in arrays:
        nib.save(nib.Nifti1Image(arrays[kind], np.eye(4)), path)
    elif kind == "text":
        path.write_text("no image")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "no such file"),
        ("nan", "512 of 512 voxels"),
        ("zero", "nothing but zeros"),
        ("four", "not one 3D volume"),
        ("text", "truncated or not a NIfTI file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, kind: str, words: str) -> None:
    source = _bad(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    done = run("degrade", source, "-o", tmp_path / "out" / "lr.nii.gz", "--spec", "iso_2")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert source.name in done.stderr
    assert words in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_settings_and_outputs(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("degradation: {reduction: [0.5, 1, 1]}\n")
    cases = [
        (("-o", tmp_path / "file" / "lr.nii.gz", "--spec", "iso_2"), 7, "cannot write"),
        (("-o", "/dev/full/lr.nii.gz", "--spec", "iso_2"), 7, "cannot write"),
        (("-o", tmp_path / "lr.gif", "--spec", "iso_2"), 7, "not a NIfTI name"),
        (("-o", tmp_path / "lr.png", "--spec", "iso_2"), 7, "a PNG holds one plane"),
        (("-o", scan, "--spec", "iso_2"), 7, "is the input"),
        (("-o", tmp_path / "lr.nii", "--spec", "absent"), 4, "preset named absent"),
        (("-o", tmp_path / "lr.nii", "--spec", wrong), 4, "reduction"),
        (("-o", tmp_path / "lr.nii"), 2, "--spec"),
    ]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments, code, words in cases:
        done = run("degrade", scan, *arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_sidecar_that_cannot_be_written_stops_the_volume_too(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "lr.json").mkdir()
    done = run("degrade", scan, "-o", tmp_path / "lr.nii.gz", "--spec", "iso_2")
    assert done.returncode == 7
    assert not (tmp_path / "lr.nii.gz").exists()
