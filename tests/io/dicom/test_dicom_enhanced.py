"""Enhanced (multi-frame) images and compressed pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError
from mdcsrn.io.dicom import find_series, pixels, read_series

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]


def test_frames_become_a_volume_with_their_own_scales(tmp_path: Path, make_enhanced, save: Save, stored) -> None:
    (found,) = find_series(save([make_enhanced()], tmp_path))
    series = read_series(found)
    k = np.arange(5)[:, None, None]
    np.testing.assert_array_equal(series.volume.array, (stored * (0.5 + k) - k).astype(np.float32).T)
    expected = np.array([[-1.25, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
    np.testing.assert_allclose(series.volume.affine, expected)
    assert len(series.headers) == len(series.files) == 1
    assert len(series.frames) == 5


def test_frames_out_of_order_are_put_in_order(tmp_path: Path, make_enhanced, save: Save, stored) -> None:
    order = [3, 0, 4, 1, 2]

    def shuffle(k: int, frame: pydicom.Dataset) -> None:
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10, -20, 30 + 2 * order[k]]
        del frame.PixelValueTransformationSequence

    (found,) = find_series(save([make_enhanced(shuffle)], tmp_path))
    np.testing.assert_array_equal(read_series(found).volume.array, stored[np.argsort(order)].T)


def test_time_points_are_parted(tmp_path: Path, make_enhanced, save: Save) -> None:
    found = find_series(save([make_enhanced(times=3)], tmp_path))
    assert [s.name for s in found] == [f"series003_part{k}" for k in (1, 2, 3)]
    arrays = [read_series(s).volume.array for s in found]
    assert all(a.shape == (7, 6, 5) for a in arrays)
    assert not np.array_equal(arrays[0], arrays[1])


def test_stacks_in_several_directions_are_parted(tmp_path: Path, make_enhanced, save: Save) -> None:
    def turn(k: int, frame: pydicom.Dataset) -> None:
        if k >= 5:
            item = pydicom.Dataset()
            item.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            frame.PlaneOrientationSequence = [item]
            frame.PlanePositionSequence[0].ImagePositionPatient = [2 * k, 0, 0]
            frame.FrameContentSequence[0].StackID = "2"

    found = find_series(save([make_enhanced(turn, times=2)], tmp_path))
    assert [read_series(s).volume.shape for s in found] == [(7, 6, 5)] * 2


def test_claims_about_frames_are_checked(tmp_path: Path, make_enhanced, save: Save) -> None:
    ds = make_enhanced()
    ds.NumberOfFrames = 6
    (found,) = find_series(save([ds], tmp_path / "more"))
    with pytest.raises(DataError, match="6 frames, 5 of them described"):
        read_series(found)
    ds = make_enhanced()
    ds.PixelData = ds.PixelData[:-50]
    (found,) = find_series(save([ds], tmp_path / "less"))
    with pytest.raises(DataError, match="cannot be decoded"):
        read_series(found)
    ds = make_enhanced()
    ds.ConcatenationUID = "1.2.3.4"
    (found,) = find_series(save([ds], tmp_path / "part"))
    with pytest.raises(DataError, match="concatenation"):
        read_series(found)


@pytest.mark.parametrize("missing", ["PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"])
def test_missing_groups_are_named(tmp_path: Path, make_enhanced, save: Save, missing: str) -> None:
    ds = make_enhanced()
    for item in (*ds.PerFrameFunctionalGroupsSequence, *ds.SharedFunctionalGroupsSequence):
        if missing in item:
            del item[missing]
    (found,) = find_series(save([ds], tmp_path))
    with pytest.raises(DataError, match="no (ImagePosition|ImageOrientation|Pixel)"):
        read_series(found)


SIZE = (40, 48)


def _images(make: Make) -> tuple[list[pydicom.Dataset], np.ndarray]:
    """Five images large enough for every codec, 12 bits of texture."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    planes = np.stack([(2000 + 1500 * np.sin(x / 5 + k) * np.cos(y / 7)).astype(np.uint16) for k in range(5)])
    slices = make()
    for ds, plane in zip(slices, planes, strict=True):
        ds.Rows, ds.Columns = SIZE
        ds.PixelData = plane.tobytes()
    return slices, planes


def _jpeg(plane: np.ndarray, folder: Path) -> pydicom.Dataset:
    """Lossless JPEG by GDCM; pydicom has no encoder for it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "jpeg.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(plane))
    return pydicom.dcmread(folder / "jpeg.dcm")


CODECS = {
    "RLE": pydicom.uid.RLELossless,
    "JPEG-LS": pydicom.uid.JPEGLSLossless,
    "JPEG 2000": pydicom.uid.JPEG2000Lossless,
    "JPEG": pydicom.uid.JPEGLosslessSV1,
}


def _compressed(make: Make, codec: str, folder: Path) -> tuple[list[pydicom.Dataset], np.ndarray]:
    slices, planes = _images(make)
    for ds, plane in zip(slices, planes, strict=True):
        if codec == "JPEG":
            encoded = _jpeg(plane, folder)
            ds.PixelData, ds.file_meta = encoded.PixelData, encoded.file_meta
            ds["PixelData"].is_undefined_length = True
        else:
            ds.compress(CODECS[codec], generate_instance_uid=False)
        assert ds.file_meta.TransferSyntaxUID == CODECS[codec]
    return slices, planes


@pytest.mark.parametrize("gdcm", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_lossless_codecs(
    tmp_path: Path, make_slices: Make, save: Save, codec: str, gdcm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gdcm:  # as where the small decoder packages are not installed
        monkeypatch.setitem(pixels.PLUGINS, str(CODECS[codec]), (None,))
    slices, planes = _compressed(make_slices, codec, tmp_path)
    (found,) = find_series(save(slices, tmp_path / "s"))
    np.testing.assert_array_equal(read_series(found).volume.array, planes.T)


@pytest.mark.parametrize("codec", ["JPEG-LS", "JPEG 2000", "JPEG"])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, make_slices: Make, save: Save, codec: str
) -> None:
    slices, _ = _compressed(make_slices, codec, tmp_path)
    for ds in slices:
        ds.Rows = SIZE[0] - 1
    (found,) = find_series(save(slices, tmp_path / "s"))
    with pytest.raises(DataError, match=r"compressed image of \(40, 48\), header of \(39, 48\)"):
        read_series(found)


def test_compressed_frames_of_an_enhanced_image(tmp_path: Path, make_enhanced, make_slices: Make, save: Save) -> None:
    _, planes = _images(make_slices)
    ds = make_enhanced(lambda k, frame: frame.__delitem__("PixelValueTransformationSequence"))
    ds.Rows, ds.Columns = SIZE
    ds.PixelData = planes.tobytes()
    ds.compress(CODECS["JPEG-LS"], generate_instance_uid=False)
    (found,) = find_series(save([ds], tmp_path))
    np.testing.assert_array_equal(read_series(found).volume.array, planes.T)


def test_video_is_refused_by_name(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices, _ = _compressed(make_slices, "RLE", tmp_path)
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    (found,) = find_series(save(slices, tmp_path / "s"))
    with pytest.raises(DataError, match="unsupported transfer syntax.*MPEG2"):
        read_series(found)
