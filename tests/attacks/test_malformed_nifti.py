"""Damaged files: a volume that can be trusted, or an error of the project's own. Nothing else, whatever the bytes."""

from __future__ import annotations

import bz2
import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import zstandard

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io import read_volume
from mdcsrn.io.formats import read_image, read_image_header

MUTANTS = 2000
# Bytes of a NIfTI-1 header that decide how the rest is read: size, dim, datatype, bitpix, pixdim, offset, scale, units,
# form codes, quaternion, srow, magic.
SENSITIVE = [*range(0, 4), *range(40, 56), *range(70, 124), *range(252, 328), *range(344, 352)]
SPECIAL_FLOATS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e-38, -0.0)


def _valid(kind: type[nib.Nifti1Image], dtype: str) -> bytes:
    rng = np.random.default_rng(7)
    image = kind(rng.integers(0, 1000, (7, 6, 5)).astype(dtype), np.diag([1.0, 1.2, 2.0, 1.0]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


ORIGINALS = [_valid(nib.Nifti1Image, "<i2"), _valid(nib.Nifti1Image, "<f4"), _valid(nib.Nifti2Image, "<f4")]


def _mutate(seed: int, originals: list[bytes] = ORIGINALS) -> tuple[bytes, str]:
    """One damaged file and its suffix: bytes, header floats or integers, truncation, or damage to the gzip stream."""
    rng = np.random.default_rng(seed)
    data = bytearray(originals[seed % len(originals)])
    way = rng.integers(6)
    if way == 0:
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(len(data))] = rng.integers(256)
    elif way == 1:
        for place in rng.choice(SENSITIVE, rng.integers(1, 4)):
            data[place] = rng.integers(256)
    elif way == 2:
        struct.pack_into("<f", data, int(rng.integers(19, 82)) * 4, float(rng.choice(SPECIAL_FLOATS)))
    elif way == 3:
        struct.pack_into("<h", data, 40 + 2 * int(rng.integers(0, 8)), int(rng.integers(-(2**15), 2**15)))
    elif way == 4:
        del data[int(rng.integers(len(data))) :]
    packed = bytearray(gzip.compress(bytes(data), mtime=0)) if seed % 2 or way == 5 else None
    if packed is None:
        return bytes(data), ".nii"
    if way == 5:
        if rng.integers(2):
            del packed[int(rng.integers(len(packed))) :]
        else:
            packed[rng.integers(len(packed))] ^= 1 << rng.integers(8)
    return bytes(packed), ".nii.gz"


def _check_header(path: Path) -> None:
    try:
        header = read_image_header(path)
    except MdcsrnError as error:
        assert path.name in str(error)
        return
    assert np.isfinite(header.affine).all()
    assert np.linalg.matrix_rank(header.affine) == 4
    assert min(header.shape) >= 1


def test_mutants_are_read_soundly_or_refused_by_name(tmp_path: Path) -> None:
    refused = 0
    for seed in range(MUTANTS):
        content, suffix = _mutate(seed)
        path = tmp_path / f"mutant{seed}{suffix}"
        path.write_bytes(content)
        _check_header(path)
        try:
            volume = read_image(path)
        except MdcsrnError as error:
            refused += 1
            assert path.name in str(error), seed
            continue
        finally:
            path.unlink()
        assert np.isfinite(volume.array).all(), seed
        assert np.isfinite(volume.affine).all(), seed
        assert np.linalg.matrix_rank(volume.affine) == 4, seed
        assert volume.array.ndim == 3, seed
    # The seeds are fixed: most damage matters, and some (a voxel, a description) does not.
    assert 0.3 * MUTANTS < refused < 0.95 * MUTANTS


def test_mutants_of_extensions_pairs_and_other_packings(tmp_path: Path) -> None:
    """The same damage to headers with extensions, to either file of a pair, and to Zstandard and bzip2 streams."""
    image = nib.Nifti1Image.from_bytes(ORIGINALS[1])
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"text" * 20))
    extended = image.to_bytes()
    nib.Nifti1Pair(np.asarray(image.dataobj), image.affine).to_filename(tmp_path / "pair.img")
    header, voxels = (tmp_path / "pair.hdr").read_bytes(), (tmp_path / "pair.img").read_bytes()
    for seed in range(800):
        rng = np.random.default_rng(seed)
        folder = tmp_path / f"mutant{seed}"
        folder.mkdir()
        if seed % 4 == 0:
            path = folder / "a.nii"
            path.write_bytes(_mutate(6 * seed, [extended])[0])
        elif seed % 4 == 1:
            path = folder / "a.hdr"
            path.write_bytes(_mutate(6 * seed, [header + bytes(600)])[0][:348])
            (folder / "a.img").write_bytes(voxels[: rng.integers(len(voxels) // 2, 2 * len(voxels))])
        else:
            path = folder / "a.nii"
            packed = bytearray(zstandard.compress(extended) if seed % 4 == 2 else bz2.compress(extended))
            packed[rng.integers(len(packed))] ^= 1 << rng.integers(8)
            path.write_bytes(packed[: rng.integers(len(packed) // 2, 2 * len(packed))])
        _check_header(path)
        try:
            volume = read_image(path)
        except MdcsrnError as error:
            assert "a." in str(error), seed
            continue
        assert np.isfinite(volume.array).all(), seed
        assert np.linalg.matrix_rank(volume.affine) == 4, seed


def test_filling_makes_no_unsound_volume(tmp_path: Path) -> None:
    holed = [original[:-40] + struct.pack("<f", np.nan) * 10 for original in ORIGINALS[1:]]
    filled = 0
    for seed in range(MUTANTS, MUTANTS + 300):
        content, suffix = _mutate(seed, holed)
        path = tmp_path / f"mutant{seed}{suffix}"
        path.write_bytes(content)
        try:
            volume = read_image(path, nonfinite="fill")
        except MdcsrnError as error:
            assert path.name in str(error), seed
            continue
        assert np.isfinite(volume.array).all(), seed
        filled += any("NaN or infinite" in line for line in volume.warnings)
    assert filled > 50  # where the rest of the file is still sound


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_truncation_is_refused(tmp_path: Path, share: float, suffix: str) -> None:
    whole = gzip.compress(ORIGINALS[0], mtime=0) if suffix == ".nii.gz" else ORIGINALS[0]
    path = tmp_path / f"short{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="short"):
        read_volume(path)


def test_gzip_without_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(gzip.compress(ORIGINALS[0], mtime=0)[:-4])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_absurd_dimensions_are_refused_without_allocating(tmp_path: Path, suffix: str) -> None:
    data = bytearray(ORIGINALS[0])
    struct.pack_into("<3h", data, 42, 32767, 32767, 32767)
    path = tmp_path / f"huge{suffix}"
    path.write_bytes(gzip.compress(bytes(data)) if suffix == ".nii.gz" else bytes(data))
    with pytest.raises(DataError, match="claimed by the header"):
        read_volume(path)
