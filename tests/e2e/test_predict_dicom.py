"""A DICOM series in, a derived series out: the same geometry in NIfTI, pydicom and SimpleITK, and no patient data."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
NAME = "Doe^Jane Secret"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "mdcsrn", *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def series(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 neighbouring slices of a real MPRAGE, under a name that must not spread."""
    folder = tmp_path_factory.mktemp("dicom") / "series"
    folder.mkdir()
    slices = []
    with zipfile.ZipFile(shared_data / "dicom" / "philips_classic_mprage3d.zip") as archive:
        for name in archive.namelist():
            if name.endswith("/"):
                continue
            dataset = pydicom.dcmread(io.BytesIO(archive.read(name)), force=True)
            if "PixelData" in dataset:
                slices.append(dataset)
    slices.sort(key=lambda dataset: int(dataset.InstanceNumber))
    middle = len(slices) // 2
    for number, dataset in enumerate(slices[middle - 12 : middle + 12]):
        dataset.PatientName = NAME
        dataset.PatientID = "SECRET-ID"
        dataset.save_as(folder / f"{number:03d}")
    return folder


@pytest.fixture(scope="module")
def result(series: Path, weights: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    place = series.parent
    done = run(
        "predict", series, "--factor", 1.25, 1, 1.5, "--dicom-out", place / "derived", "--model", weights,
        "--backend", "eager",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place, done


def test_the_series_has_the_geometry_of_the_nifti(result: tuple, series: Path) -> None:
    place, _ = result
    image = nib.load(place / "series_sr.nii.gz")  # beside the series' folder
    reader = sitk.ImageSeriesReader()
    files = reader.GetGDCMSeriesFileNames(str(place / "derived"))
    assert len(files) == image.shape[2] == 36
    reader.SetFileNames(files)
    derived = reader.Execute()
    assert derived.GetSize() == image.shape
    corners = [
        tuple(int(c * (n - 1)) for c, n in zip(corner, image.shape, strict=True)) for corner in np.ndindex(2, 2, 2)
    ]
    for corner in corners:
        lps = np.array(derived.TransformIndexToPhysicalPoint(corner))
        np.testing.assert_allclose(lps * (-1, -1, 1), (image.affine @ [*corner, 1])[:3], atol=2e-3)
    record = json.loads((place / "series_sr.json").read_text())
    step = record["dicom"]["storage"]["largest_rounding_error"]
    values = sitk.GetArrayFromImage(derived).transpose(2, 1, 0)
    np.testing.assert_allclose(values, image.get_fdata(), atol=step + 1e-3)
    source = sitk.ImageSeriesReader()
    source.SetFileNames(source.GetGDCMSeriesFileNames(str(series)))
    old = source.Execute()
    # Sample m // 2 of the new grid is sample n // 2 of the old one.
    here = derived.TransformIndexToPhysicalPoint([m // 2 for m in derived.GetSize()])
    there = old.TransformIndexToPhysicalPoint([n // 2 for n in old.GetSize()])
    np.testing.assert_allclose(here, there, atol=2e-3)


def test_the_series_says_that_it_is_derived(result: tuple, series: Path) -> None:
    place, _ = result
    source = pydicom.dcmread(next(series.iterdir()))
    for path in (place / "derived").iterdir():
        dataset = pydicom.dcmread(path)
        assert list(dataset.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert "mdcsrn" in dataset.DerivationDescription
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert dataset.SeriesDescription == f"{source.SeriesDescription}_SR"
        assert dataset.SeriesNumber == 100 * source.SeriesNumber + 1
        assert dataset.ManufacturerModelName == source.ManufacturerModelName
    entry = json.loads((place / "series_sr.json").read_text())["dicom"]
    assert 0 < entry["certificate"]["relative_error"] < 1e-4  # 16 bits are fine enough


def test_a_slope_of_one_counts_its_rounding(series: Path, weights: Path, tmp_path: Path) -> None:
    done = run(
        "predict", series, "-o", tmp_path / "o.nii.gz", "--factor", 1, 1, 1.25, "--dicom-out", tmp_path / "derived",
        "--dicom-slope", "one", "--series-number", 77, "--series-description", "whole numbers", "--model", weights,
        "--backend", "eager", "--report", tmp_path / "o.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "DICOM series of 30 images, slope 1, rounding up to 0.5" in done.stdout
    entry = json.loads((tmp_path / "o.json").read_text())["dicom"]
    values = nib.load(tmp_path / "o.nii.gz").get_fdata()
    assert entry["storage"]["largest_rounding_error"] == pytest.approx(np.abs(values - np.rint(values)).max(), abs=1e-3)
    error = entry["certificate"]["relative_error"]
    assert error > 1e-5
    page = (tmp_path / "o.html").read_text()
    assert f"As stored in the DICOM series, after rounding to its slope: {error:.1e}" in page
    for k, path in enumerate(sorted((tmp_path / "derived").iterdir())):
        dataset = pydicom.dcmread(path)
        assert (dataset.SeriesNumber, dataset.SeriesDescription) == (77, "whole numbers")
        np.testing.assert_array_equal(dataset.pixel_array, np.rint(values[:, :, k]).T)


def test_no_patient_data_in_record_or_output(result: tuple) -> None:
    place, done = result
    for text in (done.stdout, done.stderr, (place / "series_sr.json").read_text()):
        for secret in ("Doe", "Jane", "Secret", "SECRET"):
            assert secret not in text


def test_verified_resumed_and_not_overwritten(result: tuple, series: Path, weights: Path) -> None:
    place, _ = result
    shown = run("verify", place / "series_sr.nii.gz", "--json")
    checks = {check["name"]: check["passed"] for check in json.loads(shown.stdout)["checks"]}
    assert shown.returncode == 0
    assert all(passed is True for passed in checks.values()), checks
    assert "dicom" in checks
    words = ("--factor", 1.25, 1, 1.5, "--dicom-out", place / "derived", "--model", weights, "--backend", "eager")
    again = run("predict", series, "--resume", "--json", *words)
    assert json.loads(again.stdout)[0]["status"] == "skipped"
    replaced = run("predict", series, *words)  # the series of an earlier run may be replaced
    assert replaced.returncode == 0, replaced.stderr
    (place / "derived" / "notes.txt").write_text("of somebody else")
    refused = run("predict", series, *words)
    assert (refused.returncode, "there is something already" in refused.stderr) == (7, True)
    assert run("verify", place / "series_sr.nii.gz").returncode == 3
