"""Every written file against the standard: mandatory attributes, geometry, references, and what dciodvfy says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from deploy_studies import secret, write
from pydicom.valuerep import VR, validate_value

from mdcsrn.io.dicom import find_series, read_series, write_series

Run = Callable[..., subprocess.CompletedProcess[str]]
Images = list[pydicom.Dataset]


@pytest.fixture(scope="module")
def result(app: Run, slab: Path) -> tuple[Images, Images, list[Path]]:
    """Source images, derived images and their files: an oblique real series, refined on two axes."""
    output = slab.parent / "valid"
    done = app("-i", slab, "-o", output, "--factor", 1, 1.25, 2, "--backend", "eager")
    assert done.returncode == 0, done.stderr
    files = sorted((output / "series1301_sr").iterdir())
    source = sorted((pydicom.dcmread(p) for p in slab.iterdir()), key=lambda ds: int(ds.InstanceNumber))
    return source, [pydicom.dcmread(p) for p in files], files


def test_mandatory_attributes(result: tuple[Images, Images, list[Path]], mandatory: list[tuple[str, str]]) -> None:
    assert len(mandatory) > 35
    for ds in result[1]:
        for keyword, kind in mandatory:
            assert keyword in ds, keyword
            assert kind == "2" or ds[keyword].value not in (None, "", []), keyword


def test_every_value_fits_its_representation(result: tuple[Images, Images, list[Path]]) -> None:
    for ds in result[1][::7]:
        for element in ds.iterall():
            if element.VR in (VR.SQ, VR.OW) or element.value is None:
                continue
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                validate_value(element.VR, str(value) if element.VR in (VR.DS, VR.IS, VR.PN) else value, 2)


def test_what_a_derived_series_must_say(result: tuple[Images, Images, list[Path]]) -> None:
    source, derived, _ = result
    assert len(derived) == 48
    uids = [ds.SOPInstanceUID for ds in derived]
    assert len(set(uids)) == 48
    assert not set(uids) & {ds.SOPInstanceUID for ds in source}
    assert len({ds.SeriesInstanceUID for ds in derived} | {source[0].SeriesInstanceUID}) == 2
    known = {ds.SOPInstanceUID for ds in source}
    for number, ds in enumerate(derived, 1):
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.InstanceNumber == number
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "Modality", "StudyDate"):
            assert ds[keyword].value == source[0][keyword].value, keyword
        assert {item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence} <= known
        assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == source[0].SeriesInstanceUID
        assert "not for diagnosis" in ds.DerivationDescription
        assert ds.WindowWidth >= 1


def test_the_geometry_of_each_slice(result: tuple[Images, Images, list[Path]]) -> None:
    source, derived, _ = result
    cosines = np.array(derived[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(cosines[:3], cosines[3:])
    assert np.linalg.norm(cosines[:3]) == pytest.approx(1, abs=1e-6)
    assert cosines[:3] @ cosines[3:] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(cosines, np.array(source[0].ImageOrientationPatient, dtype=float), atol=1e-6)
    places = np.array([ds.ImagePositionPatient for ds in derived], dtype=float)
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps, np.tile(0.5 * normal, (47, 1)), atol=1e-4)
    for ds, place in zip(derived, places, strict=True):
        np.testing.assert_allclose(np.array(ds.ImageOrientationPatient, dtype=float), cosines, atol=0)
        assert (ds.Rows, ds.Columns) == (90, 64)
        assert [float(v) for v in ds.PixelSpacing] == pytest.approx([0.8, 1])
        assert float(ds.SpacingBetweenSlices) == pytest.approx(0.5, abs=1e-4)
        assert float(ds.SliceThickness) == pytest.approx(0.5, abs=1e-4)
        assert float(ds.SliceLocation) == pytest.approx(place @ normal, abs=1e-3)


@pytest.fixture(scope="module")
def dciodvfy() -> Callable[[Path], list[str]]:
    """Errors that the validator of dicom3tools finds in a file, where it is installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy on the path: apt-get install dicom3tools")

    def errors(path: Path) -> list[str]:
        shown = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
        lines = (shown.stdout + shown.stderr).splitlines()
        assert "MRImage" in lines
        return [line for line in lines if line.startswith("Error")]

    return errors


def test_dciodvfy_finds_no_error(result: tuple[Images, Images, list[Path]], dciodvfy) -> None:
    for path in result[2][::12]:
        assert dciodvfy(path) == []


def test_dciodvfy_finds_no_error_in_what_comes_of_other_scanners(dciodvfy, shared_data: Path, tmp_path: Path) -> None:
    for archive in ("dicom2nifti_fixtures_multivendor.zip", "siemens_xa30_enhanced_t1tfl.zip"):
        for number, found in enumerate(find_series(shared_data / "dicom" / archive)):
            series = read_series(found)
            paths = write_series(series.volume, series, tmp_path / f"{archive}{number}", "made for a test")
            assert dciodvfy(paths[0]) == [], found.folder


def test_a_deidentified_source_stays_so(app: Run, stack, tmp_path: Path) -> None:
    images = stack(slices=16, rows=24, columns=24)
    for ds in images:
        secret(ds)
        ds.PatientName, ds.PatientID, ds.StudyDate, ds.AccessionNumber = "anon", "", "", ""
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "by hand"
        del ds.PatientBirthDate, ds.SeriesDescription, ds.StudyDescription, ds.ReferringPhysicianName
    done = app("-i", write(images, tmp_path / "study"), "-o", tmp_path / "out", "--backend", "eager")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "out" / "series005_sr").iterdir())
    assert len(files) == 16
    for path in files:
        content = path.read_bytes()
        assert b"uux" not in content
        assert b"1901" not in content
        ds = pydicom.dcmread(path)
        assert (ds.PatientIdentityRemoved, ds.PatientBirthDate, ds.StudyDate) == ("YES", "", "")
        assert ds.PatientName == "anon"
        assert ds.DerivationDescription.startswith("unchanged: ")  # no empty band, and no finer grid was asked for
    assert "no-empty-band" in done.stderr
