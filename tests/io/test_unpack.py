"""Packed streams: many in one, padded, followed by something else, cut, damaged; and images in each packing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mdcsrn.errors import DataError
from mdcsrn.io import is_nifti_name, is_standard_name, nifti_stem, read_volume
from mdcsrn.io.formats import image_kind, image_stem, is_image_name, read_image, read_image_header
from mdcsrn.io.unpack import DamagedStream, Unpacked, packing

RNG = np.random.default_rng(0)
CONTENTS = [b"", b"\0", RNG.integers(0, 4, 3_000_000, np.uint8).tobytes(), bytes(5_000_001)]
PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstandard": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "zlib": zlib.compress,
}


def unpack(data: bytes, kind: str) -> tuple[bytes, int]:
    with Unpacked(io.BytesIO(data), kind) as stream:
        return stream.readall(), stream.trailing


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_whole_streams(kind: str, content: bytes) -> None:
    packed = PACK[kind](content)
    assert unpack(packed, kind) == (content, 0)
    if kind != "zlib":
        assert packing(packed) == kind
        assert unpack(packed + packed, kind) == (2 * content, 0)
        assert unpack(packed + bytes(3_000_000) + packed, kind) == (2 * content, 0)
        assert unpack(packed + bytes(700) + b"something else", kind) == (content, len(b"something else"))


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("content", CONTENTS[1:], ids=len)
def test_a_stream_that_lacks_its_end(kind: str, content: bytes) -> None:
    packed = PACK[kind](content)
    for cut in (1, 4, len(packed) // 2):
        with pytest.raises(DamagedStream):
            unpack(packed[:-cut], kind)


@pytest.mark.parametrize("kind", PACK)
def test_a_flipped_bit_is_met(kind: str) -> None:
    content = RNG.integers(0, 256, 300_000, np.uint8).tobytes()
    packed = bytearray(PACK[kind](content))
    packed[len(packed) // 2] ^= 4
    with pytest.raises(DamagedStream):
        unpack(bytes(packed), kind)


def test_what_is_not_packed() -> None:
    for data in (b"", b"\x1f", b"NRRD0004", b"BZh is no stream", lzma.compress(b"a"), bytes(20)):
        assert packing(data) is None
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"  # pzstd begins with such a frame
    assert packing(skippable + b"......") == "zstandard"
    assert unpack(skippable + PACK["zstandard"](b"abc"), "zstandard") == (b"abc", 0)


@pytest.mark.parametrize(("ending", "kind"), [(".nii.zst", "zstandard"), (".nii.bz2", "bzip2"), (".nii.gz", "gzip")])
def test_row_packed_images(tmp_path: Path, ending: str, kind: str, array: np.ndarray, save_nifti: Callable) -> None:
    plain = save_nifti(tmp_path / "plain.nii").read_bytes()
    path = tmp_path / f"scan{ending}"
    path.write_bytes(PACK[kind](plain))
    disguised = tmp_path / "scan.nii"
    disguised.write_bytes(path.read_bytes())
    for file in (path, disguised):
        assert image_kind(file) == "nifti"
        np.testing.assert_array_equal(read_image(file).array, array)
        assert read_image(file).warnings == ()
        assert read_image_header(file).shape == array.shape
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


def test_row_pairs_and_freesurfer_packed(tmp_path: Path, array: np.ndarray, write_as: Callable) -> None:
    for name in (".img", ".hdr"):
        file = write_as(tmp_path, name)
        for part in (file.with_suffix(".hdr"), file.with_suffix(".img")):
            part.with_name(part.name + ".gz").write_bytes(gzip.compress(part.read_bytes()))
            part.unlink()
        np.testing.assert_array_equal(read_image(tmp_path / f"scan{name}.gz").array, array)
    mgh = write_as(tmp_path, ".mgh")
    (tmp_path / "other.mgh.gz").write_bytes(gzip.compress(mgh.read_bytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "other.mgh.gz").array, array)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".nii.zst", ".nii.bz2"])
def test_row_something_behind_a_packed_stream(
    tmp_path: Path, ending: str, array: np.ndarray, write_as: Callable
) -> None:
    if ending in (".nii.zst", ".nii.bz2"):
        data = PACK["zstandard" if ending == ".nii.zst" else "bzip2"](write_as(tmp_path, ".nii").read_bytes())
    else:
        data = write_as(tmp_path, ending).read_bytes()
    path = tmp_path / f"tail{ending}"
    path.write_bytes(data + b"garbage")
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, array)
    assert any("7 bytes of something else" in line for line in volume.warnings)
    path.write_bytes(data + b"\x1f\x8b and no stream")  # the mark of gzip without its method
    np.testing.assert_array_equal(read_image(path).array, array)
    path.write_bytes(data + bytes(7))
    assert not read_image(path).warnings
    path.write_bytes(data[:-3] + b"garbage")  # a checksum that is not there is not replaced by garbage
    with pytest.raises(DataError, match="truncated or damaged"):
        read_image(path)


def test_row_a_stream_in_members(tmp_path: Path, array: np.ndarray, write_as: Callable) -> None:
    data = write_as(tmp_path, ".nii").read_bytes()
    for ending, pack in ((".nii.gz", gzip.compress), (".nii.zst", PACK["zstandard"]), (".nii.bz2", bz2.compress)):
        (tmp_path / f"a{ending}").write_bytes(b"".join(pack(data[i : i + 200]) for i in range(0, len(data), 200)))
        np.testing.assert_array_equal(read_image(tmp_path / f"a{ending}").array, array)


@pytest.mark.parametrize(
    ("name", "image", "nifti", "standard", "stem", "packless"),
    [
        ("a.nii", True, True, True, "a", "a"),
        ("a.b.NII.GZ", True, True, True, "a.b", "a.b"),
        ("a.nii.zst", True, True, False, "a", "a"),
        ("a.nii.bz2", True, True, False, "a", "a"),
        ("a.mgh.gz", True, False, False, "a.mgh.gz", "a"),
        ("a.hdr.gz", True, False, False, "a.hdr.gz", "a"),
        (".a.nii.zst", False, False, False, ".a", ".a"),
        ("a.zst", False, False, False, "a.zst", "a.zst"),
    ],
)
def test_names(name: str, image: bool, nifti: bool, standard: bool, stem: str, packless: str) -> None:
    assert (is_image_name(name), is_nifti_name(name), is_standard_name(name)) == (image, nifti, standard)
    assert nifti_stem(name) == stem
    assert image_stem(f"x/{name}") == packless
