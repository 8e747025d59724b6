"""Derived series: geometry in SimpleITK, attributes against the standard's tables, rounding, and all or nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from mdcsrn.errors import ConfigError, GeometryError, OutputError
from mdcsrn.io.dicom import DicomSeries, find_series, read_series, storage, write_series
from mdcsrn.io.nifti import write_volume
from mdcsrn.io.volume import Volume

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]
Finer = Callable[..., Volume]
WHEN = datetime.datetime(2024, 2, 3, 4, 5, 6, 789)


@pytest.fixture
def source(tmp_path: Path, make_slices: Make, save: Save) -> DicomSeries:
    return read_series(find_series(save(make_slices(), tmp_path / "source"))[0])


def _read(folder: Path) -> DicomSeries:
    (found,) = find_series(folder)
    return read_series(found)


def _simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def _landmarks(image: sitk.Image) -> np.ndarray:
    index = np.array(np.meshgrid(*[(0, (n - 1) / 2, n - 1) for n in image.GetSize()])).reshape(3, -1).T
    return np.array([image.TransformContinuousIndexToPhysicalPoint(tuple(map(float, i))) for i in index])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_simpleitk_sees_the_geometry_of_the_nifti(
    tmp_path_factory: pytest.TempPathFactory, source: DicomSeries, turn, spacing, origin, finer: Finer
) -> None:
    folder = tmp_path_factory.mktemp("out")
    affine = np.eye(4)
    # A right-handed stack in DICOM's LPS world is right-handed in RAS too (two flips).
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    volume = Volume(finer(source).array, affine)
    write_series(volume, source, folder / "dicom", "made for a test", created=WHEN)
    write_volume(volume, folder / "v.nii.gz")
    dicom, nifti = _simpleitk(folder / "dicom"), sitk.ReadImage(str(folder / "v.nii.gz"))
    assert dicom.GetSize() == nifti.GetSize() == (14, 12, 8)
    assert np.linalg.norm(_landmarks(dicom) - _landmarks(nifti), axis=1).max() < 1e-3
    apart = np.abs(sitk.GetArrayFromImage(dicom) - sitk.GetArrayFromImage(nifti)).max()
    assert apart <= storage(volume).largest_error * (1 + 1e-6) + 1e-4


def test_what_is_written_is_read_back(tmp_path: Path, source: DicomSeries, finer: Finer) -> None:
    volume = finer(source)
    paths = write_series(volume, source, tmp_path / "out", "made for a test", created=WHEN)
    assert [p.name for p in paths] == [f"{k:05d}.dcm" for k in range(1, 9)]
    assert sorted((tmp_path / "out").iterdir()) == paths
    again = _read(tmp_path / "out")
    np.testing.assert_allclose(again.volume.affine, volume.affine, atol=1e-9)
    kept = storage(volume)
    assert np.abs(again.volume.array - volume.array).max() == pytest.approx(kept.largest_error, rel=0.05)
    assert kept.largest_error < np.ptp(volume.array) / 131070 * 1.02
    assert again.warnings == ()


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_flipped_grids_keep_every_voxel_in_its_place(tmp_path: Path, source: DicomSeries, flip, finer: Finer) -> None:
    volume = finer(source)
    turned = Volume(volume.array, volume.affine @ np.diag([*flip, 1.0]))
    again = None
    write_series(turned, source, tmp_path / "out", "made for a test", created=WHEN)
    again = _read(tmp_path / "out").volume
    index = np.argwhere(np.ones(turned.shape))
    world = index @ turned.affine[:3, :3].T + turned.affine[:3, 3]
    back = np.rint((world - again.affine[:3, 3]) @ np.linalg.inv(again.affine[:3, :3]).T).astype(int)
    np.testing.assert_allclose(back @ again.affine[:3, :3].T + again.affine[:3, 3], world, atol=1e-6)
    apart = again.array[tuple(back.T)] - turned.array[tuple(index.T)]
    assert np.abs(apart).max() <= storage(turned).largest_error * 1.01


def test_a_sheared_stack_is_stated_exactly(tmp_path: Path, source: DicomSeries, finer: Finer) -> None:
    volume = finer(source)
    affine = volume.affine.copy()
    affine[1, 2] += 0.3
    write_series(volume.replace(volume.array, affine), source, tmp_path / "out", "made for a test")
    np.testing.assert_allclose(_read(tmp_path / "out").volume.affine, affine, atol=1e-9)
    affine[1, 0] += 0.3
    with pytest.raises(GeometryError, match="in-plane axes are not perpendicular"):
        write_series(volume.replace(volume.array, affine), source, tmp_path / "out2", "made for a test")
    assert not (tmp_path / "out2").exists()


def test_attributes_of_a_derived_image(tmp_path: Path, source: DicomSeries, finer: Finer) -> None:
    paths = write_series(finer(source), source, tmp_path / "out", "k-space restored", created=WHEN)
    images = [pydicom.dcmread(p) for p in paths]
    origin = source.headers[0]
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "StudyDate",
    ):
        assert all(ds[keyword].value == origin[keyword].value for ds in images), keyword
    (series_uid,) = {ds.SeriesInstanceUID for ds in images}
    assert series_uid != origin.SeriesInstanceUID
    uids = {ds.SOPInstanceUID for ds in images}
    assert len(uids) == 8
    assert not uids & {h.SOPInstanceUID for h in source.headers}
    for k, ds in enumerate(images):
        assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "M"]
        assert ds.DerivationDescription == "k-space restored"
        assert ds.InstanceNumber == k + 1
        assert ds.SeriesNumber == 301
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert [float(v) for v in ds.PixelSpacing] == pytest.approx([0.75, 0.625])
        assert float(ds.SpacingBetweenSlices) == pytest.approx(1.25)
        assert float(ds.SliceThickness) == pytest.approx(1.25)
        assert float(ds.SliceLocation) == pytest.approx(30 + 1.25 * k)
        assert [float(v) for v in ds.ImagePositionPatient] == pytest.approx([-10, -20, 30 + 1.25 * k])
        assert float(ds.EchoTime) == 3
        assert ds.LossyImageCompression == "00"
        kept = storage(finer(source))
        assert (float(ds.RescaleSlope), float(ds.RescaleIntercept)) == (kept.slope, kept.intercept)
    # Slice 4 (5 mm above the first) lies between the source's third and fourth, slice 0 on its first.
    named = [[i.ReferencedSOPInstanceUID for i in ds.SourceImageSequence] for ds in images]
    assert named[0] == [source.headers[0].SOPInstanceUID]
    assert set(named[4]) == {source.headers[2].SOPInstanceUID, source.headers[3].SOPInstanceUID}
    assert images[4].ReferencedSeriesSequence[0].SeriesInstanceUID == origin.SeriesInstanceUID


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        (3, 2, 4),
        elements=st.floats(-1e4, 1e4, width=32) | st.floats(-(2.0**100), 2.0**100, width=32) | st.integers(-500, 60000),
    )
)
def test_storage_holds_every_value_within_its_stated_error(values: np.ndarray) -> None:
    volume = Volume(values, np.eye(4))
    kept = storage(volume)
    span = float(values.max()) - float(values.min())
    error = np.abs(kept.restore(kept.quantize(values)) - values.astype(np.float64)).max()
    assert error <= kept.largest_error * (1 + 1e-9)
    # Half a step of 65535, and the ninth digit of the intercept.
    assert error <= max(span, 1e-30) / 131070 * 1.001 + np.abs(values).max() * 1e-8 + 1e-12 or kept.slope == 1
    assert all(len(f"{v:.9g}") <= 16 for v in (kept.slope, kept.intercept))
    if (values == np.rint(values)).all() and span <= 65535 and np.abs(values).max() < 1e8:
        assert error == 0


def test_a_used_folder_and_a_bad_description_are_refused(tmp_path: Path, source: DicomSeries, finer: Finer) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="something already"):
        write_series(finer(source), source, tmp_path / "used", "made for a test")
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["mine"]
    with pytest.raises(ConfigError):
        write_series(finer(source), source, tmp_path / "out", "")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_series(finer(source), source, tmp_path / "file", "made for a test")
    with pytest.raises(OutputError):
        write_series(finer(source), source, tmp_path / "file" / "below", "made for a test")


def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, source: DicomSeries, monkeypatch: pytest.MonkeyPatch, finer: Finer
) -> None:
    real, calls = pydicom.dcmwrite, []

    def full_after_three(path: Path, ds: pydicom.Dataset, **options: bool) -> None:
        calls.append(path)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(path, ds, **options)

    monkeypatch.setattr(pydicom, "dcmwrite", full_after_three)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="No space left"):
        write_series(finer(source), source, tmp_path / "out", "made for a test")
    assert len(calls) == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_the_derived_series_of_an_enhanced_image_is_single_frame(
    tmp_path: Path, make_enhanced, save: Save, finer: Finer
) -> None:
    source = _read(save([make_enhanced()], tmp_path / "in"))
    paths = write_series(finer(source), source, tmp_path / "out", "made for a test")
    ds = pydicom.dcmread(paths[4])
    assert ds.SOPClassUID == pydicom.uid.MRImageStorage
    assert ds.SourceImageSequence[0].ReferencedFrameNumber == 3
    (instance,) = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence  # one file, however many frames
    assert "ReferencedFrameNumber" not in instance
    np.testing.assert_allclose(_read(tmp_path / "out").volume.affine, finer(source).affine, atol=1e-9)
