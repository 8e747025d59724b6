"""Scans of six vendors: read as SimpleITK reads them, written so that it sees the same place."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from mdcsrn.io.dicom import DicomSeries, find_series, read_series, write_series
from mdcsrn.io.volume import Volume

VENDORS = "dicom2nifti_fixtures_multivendor.zip"
SERIES = {  # archive, folder in it: shape, spacing in mm, contrast, acquisition
    (VENDORS, "ge/anatomical/001"): ((256, 256, 4), (1, 1, 1), "T1w", "3D"),
    (VENDORS, "hitachi/anatomical/001"): ((64, 64, 4), (2.34375, 2.34375, 4), "PDw", "2D"),
    (VENDORS, "hyperfine/anatomical/001"): ((112, 138, 8), (1.59, 1.61, 5), "FLAIR", "3D"),
    (VENDORS, "philips/anatomical/001"): ((240, 240, 4), (1.0416666, 1.0416666, 0.6), "FLAIR", "3D"),
    (VENDORS, "philips_enhanced/anatomical/001"): ((256, 256, 8), (1, 1, 1.2), "T1w", "3D"),
    (VENDORS, "siemens/anatomical/001"): ((256, 256, 4), (1, 1, 1), "FLAIR", "3D"),
    (VENDORS, "siemens_multiframe/anatomical/001"): ((256, 256, 8), (0.9375, 0.9375, 0.9), None, "3D"),
    ("philips_classic_mprage3d.zip", ""): ((256, 256, 170), (1, 1, 1), "T1w", "3D"),
    ("siemens_xa30_enhanced_t1tfl.zip", "In/5_anat-T1w_acq-tfl"): ((128, 128, 96), (2, 2, 2), "T1w", "3D"),
    ("siemens_xa30_enhanced_t1tfl.zip", "In/6_anat-T1w_acq-tfl"): ((128, 128, 96), (2, 2, 2), "T1w", "3D"),
}
CODECS = ("rle", "jpeg", "jpegls", "j2k")


@pytest.fixture(scope="module")
def scans(shared_data: Path) -> dict[tuple[str, str], DicomSeries]:
    archives = sorted({name for name, _ in SERIES})
    found = {(name, s.folder): s for name in archives for s in find_series(shared_data / "dicom" / name)}
    return {key: read_series(found[key]) for key in SERIES}


@pytest.fixture(scope="module")
def unpacked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("dicom")
    for name in {name for name, _ in SERIES}:
        with zipfile.ZipFile(shared_data / "dicom" / name) as archive:
            archive.extractall(folder / name)
    return {key: folder / key[0] / key[1] for key in SERIES}


@pytest.mark.parametrize("key", SERIES, ids="/".join)
def test_facts_of_the_scan(scans: dict[tuple[str, str], DicomSeries], key: tuple[str, str]) -> None:
    shape, spacing, contrast, acquisition = SERIES[key]
    series = scans[key]
    assert series.volume.shape == shape
    assert series.volume.spacing == pytest.approx(spacing, rel=1e-4)
    assert (series.facts.contrast, series.facts.acquisition, series.facts.slice_axis) == (contrast, acquisition, 2)


def _simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    if len(names) == 1:
        image = sitk.ReadImage(names[0])
        # GDCM leaves the frames of an enhanced image in the order of the file; ours goes along row x column.
        return image[:, :, ::-1] if np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) < 0 else image
    reader.SetFileNames(names)
    return reader.Execute()


def _landmarks_apart(image: sitk.Image, affine: np.ndarray) -> float:
    index = np.array(np.meshgrid(*[(0, (n - 1) / 2, n - 1) for n in image.GetSize()])).reshape(3, -1).T
    theirs = np.array([image.TransformContinuousIndexToPhysicalPoint(tuple(map(float, i))) for i in index])
    return float(np.linalg.norm(theirs * (-1, -1, 1) - (index @ affine[:3, :3].T + affine[:3, 3]), axis=1).max())


@pytest.mark.parametrize("key", SERIES, ids="/".join)
def test_simpleitk_reads_the_same(
    scans: dict[tuple[str, str], DicomSeries], unpacked: dict[tuple[str, str], Path], key: tuple[str, str]
) -> None:
    volume, image = scans[key].volume, _simpleitk(unpacked[key])
    assert image.GetSize() == volume.shape
    assert _landmarks_apart(image, volume.affine) < 1e-3
    np.testing.assert_allclose(volume.array, sitk.GetArrayFromImage(image).T.astype(np.float32), rtol=1e-6, atol=1e-4)


def test_four_codecs_give_the_same_voxels(shared_data: Path, unpacked: dict[tuple[str, str], Path]) -> None:
    root = unpacked[VENDORS, "siemens/anatomical/001"].parents[2] / "generic"
    volumes = []
    for codec in CODECS:
        (found,) = find_series(root / f"compressed_{codec}")
        volumes.append(read_series(found).volume)
    for volume in volumes[1:]:
        np.testing.assert_array_equal(volume.array, volumes[0].array)
        np.testing.assert_array_equal(volume.affine, volumes[0].affine)


@pytest.mark.parametrize("key", SERIES, ids="/".join)
def test_a_derived_series_lies_where_its_source_lies(
    scans: dict[tuple[str, str], DicomSeries], key: tuple[str, str], tmp_path: Path
) -> None:
    source = scans[key]
    # A coarser grid of the same field of view: a few large slices keep the test quick.
    shape = (40, 30, 3)
    affine = source.volume.affine.copy()
    affine[:3, :3] *= np.array(source.volume.shape) / shape
    values = np.random.default_rng(0).normal(0, 1000, shape).astype(np.float32)
    paths = write_series(Volume(values, affine), source, tmp_path / "out", "made for a test")
    assert _landmarks_apart(_simpleitk(tmp_path / "out"), affine) < 1e-3
    (found,) = find_series(tmp_path / "out")
    again = read_series(found)
    np.testing.assert_allclose(again.volume.affine, affine, atol=1e-6)
    assert np.abs(again.volume.array - values).max() < np.ptp(values) / 131000
    ds = pydicom.dcmread(paths[0])
    assert ds.StudyInstanceUID == source.headers[0].StudyInstanceUID
    assert ds.PatientName == source.headers[0].get("PatientName")


def test_patient_names_stay_in_the_header(scans: dict[tuple[str, str], DicomSeries]) -> None:
    for series in scans.values():
        text = f"{series.description} {series.facts} {series.warnings}"
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID"):
            value = str(series.headers[0].get(keyword) or "")
            assert len(value) < 4 or value not in text
