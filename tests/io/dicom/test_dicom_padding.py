"""PixelPaddingValue in every form in which scanners write it is background, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mdcsrn.errors import DataError
from mdcsrn.io.dicom import find_series, read_series, write_series

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]
PADDING, LIMIT = 0x00280120, 0x00280121


def _read(folder: Path):
    (found,) = find_series(folder)
    return read_series(found)


def _padded(slices: list[pydicom.Dataset], value: int, bits: int, signed: bool) -> None:
    """The first two rows of each slice hold the padding."""
    for ds in slices:
        pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).astype("<i2" if signed else "<u2")
        pixels[:2] = value
        ds.PixelData, ds.BitsStored, ds.HighBit = pixels.tobytes(), bits, bits - 1
        ds.PixelRepresentation = int(signed)


# stored value, bits, signed, and how the header writes the value
FORMS = {
    "signed": (-32768, 16, True, ("SS", -32768)),
    "unsigned": (65535, 16, False, ("US", 65535)),
    "below the stored bits": (-2000, 13, True, ("SS", -2000)),
    "outside the stored bits": (63536, 12, False, ("US", 63536)),
    "written with the other sign": (-2000, 16, True, ("US", 63536)),
    "negative for unsigned pixels": (63536, 16, False, ("SS", -2000)),
}


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "RLELossless"])
@pytest.mark.parametrize("form", FORMS)
def test_padding_is_background(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray, form: str, syntax: str
) -> None:
    value, bits, signed, (representation, written) = FORMS[form]
    slices = make_slices()
    _padded(slices, value, bits, signed)
    for ds in slices:
        ds.add_new(PADDING, representation, written)
        ds.RescaleSlope, ds.RescaleIntercept = "2", "0"
        if syntax == "RLELossless":
            ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        else:
            ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    series = _read(save(slices, tmp_path))
    expected = stored.astype(np.float32) * 2
    expected[:, :2] = 0
    np.testing.assert_array_equal(series.volume.array, expected.T)
    assert any("padding: 70 voxels (33 %)" in warning for warning in series.warnings)


def test_a_range_of_padding(tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray) -> None:
    for order, (value, limit) in {"up": (-32768, -32000), "down": (-32000, -32768)}.items():
        slices = make_slices()
        _padded(slices, -32100, 16, True)
        for ds in slices:
            ds.add_new(PADDING, "SS", value)
            ds.add_new(LIMIT, "SS", limit)
        expected = stored.astype(np.float32)
        expected[:, :2] = 0
        np.testing.assert_array_equal(_read(save(slices, tmp_path / order)).volume.array, expected.T)


@pytest.mark.parametrize("order", ["up", "down"])
def test_a_range_through_zero_with_the_other_sign_wraps(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray, order: str
) -> None:
    slices = make_slices()
    _padded(slices, 65530, 16, False)  # -6
    for ds in slices:
        ends = (-10, 0) if order == "up" else (0, -10)
        ds.add_new(PADDING, "SS", ends[0])
        ds.add_new(LIMIT, "SS", ends[1])
    expected = stored.astype(np.float32)
    expected[:, :2] = 0
    np.testing.assert_array_equal(_read(save(slices, tmp_path)).volume.array, expected.T)


def test_padding_of_zero_changes_nothing_and_is_not_spoken_of(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray
) -> None:
    slices = make_slices()
    _padded(slices, 0, 12, False)
    for ds in slices:
        ds.add_new(PADDING, "US", 0)
    series = _read(save(slices, tmp_path))
    expected = stored.astype(np.float32)
    expected[:, :2] = 0
    np.testing.assert_array_equal(series.volume.array, expected.T)
    assert series.warnings == ()


def test_an_overlay_above_the_stored_bits_hides_no_padding(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray
) -> None:
    slices = make_slices()
    for ds, plane in zip(slices, stored, strict=True):
        ds.PixelData = (plane | 0x5000).astype("<u2").tobytes()
        ds.add_new(PADDING, "US", int(plane[3, 3]))
    volume = _read(save(slices, tmp_path)).volume.array
    for k, plane in enumerate(stored):
        np.testing.assert_array_equal(volume[:, :, k].T, np.where(plane == plane[3, 3], 0, plane))


def test_enhanced_images_have_it_too(tmp_path: Path, make_enhanced, save: Save, stored: np.ndarray) -> None:
    def scale(_: int, frame: pydicom.Dataset) -> None:
        frame.PixelValueTransformationSequence = []

    ds = make_enhanced(scale)
    pixels = stored.astype("<i2")
    pixels[:, 0] = -32768
    ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = pixels.tobytes(), 16, 15, 1
    ds.add_new(PADDING, "SS", -32768)
    expected = stored.astype(np.float32)
    expected[:, 0] = 0
    np.testing.assert_array_equal(_read(save([ds], tmp_path)).volume.array, expected.T)


def test_nothing_but_padding_is_refused(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PixelData = np.full((6, 7), 4000, "<u2").tobytes()
        ds.add_new(PADDING, "US", 4000)
    with pytest.raises(DataError, match="nothing but padding"):
        _read(save(slices, tmp_path))


def test_the_derived_series_holds_no_padding(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    _padded(slices, -32768, 16, True)
    for ds in slices:
        ds.add_new(PADDING, "SS", -32768)
    series = _read(save(slices, tmp_path / "in"))
    write_series(series.volume, series, tmp_path / "out", "a copy")
    again = _read(tmp_path / "out")
    np.testing.assert_array_equal(again.volume.array, series.volume.array)
    assert not any("padding" in warning for warning in again.warnings)
