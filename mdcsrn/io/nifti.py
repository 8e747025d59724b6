"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz) to volumes and back; whatever nibabel raises ends here."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_bytes
from mdcsrn.io.content import open_bytes, read_exactly, read_to_end, reading
from mdcsrn.io.nifti_header import (
    HEADER_BYTES,
    SMALLEST_HEADER,
    header_facts,
    is_pair,
    parse_header,
    total_bytes,
    volume_shape,
)
from mdcsrn.io.nonfinite import NonFinite, treat_nonfinite
from mdcsrn.io.volume import Header, Volume

SUFFIXES = (".nii", ".nii.gz")


def is_nifti_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends in .nii or .nii.gz (any case) and is not hidden."""
    name = Path(path).name.lower()
    return name.endswith(SUFFIXES) and not name.startswith(".")


def nifti_stem(path: str | os.PathLike[str]) -> str:
    """File name without .nii or .nii.gz."""
    name = Path(path).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def read_volume(path: str | os.PathLike[str], allow_constant: bool = False, nonfinite: NonFinite = "refuse") -> Volume:
    """Read a volume; a gzip file is checked to its last byte (CRC).

    A fourth axis of length 1 is dropped. Metres and micrometres are converted to millimetres. Integer types get their
    scale factor; values are float32.

    Args:
        path: .nii or .nii.gz file; the content decides, not the name.
        allow_constant: accept a volume whose voxels are all equal (a mask may be).
        nonfinite: ``refuse`` NaN and infinite voxels, or ``fill`` them (see :func:`fill_nonfinite`) with a warning.

    Returns:
        The volume, with a warning for each oddity of the header.

    Raises:
        DataError: missing, unreadable, truncated, damaged, not NIfTI, not one 3D volume, complex or RGB voxels, NaN
            or infinite values (counted), or nothing but one value.
        GeometryError: the affine is not finite, is singular, or its unit is not a length.
    """
    source = Path(path)
    with reading(source, "NIfTI"):
        with open_bytes(source) as stream:
            start = read_exactly(stream, HEADER_BYTES, source, at_least=SMALLEST_HEADER, kind="a NIfTI")
            header, image_class = parse_header(start, source)
            facts = header_facts(header, start, source)
            shape = volume_shape(facts.shape, source)
            data = start + read_exactly(stream, total_bytes(header, source) - len(start), source)
            read_to_end(stream)
        with np.errstate(all="ignore"):  # header oddities are in facts.warnings
            image = image_class.from_bytes(data)
            array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    return checked_volume(array, facts, allow_constant, nonfinite)


def checked_volume(
    array: NDArray[np.float32], facts: Header, allow_constant: bool = False, nonfinite: NonFinite = "refuse"
) -> Volume:
    """A volume from voxels and header, with the checks that every format shares.

    Args:
        array: values in the file's unit, shape (D, H, W).
        facts: geometry, type, path and warnings.
        allow_constant: see :func:`read_volume`.
        nonfinite: see :func:`read_volume`.

    Raises:
        DataError: NaN or infinite values (counted), or nothing but one value.
    """
    array, filled = treat_nonfinite(array, nonfinite, str(facts.path))
    volume = Volume(array, facts.affine, facts.dtype, facts.path, facts.warnings + filled)
    if not allow_constant:
        _refuse_constant(volume)
    return volume


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read shape, affine and stored type; no voxel is read.

    Args:
        path: .nii or .nii.gz file.

    Returns:
        The header; its shape has the file's number of axes (trailing ones of length 1 beyond the third dropped).

    Raises:
        DataError: missing, unreadable or not NIfTI.
        GeometryError: see :func:`read_volume`.
    """
    source = Path(path)
    with reading(source, "NIfTI"):
        with open_bytes(source) as stream:
            start = read_exactly(stream, HEADER_BYTES, source, at_least=SMALLEST_HEADER, kind="a NIfTI")
        return header_facts(parse_header(start, source)[0], start, source)


def write_volume(
    volume: Volume,
    path: str | os.PathLike[str],
    like: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float32,
) -> Path:
    """Write a volume in one step, sform and qform both set; equal input gives equal bytes.

    A NIfTI-1 file stores the affine in float32; a qform cannot hold shears, the sform holds all.

    Args:
        volume: what to write.
        path: ends in .nii or .nii.gz; its folder is made.
        like: NIfTI file (or .hdr of a pair) whose description and form codes are kept.
        dtype: stored type. Values are rounded for an integer type; there is no scale factor.

    Returns:
        The path.

    Raises:
        OutputError: wrong suffix, values that the type cannot hold, or the file cannot be written.
    """
    target = Path(path)
    if not target.name.lower().endswith(SUFFIXES):
        raise OutputError(f"cannot write {target}: not a NIfTI name", allowed=" or ".join(SUFFIXES))
    image = nib.Nifti1Image(_stored(volume.array, np.dtype(dtype), target), volume.affine)
    codes = [1, 1]  # scanner anatomical
    if like is not None:
        with reading(like, "NIfTI"), open_bytes(Path(like)) as stream:
            start = read_exactly(stream, HEADER_BYTES, Path(like), at_least=SMALLEST_HEADER, kind="a NIfTI")
            header = parse_header(start, Path(like), pair=is_pair(start))[0]
        image.header["descrip"] = header["descrip"]
        codes = [int(header[key]) or 1 for key in ("sform_code", "qform_code")]
    image.set_sform(volume.affine, codes[0])
    image.set_qform(volume.affine, codes[1], strip_shears=True)
    image.header.set_xyzt_units("mm", "sec")
    content = image.to_bytes()
    atomic_write_bytes(target, _packed(content) if target.name.lower().endswith(".gz") else content)
    return target


def _packed(content: bytes) -> bytes:
    """A gzip stream without name and time, so that the bytes depend on the volume alone.

    Voxels have hardly any repeated strings, which is what deflate spends its time on; runs (background) they have.
    On scans run-length matching takes a third to two thirds of the time of level 1, and is as small within a tenth.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(content) + packer.flush()


def _refuse_constant(volume: Volume) -> None:
    low, high = float(volume.array.min()), float(volume.array.max())
    if low == high:
        what = "nothing but zeros" if low == 0 else "one value in every voxel"
        raise DataError(f"{volume.path} holds {what}", got=low, remedy="check how the file was made")


def _stored(array: NDArray[np.float32], dtype: np.dtype, target: Path) -> NDArray[Any]:
    if dtype.kind == "f":
        return array.astype(dtype)
    if dtype.kind not in "iu":
        raise OutputError(f"cannot write {target}: no voxel type", got=dtype, allowed="integer or float")
    limits = np.iinfo(dtype)
    rounded = np.rint(array.astype(np.float64))
    if rounded.min() < limits.min or rounded.max() > limits.max:
        raise OutputError(
            f"cannot write {target}: values do not fit {dtype}",
            got=f"{rounded.min():g} to {rounded.max():g}",
            allowed=f"{limits.min} to {limits.max}",
            remedy="write float32",
        )
    return rounded.astype(dtype)
