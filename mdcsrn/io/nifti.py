"""Read and write NIfTI-1 and NIfTI-2 files (.nii, .nii.gz); errors of nibabel are translated here."""

from __future__ import annotations

import dataclasses
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_bytes
from mdcsrn.io.content import open_bytes, read_exactly, reading
from mdcsrn.io.forms import put_forms
from mdcsrn.io.names import WRITTEN
from mdcsrn.io.nifti_header import (
    HEADER_BYTES,
    MIN_HEADER_BYTES,
    header_facts,
    is_pair,
    parse_header,
    volume_shape,
)
from mdcsrn.io.nifti_voxels import read_voxels
from mdcsrn.io.nonfinite import NonFinite, treat_nonfinite
from mdcsrn.io.volume import Header, Volume

MAX_AXIS_VOXELS = 32767  # of NIfTI-1


def read_volume(path: str | os.PathLike[str], allow_constant: bool = False, nonfinite: NonFinite = "refuse") -> Volume:
    """Read a volume; a packed file (gzip, bzip2, Zstandard) is checked to its last byte.

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
        header, facts = _read_header(source)
        volume_shape(facts.shape, source)
        first = header.template_dtype.itemsize + 4
        array, warnings = read_voxels(source, header, facts, first, allow_constant)
    facts = dataclasses.replace(facts, warnings=(*facts.warnings, *warnings))
    return checked_volume(array, facts, allow_constant, nonfinite)


def _read_header(source: Path) -> tuple[Any, Header]:
    with open_bytes(source) as stream:
        start = read_exactly(stream, HEADER_BYTES, source, at_least=MIN_HEADER_BYTES, kind="a NIfTI")
    header = parse_header(start, source)
    if is_pair(start) and source.name.lower().endswith((".hdr", ".hdr.gz")):
        raise DataError(
            f"{source} is not a NIfTI file in one piece (it is a .hdr/.img pair)",
            allowed="NIfTI-1 or NIfTI-2, .nii or .nii.gz",
            remedy="convert it, for example with nibabel or fslchfiletype",
        )
    facts = header_facts(header, start, source)
    if is_pair(start):
        odd = "the header says that the voxels are in a second file: they are read from this one"
        facts = dataclasses.replace(facts, warnings=(*facts.warnings, odd))
    return header, facts


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
    volume = Volume(array, facts.affine, facts.dtype, facts.path, facts.warnings + filled, facts.forms)
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
        return _read_header(source)[1]


def write_volume(volume: Volume, path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Path:
    """Write a volume in one step; equal input gives equal bytes.

    What the header of its source said is kept in meaning (:class:`mdcsrn.io.forms.Forms`): sform and qform under their
    own codes, description and intent. A volume without such a header gets its affine in both, as scanner coordinates.
    A NIfTI-1 file stores the sform in float32; a qform that a quaternion cannot hold (a sheared one) is left unset.

    Args:
        volume: what to write.
        path: ends in .nii or .nii.gz; its folder is made.
        dtype: stored type. Values are rounded for an integer type; there is no scale factor.

    Returns:
        The path.

    Raises:
        OutputError: wrong suffix, values that the type cannot hold, or the file cannot be written.
    """
    target = Path(path)
    if not target.name.lower().endswith(WRITTEN):
        raise OutputError(f"cannot write {target}: not a NIfTI name", allowed=" or ".join(WRITTEN))
    array = as_type(volume.array, np.dtype(dtype), target)
    header: Any = nib.Nifti2Header() if max(array.shape) > MAX_AXIS_VOXELS else nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    put_forms(header, volume.affine, volume.forms)
    content = encode(header, array)
    atomic_write_bytes(target, packed(content) if target.name.lower().endswith(".gz") else content)
    return target


def encode(header: Any, array: NDArray[Any]) -> bytes:
    """A one-file NIfTI: header without extensions, unit millimetres, and voxels.

    Args:
        header: nibabel's, with type, shape and forms set.
        array: voxels of that type.
    """
    header.set_xyzt_units("mm", "sec")
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header.binaryblock + bytes(4) + array.tobytes(order="F")


def packed(content: bytes) -> bytes:
    """A gzip stream without name and time, so that the bytes depend on the volume alone.

    ISA-L takes a sixth of zlib's time for the same size. Without it: voxels have hardly any repeated strings, which is
    what deflate spends its time on; runs (background) they have, and run-length matching takes a third to two thirds of
    the time of level 1, and is as small within a tenth.
    """
    packer: Any
    try:
        from isal import isal_zlib
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    else:
        packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(content) + packer.flush()


def _refuse_constant(volume: Volume) -> None:
    low, high = float(volume.array.min()), float(volume.array.max())
    if low == high:
        what = "nothing but zeros" if low == 0 else "one value in every voxel"
        raise DataError(f"{volume.path} holds {what}", got=low, remedy="check how the file was made")


def as_type(array: NDArray[np.float32], dtype: np.dtype, target: Path) -> NDArray[Any]:
    """Values as a file stores them, rounded where the type is an integer.

    Args:
        array: any shape.
        dtype: integer or float.
        target: the file, for the error.

    Raises:
        OutputError: no number, or values that the type cannot hold.
    """
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
