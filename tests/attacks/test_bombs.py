"""Small files that would unpack to more than their header promises, or promise what no image has: refused early."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import zstandard

from mdcsrn.errors import DataError
from mdcsrn.io.formats import read_image

MOST = 64 << 20  # bytes of memory
MEBIBYTE = bytes(1 << 20)


def zeros(mebibytes: int) -> Iterator[bytes]:
    return (MEBIBYTE for _ in range(mebibytes))


def gzipped(start: bytes, mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([packer.compress(start), *map(packer.compress, zeros(mebibytes)), packer.flush()])


def zstd(start: bytes, mebibytes: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join([packer.compress(start), *map(packer.compress, zeros(mebibytes)), packer.flush()])


def bzipped(start: bytes, mebibytes: int) -> bytes:
    packer = bz2.BZ2Compressor(1)
    return b"".join([packer.compress(start), *map(packer.compress, zeros(mebibytes)), packer.flush()])


def nifti_start(shape: tuple[int, int, int], dtype: str = "u1") -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header.set_xyzt_units("mm")
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4)


def mgh_start(shape: tuple[int, int, int]) -> bytes:
    header = nib.freesurfer.mghformat.MGHHeader()
    header.set_data_dtype(np.uint8)
    header["dims"] = (*shape, 1)
    header["goodRASFlag"] = 1
    return header.binaryblock + bytes(284 - len(header.binaryblock))


def nrrd_start(shape: tuple[int, int, int], encoding: str = "gzip") -> bytes:
    sizes = " ".join(map(str, shape))
    text = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: RAS\nsizes: {sizes}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    )
    return f"{text}encoding: {encoding}\nspace origin: (0,0,0)\n\n".encode()


def peak_of_refusal(path: Path, words: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as caught:
            read_image(path)
        assert path.name in str(caught.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [gzipped, zstd])
def test_a_stream_that_goes_on_behind_what_its_header_promises(tmp_path: Path, pack: Callable) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(pack(nifti_start((7, 6, 5)), 600))
    assert path.stat().st_size < 700_000
    assert peak_of_refusal(path, "goes on behind the last voxel") < MOST


@pytest.mark.parametrize("pack", [gzipped, zstd, bzipped])
@pytest.mark.parametrize("make", [nifti_start, mgh_start])
def test_a_promise_that_is_kept_with_nothing_in_it(tmp_path: Path, pack: Callable, make: Callable) -> None:
    """171 kB become 172 MiB of equal bytes, and as float32 four times that."""
    path = tmp_path / ("bomb.nii.gz" if make is nifti_start else "bomb.mgz")
    path.write_bytes(pack(make((560, 560, 560)), 168))
    assert peak_of_refusal(path, "would unpack to far more") < MOST


@pytest.mark.parametrize("pack", [gzipped, zstd, bzipped])
def test_a_smaller_one(tmp_path: Path, pack: Callable) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(pack(nifti_start((256, 512, 512)), 64))
    assert peak_of_refusal(path, "holds one value in every voxel") < MOST


@pytest.mark.parametrize("pack", [gzipped, zstd])
def test_a_promise_that_is_not_kept(tmp_path: Path, pack: Callable) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(pack(nifti_start((512, 500, 500)), 100))
    assert peak_of_refusal(path, "truncated" if pack is gzipped else "would unpack to far more") < MOST


@pytest.mark.parametrize("shape", [(560, 560, 560), (256, 512, 512)])
def test_nrrd_and_metaimage(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    mebibytes = int(np.prod(shape)) // len(MEBIBYTE) + 1
    words = "would unpack to far more|holds one value in every voxel"
    path = tmp_path / "bomb.nrrd"
    path.write_bytes(nrrd_start(shape) + gzipped(b"", mebibytes))
    assert peak_of_refusal(path, words) < MOST
    (tmp_path / "voxels.raw.gz").write_bytes(gzipped(b"", mebibytes))
    detached = tmp_path / "bomb.nhdr"
    detached.write_bytes(nrrd_start(shape).rstrip() + b"\ndata file: voxels.raw.gz\n")
    with pytest.raises(DataError, match=words):
        read_image(detached)
    size = " ".join(map(str, shape))
    header = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = {size}\n"
    packer = zlib.compressobj(9)
    voxels = b"".join([*map(packer.compress, zeros(mebibytes)), packer.flush()])
    meta = tmp_path / "bomb.mha"
    meta.write_bytes(f"{header}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + voxels)
    assert peak_of_refusal(meta, words) < MOST


def test_text_cannot_promise_more_than_it_has(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nrrd"
    path.write_bytes(nrrd_start((1000, 1000, 1000), "ascii") + b"1 " * 1000)
    assert peak_of_refusal(path, "claimed by the header") < MOST


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_head_in_much_air_is_read(tmp_path: Path, pack: Callable) -> None:
    """256 x 320 x 320 in float32, all but a hundredth of it zero: packed 500 to 1 and more."""
    array = np.zeros((256, 320, 320), np.float32)
    array[100:140, 120:170, 130:150] = np.random.default_rng(0).integers(1, 9, (40, 50, 20))
    path = tmp_path / "air.nii.gz"
    path.write_bytes(pack(nifti_start(array.shape, "f4") + array.tobytes(order="F")))
    assert array.nbytes > 300 * path.stat().st_size
    np.testing.assert_array_equal(read_image(path).array, array)


def test_a_large_label_map_is_read(tmp_path: Path) -> None:
    array = np.zeros((400, 420, 420), np.uint8)
    array[50:300, 60:300, 70:300] = 1
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(gzip.compress(nifti_start(array.shape) + array.tobytes(order="F")))
    assert read_image(path, allow_constant=True).array.sum() == array.sum(dtype=np.int64)
