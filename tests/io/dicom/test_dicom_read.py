"""One stack of slices: geometry against SimpleITK, values against NumPy, and every reason to refuse it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mdcsrn.errors import DataError, GeometryError, MdcsrnError
from mdcsrn.io.dicom import find_series, read_series

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]


def _read(folder: Path):
    (found,) = find_series(folder)
    return read_series(found)


def _simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def _landmarks_apart(image: sitk.Image, affine: np.ndarray) -> float:
    """Largest distance, mm, between SimpleITK's and our place of 27 landmarks."""
    size = image.GetSize()
    index = np.array(np.meshgrid(*[(0, (n - 1) / 2, n - 1) for n in size])).reshape(3, -1).T
    theirs = np.array([image.TransformContinuousIndexToPhysicalPoint(tuple(map(float, i))) for i in index])
    ours = index @ affine[:3, :3].T + affine[:3, 3]
    return float(np.linalg.norm(theirs * (-1, -1, 1) - ours, axis=1).max())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turn=st.tuples(*[st.floats(-180, 180)] * 3), flip=st.booleans(), origin=st.tuples(*[st.floats(-300, 300)] * 3))
def test_any_orientation_agrees_with_simpleitk(
    tmp_path_factory: pytest.TempPathFactory, make_slices: Make, save: Save, stored: np.ndarray, turn, flip, origin
) -> None:
    row, column, normal = Rotation.from_euler("xyz", turn, degrees=True).as_matrix().T
    slices = make_slices(row=row, column=column, step=normal * (-2.5 if flip else 2.5), origin=origin)
    folder = save(slices, tmp_path_factory.mktemp("series"))
    series = _read(folder)
    image = _simpleitk(folder)
    assert _landmarks_apart(image, series.volume.affine) < 1e-3
    np.testing.assert_array_equal(series.volume.array, sitk.GetArrayFromImage(image).T)
    np.testing.assert_array_equal(series.volume.array, (stored[::-1] if flip else stored).transpose(2, 1, 0))
    assert series.volume.spacing == pytest.approx((1.25, 1.5, 2.5))


def test_each_slice_has_its_own_scale(tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray) -> None:
    slices = make_slices()
    slopes = np.array([1.0, 0.123456789, 2.5, 1e-3, 7.0])
    for k, ds in enumerate(slices):
        ds.RescaleSlope, ds.RescaleIntercept = f"{slopes[k]:.9g}", str(-k)
    expected = stored * slopes[:, None, None] - np.arange(5)[:, None, None]
    np.testing.assert_array_equal(_read(save(slices, tmp_path)).volume.array, expected.astype(np.float32).T)


def test_a_gantry_tilt_is_kept_exactly(tmp_path: Path, make_slices: Make, save: Save) -> None:
    series = _read(save(make_slices(step=(0, 0.4, 2)), tmp_path))
    index = np.array([3, 2, 4, 1])
    np.testing.assert_allclose((series.volume.affine @ index)[:3], (10 - 3.75, 20 - 3 - 1.6, 30 + 8), atol=1e-9)
    assert any("gantry tilt" in w for w in series.warnings)


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"])
def test_transfer_syntaxes(tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray, syntax: str) -> None:
    slices = make_slices()
    for ds, plane in zip(slices, stored, strict=True):
        ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        ds.PixelData = plane.astype(">u2" if "Big" in syntax else "<u2").tobytes()
        ds["PixelData"].VR = "OW"
    np.testing.assert_array_equal(_read(save(slices, tmp_path)).volume.array, stored.T)


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian"])
def test_files_without_a_preamble(tmp_path: Path, make_slices: Make, stored: np.ndarray, syntax: str) -> None:
    for k, ds in enumerate(make_slices()):
        implicit = syntax.startswith("Implicit")
        del ds.file_meta
        pydicom.dcmwrite(tmp_path / str(k), ds, implicit_vr=implicit, little_endian=True)
        assert (tmp_path / str(k)).read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(_read(tmp_path).volume.array, stored.T)


@pytest.mark.parametrize(("bits", "signed", "overlay"), [(12, 0, 0xF000), (12, 1, 0x3000), (10, 1, 0xA800), (16, 1, 0)])
def test_bits_that_do_not_belong_to_the_value(
    tmp_path: Path, make_slices: Make, save: Save, bits: int, signed: int, overlay: int
) -> None:
    slices = make_slices()
    low = -(1 << (bits - 1)) if signed else 0
    values = np.random.default_rng(0).integers(low, low + (1 << bits), (5, 6, 7))
    for ds, plane in zip(slices, values, strict=True):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, signed
        ds.PixelData = (plane & ((1 << bits) - 1) | overlay).astype("<u2").tobytes()
    np.testing.assert_array_equal(_read(save(slices, tmp_path)).volume.array, values.T.astype(np.float32))


@pytest.mark.parametrize("allocated", [8, 32])
def test_other_depths(tmp_path: Path, make_slices: Make, save: Save, allocated: int) -> None:
    slices = make_slices()
    dtype = np.dtype(f"<u{allocated // 8}")
    values = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    for ds, plane in zip(slices, values, strict=True):
        ds.BitsAllocated = ds.BitsStored = allocated
        ds.HighBit = allocated - 1
        ds.PixelData = plane.tobytes()
    series = _read(save(slices, tmp_path))
    np.testing.assert_array_equal(series.volume.array, values.T)
    assert series.volume.dtype == dtype


def test_one_slice_gets_its_thickness(tmp_path: Path, make_slices: Make, save: Save) -> None:
    series = _read(save(make_slices()[:1], tmp_path))
    assert series.volume.shape == (7, 6, 1)
    assert series.volume.spacing == pytest.approx((1.25, 1.5, 2.0))


def test_copies_are_dropped_and_different_images_at_one_place_refused(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray
) -> None:
    slices = make_slices()
    series = _read(save([*slices, *slices[1:3]], tmp_path / "copies"))
    np.testing.assert_array_equal(series.volume.array, stored.T)
    assert any("2 images are copies" in w for w in series.warnings)
    other = make_slices()[2]
    other.PixelData = stored[3].tobytes()
    with pytest.raises(DataError, match="different images lie at one position.*slice 3 of 5"):
        _read(save([*slices, other], tmp_path / "clash"))


def _set(index: int | None, **values: object) -> Callable[[list[pydicom.Dataset]], None]:
    def edit(slices: list[pydicom.Dataset]) -> None:
        for ds in slices if index is None else [slices[index]]:
            for keyword, value in values.items():
                if value is None:
                    del ds[keyword]
                else:
                    setattr(ds, keyword, value)

    return edit


BAD: dict[str, tuple[Callable[[list[pydicom.Dataset]], object], str]] = {
    "a missing slice": (lambda s: s.pop(2), "slices are missing.*1 missing, after slice 2"),
    "unequal spacing": (_set(3, ImagePositionPatient=[-10, -20, 36.9]), "not equally spaced"),
    "side by side": (_set(3, ImagePositionPatient=[30, -20, 34]), "side by side"),
    "varying orientation": (_set(3, ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6]), "orientation varies"),
    "several sizes": (_set(3, Rows=7, Columns=6), "several sizes"),
    "varying voxel size": (_set(3, PixelSpacing=[1.5, 1.5]), "PixelSpacing varies"),
    "zero voxel size": (_set(None, PixelSpacing=[0, 0]), "not positive"),
    "no position": (_set(3, ImagePositionPatient=None), "no ImagePositionPatient"),
    "no orientation": (_set(None, ImageOrientationPatient=None), "no ImageOrientationPatient"),
    "no voxel size": (_set(None, PixelSpacing=None), "no PixelSpacing"),
    "no rows": (_set(1, Rows=None), "Rows is missing"),
    "no sign": (_set(None, PixelRepresentation=None), "impossible pixel type"),
    "cosines of no unit": (_set(1, ImageOrientationPatient=[1, 1, 0, 0, 1, 0]), "no unit vectors"),
    "cosines askew": (_set(1, ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "no perpendicular vectors"),
    "two numbers for a position": (_set(1, ImagePositionPatient=[1, 2]), "ImagePositionPatient does not hold 3"),
    "slope of zero": (_set(2, RescaleSlope=0), "RescaleSlope is 0"),
    "colour": (_set(None, PhotometricInterpretation="RGB", SamplesPerPixel=3), "no greyscale"),
    "palette": (_set(None, PhotometricInterpretation="PALETTE COLOR"), "no greyscale"),
    "high bit elsewhere": (_set(None, HighBit=15), "impossible pixel type.*12 of 16 bits up to bit 15"),
    "one bit": (_set(None, BitsAllocated=1, BitsStored=1), "impossible pixel type"),
    "look-up table": (_set(None, ModalityLUTSequence=[pydicom.Dataset()]), "look-up table"),
    "mosaic": (_set(None, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic"),
    "many frames in one": (_set(2, NumberOfFrames=3), "several frames"),
    "no pixels": (_set(2, PixelData=None), "no PixelData"),
    "too few pixels": (_set(2, PixelData=b"\1\2" * 7), "cannot be decoded"),
    "constant": (_set(None, PixelData=b"\1\0" * 42), "one value in every voxel"),
    "a huge slope": (_set(2, RescaleSlope="1e300"), "NaN or infinite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_series_are_refused_by_name_and_without_patient_data(
    tmp_path: Path, make_slices: Make, save: Save, case: str
) -> None:
    edit, message = BAD[case]
    slices = make_slices()
    edit(slices)
    save(slices, tmp_path / "series")
    with pytest.raises(MdcsrnError, match=message) as caught:
        _read(tmp_path / "series")
    assert "series" in caught.value.what or "im" in caught.value.what
    for secret in ("Quux", "Zebediah", "PID-", "1901", "ACC-", "Doctor"):
        assert secret not in str(caught.value)


def test_missing_slices_are_a_matter_of_geometry(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    with pytest.raises(GeometryError):
        _read(save(slices[:1] + slices[3:], tmp_path))


def test_a_deflated_bomb_is_refused(tmp_path: Path, make_slices: Make, save: Save, monkeypatch) -> None:
    ds = make_slices()[0]
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.PixelData = bytes(1 << 20)
    path = save([ds], tmp_path) / "im00_0"
    assert path.stat().st_size < 8000
    assert zlib.MAX_WBITS == 15
    monkeypatch.setattr("mdcsrn.io.dicom.header.MAX_FILE_BYTES", 1 << 19)  # 2 GiB otherwise: too slow for a test
    with pytest.raises(DataError, match="too large"):
        find_series(tmp_path)


def test_what_is_odd_is_said(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PhotometricInterpretation, ds.LossyImageCompression = "MONOCHROME1", "01"
        ds.RealWorldValueMappingSequence = [pydicom.Dataset()]
        ds.InstanceNumber = int(ds.InstanceNumber) * 3
    warnings = " ".join(_read(save(slices, tmp_path)).warnings)
    for part in ("MONOCHROME1", "lossy", "real world value", "instance numbers have gaps"):
        assert part in warnings


def test_no_patient_data_leaves_the_header(tmp_path: Path, make_slices: Make, save: Save) -> None:
    (found,) = find_series(save(make_slices(), tmp_path))
    series = read_series(found)
    assert found.name == "series003"
    text = f"{found.name} {found.warnings} {series.description} {series.facts} {series.warnings} {series.volume}"
    for secret in ("Quux", "Zebediah", "PID-", "1901", "ACC-"):
        assert secret not in text
    assert series.description == "MR series 3D T1w, 7 x 6 x 5 voxels of 1.25 x 1.5 x 2 mm"


def test_the_hash_follows_the_files(tmp_path: Path, make_slices: Make, save: Save) -> None:
    first = _read(save(make_slices(), tmp_path / "a")).sha256
    again = _read(save(make_slices()[::-1], tmp_path / "b")).sha256  # other names and order, same slices
    other = _read(save(make_slices(seed=2), tmp_path / "c")).sha256
    assert first == again != other
    folder = save(make_slices()[:1], tmp_path / "d")
    assert _read(folder).sha256 == hashlib.sha256((folder / "im00_0").read_bytes()).hexdigest()


def test_without_pydicom_the_remedy_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from mdcsrn.io.dicom import find_series\n"
        "from mdcsrn.errors import MissingDependencyError\n"
        f"try: find_series({str(tmp_path)!r})\n"
        "except MissingDependencyError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'mdcsrn[dicom]'" in shown


def test_slices_that_are_shown_the_other_way_round_are_named(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    slices[2].PhotometricInterpretation = "MONOCHROME1"
    (found,) = find_series(save(slices, tmp_path))
    (warning,) = read_series(found).warnings
    assert "MONOCHROME1 in 1 of 5 files" in warning
