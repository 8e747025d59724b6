"""``mdcsrn info`` on files, folders and DICOM: text and JSON say the same as the parts they come from."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from click.testing import CliRunner, Result
from scipy import ndimage

from mdcsrn.cli.info import orientation
from mdcsrn.cli.main import main
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume, read_volume, write_volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace import resample_grid


def info(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["info", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zero-filled T1w, a stack of thick slices, and a damaged file."""
    place = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    smooth = 100 + 300 * ndimage.gaussian_filter(rng.random((40, 44, 36)), 2, mode="wrap")
    small = (smooth + rng.normal(0, 3, smooth.shape)).astype(np.float32)
    filled = resample_grid(torch.from_numpy(small), (64, 44, 36)).numpy()
    write_volume(Volume(filled, np.diag([-0.75, 1.0, 1.2, 1.0])), place / "sub-1_T1w.nii.gz")
    write_volume(Volume(small[:, :, :12], np.diag([1.0, 1.0, 4.0, 1.0])), place / "thick_FLAIR.nii.gz")
    (place / "bad.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    return place


def test_words_of_an_interpolated_scan(folder: Path) -> None:
    result = info(folder / "sub-1_T1w.nii.gz")
    assert result.exit_code == 0, result.output
    plan = make_plan(read_volume(folder / "sub-1_T1w.nii.gz"), ScanFacts(), Task())
    lines = result.stdout.splitlines()
    assert lines[0].startswith("sub-1_T1w: nifti, 64 x 44 x 36 voxels of float32")
    assert "0.75 x 1 x 1.2 mm" in lines[1]
    assert "48 x 44 x 43.2 mm, axes to LAS" in lines[2]
    assert "T1w (from the name)" in lines[3]
    acquired = plan.acquired_shape[0]
    assert f"{48 / acquired:.4g} mm: acquired {acquired} of 64 samples (step" in lines[4]
    assert "1 mm: no empty band among 44 samples" in lines[5]
    assert lines[7].split(maxsplit=1) == ["predict", plan.decision]
    assert "GiB" in lines[8]
    assert any("field-of-view-outside-trained-range: " in line for line in lines)


def test_json_holds_the_plan(folder: Path) -> None:
    result = info(folder / "sub-1_T1w.nii.gz", "--json", "--factor", "1", "2", "1.5")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    task = Task("factor", factor=(1, 2, 1.5))
    facts = ScanFacts(contrast="T1w", origin="name")
    plan = make_plan(read_volume(folder / "sub-1_T1w.nii.gz"), facts, task)
    assert found["plan"] == json.loads(json.dumps(plan.to_dict()))
    assert found["plan"]["shape"] == [64, 88, 54]
    assert found["axes"][0]["empty_band"] is True
    assert found["axes"][0]["acquired_mm"] == pytest.approx(48 / plan.acquired_shape[0])
    assert found["axes"][1]["empty_band"] is False
    assert found["estimate"]["memory_gib"] > 0
    assert 0 < found["estimate"]["region_share"] <= 1
    names = {warning["name"] for warning in found["warnings"]}
    assert "reduction-outside-trained-range" not in names
    assert "spacing-outside-trained-range" in names
    (far,) = json.loads(info(folder / "sub-1_T1w.nii.gz", "--json", "--factor", "1", "5", "1").stdout)
    assert "reduction-outside-trained-range" in {warning["name"] for warning in far["warnings"]}


def test_folder_tells_the_good_and_names_the_bad(folder: Path) -> None:
    result = info(folder)
    assert result.exit_code == 3
    assert "sub-1_T1w: nifti" in result.stdout
    assert "thick_FLAIR: nifti" in result.stdout
    assert "bad: cannot be read: " in result.stdout
    assert "1 of 3 scans cannot be read" in result.stderr
    as_json = info(folder, "--json")
    assert as_json.exit_code == 3
    found = {entry["name"]: entry for entry in json.loads(as_json.stdout)}
    assert "error" in found["bad"]
    assert found["thick_FLAIR"]["acquisition"]["slice_axis"] == 2
    assert found["thick_FLAIR"]["estimate"] is None  # nothing to fill


def test_one_bad_file_is_one_line(folder: Path) -> None:
    result = info(folder / "bad.nii.gz")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "bad.nii.gz" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nowhere.nii.gz",), 3),
        (("sub-1_T1w.nii.gz", "--factor", "0.5", "1", "1"), 4),
        (("sub-1_T1w.nii.gz", "--factor", "2", "1", "1", "--to-spacing", "1", "1", "1"), 4),
        (("sub-1_T1w.nii.gz", "--bundle", "no_such_bundle"), 4),
        (("sub-1_T1w.nii.gz", "--factor", "2"), 2),
    ],
)
def test_wrong_use_has_its_exit_code(folder: Path, arguments: tuple[str, ...], code: int) -> None:
    result = info(folder / arguments[0], *arguments[1:])
    assert result.exit_code == code
    assert result.stdout == ""


def test_as_a_process_without_control_characters(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mdcsrn", "info", str(folder / "thick_FLAIR.nii.gz")], capture_output=True, check=True
    )
    text = done.stdout.decode()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "output = input" in text
    assert "4 mm apart" in text
    assert done.stderr == b""


def test_dicom_without_patient_data(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "dicom" / "philips_classic_mprage3d.zip"
    with zipfile.ZipFile(source) as archive:
        first = next(name for name in archive.namelist() if not name.endswith("/"))
        header = pydicom.dcmread(io.BytesIO(archive.read(first)), stop_before_pixels=True)
    result = info(source, "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["kind"] == "dicom"
    assert found["acquisition"]["acquisition"] == "3D"
    assert found["acquisition"]["contrast_origin"] == "dicom"
    assert found["shape"][2] == 170
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "PatientBirthDate"):
        value = str(header.get(keyword, ""))
        assert len(value) < 4 or value not in result.stdout, keyword


def test_orientation_is_that_of_nibabel() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = rotation * rng.uniform(0.5, 4, 3)
        codes = nib.aff2axcodes(affine)
        # where two assignments are nearly as good, nibabel goes axis by axis
        if np.sort(np.abs(rotation), axis=0)[-1].min() > 0.75:
            assert orientation(affine) == "".join(codes)
        assert len({letter for pair in ("LR", "PA", "IS") for letter in orientation(affine) if letter in pair}) == 3
