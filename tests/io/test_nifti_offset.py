"""Where voxels begin: every vox_offset that a writer left unset or wrong, with extensions or without."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.errors import DataError
from mdcsrn.io.formats import image_kind, read_image

ARRAY = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)
KINDS = {"one": (nib.Nifti1Image, 108, "f", 352), "two": (nib.Nifti2Image, 168, "q", 544)}
TEXT = b"a comment of some length, so that its room is not the smallest"


def content(kind: str, offset: float | None = None, extension: bool = False, order: str = "<") -> bytearray:
    image_class, place, form, _ = KINDS[kind]
    header = image_class.header_class(endianness=order)
    image = image_class(ARRAY.astype(f"{order}f4"), np.diag([1, 1.2, 2, 1]), header)
    image.header.set_xyzt_units("mm")
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", TEXT))
    data = bytearray(image.to_bytes())
    if offset is not None:
        struct.pack_into(order + form, data, place, offset if form == "f" else int(offset))
    return data


def read(path: Path, data: bytes, array: np.ndarray = ARRAY) -> tuple[str, ...]:
    """Warnings of a file whose voxels must be the true ones."""
    path.write_bytes(data)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, array)
    return volume.warnings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 100, 348, 351, -352, 1e6, 2**30, 360])
def test_row_vox_offset_that_cannot_be(tmp_path: Path, kind: str, order: str, packed: bool, offset: float) -> None:
    data = bytes(content(kind, offset, order=order))
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    warnings = read(path, gzip.compress(data) if packed else data)
    assert any(f"{KINDS[kind][3]} is taken" in line for line in warnings)


@pytest.mark.parametrize("offset", [math.nan, math.inf, -math.inf, 352.5, 352.0])
def test_numbers_that_are_none(tmp_path: Path, offset: float) -> None:
    warnings = read(tmp_path / "a.nii", bytes(content("one", offset)))
    assert any("352 is taken" in line for line in warnings) == (offset != 352)


@pytest.mark.parametrize("kind", KINDS)
def test_a_room_of_any_size_is_kept(tmp_path: Path, kind: str) -> None:
    """A sound vox_offset counts, whatever lies before it; it need not be a multiple of 16."""
    first = KINDS[kind][3]
    for room in (0, 1, 7, 16, 4000):
        data = content(kind, first + room)
        data[first:first] = b"\x07" * room
        assert read(tmp_path / "a.nii", bytes(data)) == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [b"", b"tail"])
@pytest.mark.parametrize("stated", ["unset", "at the extension", "within it", "behind it"])
def test_voxels_behind_an_extension(tmp_path: Path, kind: str, tail: bytes, stated: str) -> None:
    first = KINDS[kind][3]
    end = len(content(kind, extension=True)) - ARRAY.nbytes
    offset = {"unset": 0, "at the extension": first, "within it": first + 16, "behind it": end + 64}[stated]
    data = bytes(content(kind, offset, extension=True)) + tail
    assert read(tmp_path / "a.nii", bytes(content(kind, extension=True))) == ()
    if stated == "behind it" and tail:  # then nothing says where they begin
        (tmp_path / "a.nii").write_bytes(data)
        with pytest.raises(DataError):
            read_image(tmp_path / "a.nii")
        return
    warnings = read(tmp_path / "a.nii", data)
    assert any(f"{end} is taken" in line for line in warnings)


@pytest.mark.parametrize("esize", [0, 7, 8, 4096, -16, 2**31 - 1, 24])
@pytest.mark.parametrize("kind", KINDS)
def test_row_extension_of_a_wrong_size(tmp_path: Path, esize: int, kind: str) -> None:
    """Only vox_offset says where voxels begin; the extension is left out."""
    first = KINDS[kind][3]
    data = content(kind, extension=True)
    struct.pack_into("<i", data, first, esize)
    warnings = read(tmp_path / "a.nii", bytes(data))
    assert any("extension is damaged" in line for line in warnings)


@pytest.mark.parametrize("flags", [b"\1\0\0\0", b"\xff\xff\xff\xff", b"\0\1\2\3"])
def test_flags_of_an_extension_that_is_not_there(tmp_path: Path, flags: bytes) -> None:
    data = content("one")
    data[348:352] = flags
    assert read(tmp_path / "a.nii", bytes(data)) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_that_left_out_the_flags(tmp_path: Path, kind: str) -> None:
    first = KINDS[kind][3]
    data = content(kind, 0)
    del data[first - 4 : first]
    assert any(f"{first - 4} is taken" in line for line in read(tmp_path / "a.nii", bytes(data)))


def test_a_truncated_file_is_no_file_with_a_wrong_offset(tmp_path: Path) -> None:
    for missing in (1, 4, 32, 64):
        (tmp_path / "a.nii").write_bytes(bytes(content("one"))[:-missing])
        with pytest.raises(DataError):
            read_image(tmp_path / "a.nii")


def test_bytes_behind_the_last_voxel_are_reported(tmp_path: Path) -> None:
    warnings = read(tmp_path / "a.nii", bytes(content("one")) + b"0123456789")
    assert any("10 bytes follow the last voxel" in line for line in warnings)


@pytest.mark.parametrize("magic", [b"ni1\0", b"n+1 ", b"n+1\n", b"ni1 "])
@pytest.mark.parametrize("offset", [0, 352])
def test_row_magic_of_the_other_kind(tmp_path: Path, magic: bytes, offset: int) -> None:
    data = content("one", offset)
    data[344:348] = magic
    assert read(tmp_path / "a.nii", bytes(data))


def pair(folder: Path, image_class: type = nib.Nifti1Pair) -> tuple[bytearray, Path]:
    image_class(ARRAY, np.diag([1, 1.2, 2, 1])).to_filename(folder / "a.img")
    return bytearray((folder / "a.hdr").read_bytes()), folder / "a.hdr"


@pytest.mark.parametrize("give", [".hdr", ".img"])
@pytest.mark.parametrize("magic", [b"ni1\0", b"n+1\0"])
@pytest.mark.parametrize("offset", [0, 352, 7, -5, math.nan, 1e9])
def test_row_offset_in_a_pair(tmp_path: Path, give: str, magic: bytes, offset: float) -> None:
    data, header = pair(tmp_path)
    struct.pack_into("<f", data, 108, offset)
    data[344:348] = magic
    header.write_bytes(data)
    path = header.with_suffix(give)
    assert image_kind(path) == "nifti-pair"
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert any("0 is taken" in line for line in volume.warnings) == (offset != 0)


def test_an_offset_within_the_file_of_a_pair(tmp_path: Path) -> None:
    data, header = pair(tmp_path)
    struct.pack_into("<f", data, 108, 48)
    header.write_bytes(data)
    voxels = header.with_suffix(".img")
    voxels.write_bytes(bytes(48) + voxels.read_bytes())
    np.testing.assert_array_equal(read_image(header).array, ARRAY)


def test_a_pair_of_nifti_2(tmp_path: Path) -> None:
    pair(tmp_path, nib.Nifti2Pair)
    np.testing.assert_array_equal(read_image(tmp_path / "a.img").array, ARRAY)


def test_row_type_and_bits_disagree(tmp_path: Path) -> None:
    """The file's length tells which is right; where it speaks for the bits, nothing tells the type."""
    data = content("one")
    struct.pack_into("<h", data, 72, 64)
    assert any("bitpix" in line for line in read(tmp_path / "a.nii", bytes(data)))
    image = nib.Nifti1Image(ARRAY.astype(np.float64), np.eye(4))
    data = bytearray(image.to_bytes())
    struct.pack_into("<h", data, 70, 16)  # float32
    (tmp_path / "b.nii").write_bytes(data)
    with pytest.raises(DataError, match=r"b\.nii has voxels of 64 bits by its length.*float32"):
        read_image(tmp_path / "b.nii")
