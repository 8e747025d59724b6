"""What a NIfTI header says: shape, type, an affine in millimetres, and what is odd about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.content import check_claim
from mdcsrn.io.volume import Header, check_affine

HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
SMALLEST_HEADER = 348
# nibabel reads the codes of xyzt_units; to millimetres:
UNITS = {"mm": 1.0, "meter": 1e3, "micron": 1e-3, "unknown": 1.0}
# Two transforms in one header disagree when a corner of the volume moves by more than this share of a voxel.
FORM_TOLERANCE = 0.1


def is_pair(start: bytes) -> bool:
    """True for the header of a NIfTI-1 pair (.hdr and .img)."""
    return start[344:348] == b"ni1\0"


def parse_header(start: bytes, source: Path, pair: bool = False) -> tuple[Any, Any]:
    """Header object and image class; the magic string decides between NIfTI-1 and NIfTI-2.

    Args:
        start: the first bytes of the file, unpacked: 540, or all of a shorter file.
        source: the file, for the error.
        pair: accept the header of a NIfTI-1 pair.

    Raises:
        DataError: neither.
    """
    header_class: Any
    image_class: Any
    if start[344:348] == b"n+1\0":
        header_class, image_class = nib.Nifti1Header, nib.Nifti1Image
    elif start[4:8] == b"n+2\0" and len(start) >= HEADER_BYTES:
        header_class, image_class = nib.Nifti2Header, nib.Nifti2Image
    elif pair and is_pair(start):
        header_class, image_class = nib.nifti1.Nifti1PairHeader, nib.Nifti1Pair
    else:
        raise DataError(
            f"{source} is not a NIfTI file" + (" in one piece (it is a .hdr/.img pair)" if is_pair(start) else ""),
            got=f"magic {start[344:348]!r}",
            allowed="NIfTI-1 or NIfTI-2, .nii or .nii.gz",
            remedy="convert it, for example with dcm2niix or nibabel",
        )
    return header_class(start[: header_class.template_dtype.itemsize]), image_class


def header_facts(header: Any, start: bytes, source: Path) -> Header:
    """Shape, affine in millimetres, type and warnings of a parsed header.

    Raises:
        DataError: an axis without voxels, or complex or RGB voxels.
        GeometryError: the affine cannot be used, or its unit is not a length.
    """
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not shape or min(shape) < 1:
        raise DataError(
            f"{source} has an axis without voxels",
            got=f"shape {shape}",
            allowed="at least 1 per axis",
            remedy="repair its header, or export it again",
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(
            f"{source} holds no plain numbers",
            got=f"voxel type {dtype}",
            allowed="integer or float",
            remedy="give a magnitude image of one channel",
        )
    with np.errstate(all="ignore"):
        affine, warnings = _affine(header, shape, source)
    problems = type(header).diagnose_binaryblock(start[: header.template_dtype.itemsize])
    warnings += [line for line in problems.splitlines() if line]
    slice_axis = header.get_dim_info()[2]
    return Header(shape, check_affine(affine, str(source)), dtype, source, tuple(warnings), slice_axis)


def volume_shape(shape: tuple[int, ...], source: Path) -> tuple[int, int, int]:
    """Return (D, H, W) if the file holds one volume.

    Raises:
        DataError: two axes or fewer, or more than three.
    """
    if len(shape) == 3:
        d, h, w = shape
        return d, h, w
    if len(shape) > 3:
        remedy = "give one volume per file (fslsplit, mrconvert or nibabel.four_to_three part them)"
    else:
        remedy = "stack its slices into a volume (one slice needs a third axis of length 1)"
    raise DataError(
        f"{source} is not one 3D volume", got=f"shape {shape}", allowed="three axes (D, H, W)", remedy=remedy
    )


def total_bytes(header: Any, source: Path) -> int:
    """Bytes from the start of the file to the last voxel, as the header claims; absurd claims are refused."""
    voxels = 1
    for n in header.get_data_shape():
        voxels *= int(n)
    offset = int(header.get_data_offset())
    return check_claim(offset + voxels * header.get_data_dtype().itemsize if offset >= 0 else -1, source)


def _affine(header: Any, shape: tuple[int, ...], source: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Best affine (sform, else qform, else the voxel size), in millimetres, and what is odd about it."""
    warnings = []
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code <= 0 and qform_code <= 0:
        warnings.append("neither sform nor qform is set: orientation and position are unknown, only the voxel size is")
    elif sform_code > 0 and qform_code > 0:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*shape, 1, 1)[:3]])).reshape(3, -1)
        apart = (affine - header.get_qform())[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
        largest, limit = float(np.abs(apart).max()), FORM_TOLERANCE * float(np.abs(affine[:3, :3]).max())
        if not largest <= limit:
            warnings.append(f"sform and qform disagree by up to {largest:.3g} mm; the sform is used")
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        raise GeometryError(
            f"{source} gives its voxel size in an unknown unit",
            got=f"code {int(header['xyzt_units']) & 7}",
            allowed=", ".join(UNITS),
            remedy="repair its header",
        ) from None
    if unit not in UNITS:
        raise GeometryError(f"{source} gives its voxel size in a unit of no length", got=unit, allowed=", ".join(UNITS))
    if unit == "unknown":
        warnings.append("the unit of the voxel size is not stated: millimetres assumed")
    elif unit != "mm":
        warnings.append(f"the voxel size is in {unit}: converted to millimetres")
    affine[:3] *= UNITS[unit]
    return affine, warnings
