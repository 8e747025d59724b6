"""Derived series before the field's own judges: dcm2niix converts them as the scanner's, dciodvfy finds no error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from mdcsrn.io.dicom import DicomSeries, find_series, read_series, write_series
from mdcsrn.io.nifti import write_volume
from mdcsrn.io.volume import Volume

VENDORS = "dicom2nifti_fixtures_multivendor.zip"
SOURCES = {
    "GE": (VENDORS, "ge/anatomical/001"),
    "Philips": (VENDORS, "philips/anatomical/001"),
    "Philips enhanced": (VENDORS, "philips_enhanced/anatomical/001"),
    "Siemens": (VENDORS, "siemens/anatomical/001"),
    "Siemens XA": ("siemens_xa30_enhanced_t1tfl.zip", "In/5_anat-T1w_acq-tfl"),
    "Hyperfine": (VENDORS, "hyperfine/anatomical/001"),
}
OF_THE_SCANNER = {  # field of dcm2niix: keyword of DICOM
    "ManufacturersModelName": "ManufacturerModelName",
    "SoftwareVersions": "SoftwareVersions",
    "ProtocolName": "ProtocolName",
    "MagneticFieldStrength": "MagneticFieldStrength",
    "DeviceSerialNumber": "DeviceSerialNumber",
    "StationName": "StationName",
}


@pytest.fixture(scope="module")
def program() -> str:
    """dcm2niix of this environment (a package of the test extra), else of the path."""
    beside = Path(sys.executable).with_name("dcm2niix")
    found = str(beside) if beside.is_file() else shutil.which("dcm2niix")
    if found is None:
        pytest.skip("no dcm2niix: pip install dcm2niix")
    return found


@pytest.fixture(scope="module")
def sources(shared_data: Path) -> dict[str, DicomSeries]:
    found = {
        (name, s.folder): s
        for name in {name for name, _ in SOURCES.values()}
        for s in find_series(shared_data / "dicom" / name)
    }
    return {vendor: read_series(found[key]) for vendor, key in SOURCES.items()}


def _convert(program: str, folder: Path, target: Path) -> tuple[Path, dict[str, Any]]:
    target.mkdir()
    words = [program, "-o", str(target), "-f", "made", "-z", "n", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (image,) = target.glob("*.nii")
    return image, json.loads(image.with_suffix(".json").read_text())


def _finer(source: DicomSeries) -> Volume:
    """Every other column and row of the source, three times as many slices of the same stack: a grid of its own."""
    shape = (48, 40, 9)
    affine = source.volume.affine.copy()
    affine[:3, :3] *= np.array(source.volume.shape) / shape
    values = np.random.default_rng(0).gamma(2, 200, shape).astype(np.float32)
    return Volume(values, affine)


@pytest.mark.parametrize("slope", ["exact", "one"])
@pytest.mark.parametrize("vendor", SOURCES)
def test_dcm2niix_gives_our_nifti_and_the_scanners_facts(
    sources: dict[str, DicomSeries], program: str, tmp_path: Path, vendor: str, slope: str
) -> None:
    source = sources[vendor]
    volume = _finer(source)
    write_series(volume, source, tmp_path / "dicom", "made for a test", slope=slope)
    write_volume(volume, tmp_path / "ours.nii.gz")
    image, sidecar = _convert(program, tmp_path / "dicom", tmp_path / "made")
    theirs = nib.as_closest_canonical(nib.load(image))
    ours = nib.as_closest_canonical(nib.load(tmp_path / "ours.nii.gz"))
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=2e-3)
    step = 0.51 if slope == "one" else np.ptp(volume.array) / 131000
    np.testing.assert_allclose(theirs.get_fdata(), ours.get_fdata(), atol=step)

    header = source.headers[0]
    for field, keyword in OF_THE_SCANNER.items():
        value = header.get(keyword)
        if value in (None, ""):
            # Without a ProtocolName, dcm2niix takes the SeriesDescription.
            allowed = (None, sidecar.get("SeriesDescription")) if field == "ProtocolName" else (None,)
            assert sidecar.get(field) in allowed, field
        elif isinstance(sidecar[field], float | int):
            assert sidecar[field] == pytest.approx(float(value)), field
        else:
            said = value if isinstance(value, str) else "\\".join(map(str, value))
            assert sidecar[field] == said, field
    assert sidecar["Manufacturer"].lower() in header.Manufacturer.lower()
    description = str(header.get("SeriesDescription") or "")
    assert sidecar.get("SeriesDescription") == (f"{description}_SR" if description else "super-resolution")
    assert sidecar["SeriesNumber"] == int(header.SeriesNumber) * 100 + 1
    assert "mdcsrn" not in json.dumps(sidecar)


@pytest.mark.parametrize("vendor", SOURCES)
def test_dciodvfy_finds_no_error(sources: dict[str, DicomSeries], tmp_path: Path, vendor: str) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy on the path: apt-get install dicom3tools")
    paths = write_series(_finer(sources[vendor]), sources[vendor], tmp_path / "out", "made for a test", slope="one")
    for path in (paths[0], paths[4]):
        shown = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        lines = (shown.stdout + shown.stderr).splitlines()
        assert "MRImage" in lines
        assert [line for line in lines if line.startswith("Error")] == []


def test_references_within_a_series_have_no_frame_numbers(sources: dict[str, DicomSeries], tmp_path: Path) -> None:
    paths = write_series(_finer(sources["Siemens XA"]), sources["Siemens XA"], tmp_path / "out", "made for a test")
    for path in paths:
        ds = pydicom.dcmread(path)
        (series,) = ds.ReferencedSeriesSequence
        (instance,) = series.ReferencedInstanceSequence  # one file, named once
        assert "ReferencedFrameNumber" not in instance
        assert all(image.ReferencedFrameNumber >= 1 for image in ds.SourceImageSequence)
        (maker,) = ds.ContributingEquipmentSequence
        assert maker.ContributionDescription.startswith("mdcsrn ")
        assert not {"ManufacturerModelName", "SoftwareVersions"} & set(maker.dir())
