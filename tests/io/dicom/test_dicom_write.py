"""Derived series: geometry in SimpleITK, attributes against the standard's tables, rounding, and all or nothing."""

from __future__ import annotations

import datetime
import json
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
WHEN = datetime.datetime(2024, 2, 3, 4, 5, 6, 789)


@pytest.fixture
def source(tmp_path: Path, make_slices: Make, save: Save) -> DicomSeries:
    return read_series(find_series(save(make_slices(), tmp_path / "source"))[0])


def _finer(source: DicomSeries, shape: tuple[int, int, int] = (14, 12, 8)) -> Volume:
    """A finer grid on the same field of view, as the network's output is: float values, negative ones too."""
    affine = source.volume.affine.copy()
    affine[:3, :3] *= np.array(source.volume.shape) / shape
    values = np.random.default_rng(0).normal(100, 300, shape).astype(np.float32)
    return Volume(values, affine)


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
    tmp_path_factory: pytest.TempPathFactory, source: DicomSeries, turn, spacing, origin
) -> None:
    folder = tmp_path_factory.mktemp("out")
    affine = np.eye(4)
    # A right-handed stack in DICOM's LPS world is right-handed in RAS too (two flips).
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    volume = Volume(_finer(source).array, affine)
    write_series(volume, source, folder / "dicom", "made for a test", created=WHEN)
    write_volume(volume, folder / "v.nii.gz")
    dicom, nifti = _simpleitk(folder / "dicom"), sitk.ReadImage(str(folder / "v.nii.gz"))
    assert dicom.GetSize() == nifti.GetSize() == (14, 12, 8)
    assert np.linalg.norm(_landmarks(dicom) - _landmarks(nifti), axis=1).max() < 1e-3
    apart = np.abs(sitk.GetArrayFromImage(dicom) - sitk.GetArrayFromImage(nifti)).max()
    assert apart <= storage(volume).largest_error * (1 + 1e-6) + 1e-4


def test_what_is_written_is_read_back(tmp_path: Path, source: DicomSeries) -> None:
    volume = _finer(source)
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
def test_flipped_grids_keep_every_voxel_in_its_place(tmp_path: Path, source: DicomSeries, flip) -> None:
    volume = _finer(source)
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


def test_a_sheared_stack_is_stated_exactly(tmp_path: Path, source: DicomSeries) -> None:
    volume = _finer(source)
    affine = volume.affine.copy()
    affine[1, 2] += 0.3
    write_series(volume.replace(volume.array, affine), source, tmp_path / "out", "made for a test")
    np.testing.assert_allclose(_read(tmp_path / "out").volume.affine, affine, atol=1e-9)
    affine[1, 0] += 0.3
    with pytest.raises(GeometryError, match="in-plane axes are not perpendicular"):
        write_series(volume.replace(volume.array, affine), source, tmp_path / "out2", "made for a test")
    assert not (tmp_path / "out2").exists()


def test_attributes_of_a_derived_image(tmp_path: Path, source: DicomSeries) -> None:
    paths = write_series(_finer(source), source, tmp_path / "out", "k-space restored", created=WHEN)
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
        kept = storage(_finer(source))
        assert (float(ds.RescaleSlope), float(ds.RescaleIntercept)) == (kept.slope, kept.intercept)
    # Slice 4 (5 mm above the first) lies between the source's third and fourth, slice 0 on its first.
    named = [[i.ReferencedSOPInstanceUID for i in ds.SourceImageSequence] for ds in images]
    assert named[0] == [source.headers[0].SOPInstanceUID]
    assert set(named[4]) == {source.headers[2].SOPInstanceUID, source.headers[3].SOPInstanceUID}
    assert images[4].ReferencedSeriesSequence[0].SeriesInstanceUID == origin.SeriesInstanceUID


def _required() -> list[tuple[str, str]]:
    """(keyword, type) that the standard requires of an MR image, from the tables that highdicom ships."""
    highdicom = pytest.importorskip("highdicom", reason="its tables of the DICOM standard are the reference")
    folder = Path(highdicom.__file__).parent / "_standard"
    if not folder.is_dir():
        pytest.skip("this highdicom keeps its tables elsewhere")
    modules = json.loads((folder / "iod_module_map.json").read_text())["mr-image"]
    attributes = json.loads((folder / "module_attribute_map.json").read_text())
    return [
        (a["keyword"], a["type"])
        for m in modules
        if m["usage"] == "M"
        for a in attributes[m["key"]]
        if a["type"] in ("1", "2") and not a["path"]
    ]


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_the_standards_mandatory_attributes_are_there(
    tmp_path: Path, make_slices: Make, make_enhanced, save: Save, enhanced: bool, bare: bool
) -> None:
    datasets = [make_enhanced()] if enhanced else make_slices()
    if bare:  # a source that lacks what it should have
        for ds in datasets:
            for keyword in (
                "PatientName",
                "StudyID",
                "Manufacturer",
                "ScanningSequence",
                "EchoTime",
                "PatientPosition",
            ):
                if keyword in ds:
                    del ds[keyword]
    source = _read(save(datasets, tmp_path / "in"))
    required = _required()
    assert len(required) > 35
    for path in write_series(_finer(source), source, tmp_path / "out", "made for a test"):
        ds = pydicom.dcmread(path)
        for keyword, kind in required:
            assert keyword in ds, keyword
            assert kind == "2" or ds[keyword].value not in (None, "", []), keyword


def test_what_is_optional_and_empty_is_left_behind(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.ProcedureCodeSequence, ds.Laterality, ds.StudyID = [], "", ""
        ds.StudyDescription, ds.BodyPartExamined = "", "BRAIN"
    source = _read(save(slices, tmp_path / "in"))
    ds = pydicom.dcmread(write_series(_finer(source), source, tmp_path / "out", "made for a test")[0])
    # A sequence has items, a head has no laterality; of type 2 are the ones that may be there and empty.
    assert not {"ProcedureCodeSequence", "Laterality", "StudyDescription"} & set(ds.dir())
    assert (ds.StudyID, ds.BodyPartExamined) == ("", "BRAIN")
    for ds in slices:
        del ds.BodyPartExamined
    source = _read(save(slices, tmp_path / "in2"))
    ds = pydicom.dcmread(write_series(_finer(source), source, tmp_path / "out2", "made for a test")[0])
    assert ds.Laterality == ""  # of type 2 where the body part is not known


@pytest.mark.parametrize(
    ("sequence", "time", "written", "kept"),
    [
        ("GR", "450", ["GR", "IR"], 450.0),
        (["GR", "IR"], "450", ["GR", "IR"], 450.0),
        ("IR", None, "IR", None),
        ("GR", "0", "GR", "absent"),
        ("GR", None, "GR", "absent"),
    ],
)
def test_an_inversion_time_goes_with_an_inversion(
    tmp_path: Path, make_slices: Make, save: Save, sequence, time, written, kept
) -> None:
    slices = make_slices()
    for ds in slices:
        ds.ScanningSequence = sequence
        if time is not None:
            ds.InversionTime = time
    source = _read(save(slices, tmp_path / "in"))
    ds = pydicom.dcmread(write_series(_finer(source), source, tmp_path / "out", "made for a test")[0])
    assert ds.ScanningSequence == written
    assert ds.get("InversionTime", "absent") == kept


def test_values_in_no_form_of_the_standard_are_left_behind(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    with pydicom.config.disable_value_validation():
        for ds in slices:
            ds.PatientAge, ds.AcquisitionDate, ds.AcquisitionTime = "0Y", "2001.02.30", "120000"
            ds.PatientWeight = "70"
        folder = save(slices, tmp_path / "in")
    source = _read(folder)
    ds = pydicom.dcmread(write_series(_finer(source), source, tmp_path / "out", "made for a test")[0])
    assert not {"PatientAge", "AcquisitionDate"} & set(ds.dir())
    assert (ds.AcquisitionTime, ds.PatientWeight) == ("120000", 70)


def test_a_deidentified_source_stays_so(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PatientName, ds.PatientID, ds.StudyDate = "anon", "", ""
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "by hand"
        ds.add_new(0x00091010, "LO", "Quuxington private")
        del ds.PatientBirthDate, ds.SeriesDescription
    source = _read(save(slices, tmp_path / "in"))
    for path in write_series(_finer(source), source, tmp_path / "out", "made for a test"):
        content = path.read_bytes()
        assert b"Quux" not in content
        assert b"1901" not in content
        ds = pydicom.dcmread(path)
        assert (ds.PatientIdentityRemoved, ds.PatientBirthDate, ds.StudyDate) == ("YES", "", "")


def test_lossy_and_inverted_sources_say_so(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "9.5"
        ds.WindowCenter, ds.WindowWidth = "700", "1300"
    source = _read(save(slices, tmp_path / "in"))
    ds = pydicom.dcmread(write_series(_finer(source), source, tmp_path / "out", "made for a test")[0])
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 9.5)
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    assert (ds.WindowCenter, ds.WindowWidth) == (700, 1300)


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


def test_a_used_folder_and_a_bad_description_are_refused(tmp_path: Path, source: DicomSeries) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="something already"):
        write_series(_finer(source), source, tmp_path / "used", "made for a test")
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["mine"]
    with pytest.raises(ConfigError):
        write_series(_finer(source), source, tmp_path / "out", "")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_series(_finer(source), source, tmp_path / "file", "made for a test")
    with pytest.raises(OutputError):
        write_series(_finer(source), source, tmp_path / "file" / "below", "made for a test")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, source: DicomSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = pydicom.dcmwrite, []

    def full_after_three(path: Path, ds: pydicom.Dataset, **options: bool) -> None:
        calls.append(path)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(path, ds, **options)

    monkeypatch.setattr(pydicom, "dcmwrite", full_after_three)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="No space left"):
        write_series(_finer(source), source, tmp_path / "out", "made for a test")
    assert len(calls) == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_the_derived_series_of_an_enhanced_image_is_single_frame(tmp_path: Path, make_enhanced, save: Save) -> None:
    source = _read(save([make_enhanced()], tmp_path / "in"))
    paths = write_series(_finer(source), source, tmp_path / "out", "made for a test")
    ds = pydicom.dcmread(paths[4])
    assert ds.SOPClassUID == pydicom.uid.MRImageStorage
    assert ds.SourceImageSequence[0].ReferencedFrameNumber == 3
    np.testing.assert_allclose(_read(tmp_path / "out").volume.affine, _finer(source).affine, atol=1e-9)
