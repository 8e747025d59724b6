"""Read every image format that is taken, by content, and write some, by suffix; each error names the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from mdcsrn.errors import OutputError
from mdcsrn.io.content import read_start
from mdcsrn.io.dicom.sniff import is_dicom_file
from mdcsrn.io.itk import is_metaimage, is_nrrd, read_itk, voxel_file
from mdcsrn.io.itk_writer import write_itk
from mdcsrn.io.mgh import MGH_HEADER, mgh_header, read_mgh, write_mgh
from mdcsrn.io.names import (
    SUFFIXES,
    WRITABLE,
    WRITTEN,
    image_stem,
    is_image_name,
    is_picture_name,
)
from mdcsrn.io.nifti import read_header, read_volume, write_volume
from mdcsrn.io.nifti_header import MIN_HEADER_BYTES, magic_of
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.pair import header_of_pair, is_nifti_pair, pair_header, read_pair, voxels_of_pair
from mdcsrn.io.pictures import (
    PICTURE_KINDS,
    check_one_plane,
    picture_header,
    picture_kind,
    picture_type,
    read_picture,
    write_picture,
)
from mdcsrn.io.unread import READABLE, refuse_unread
from mdcsrn.io.volume import Header, Volume

__all__ = [
    "READABLE",
    "SUFFIXES",
    "check_writable",
    "files_of_image",
    "image_kind",
    "image_stem",
    "is_image_name",
    "read_image",
    "read_image_header",
    "stored_type",
    "without_partners",
    "write_image",
]

# Integers of FreeSurfer that hold every value of the type; those that are not listed may be wider than all it has.
MGH_INTEGERS = {"u1": "u1", "i1": "i2", "i2": "i2", "u2": "i4", "i4": "i4"}


def image_kind(path: str | os.PathLike[str]) -> str:
    """What a file is, by its first bytes.

    Args:
        path: any file.

    Returns:
        ``nifti``, ``nifti-pair``, ``mgz``, ``nrrd``, ``metaimage``, ``png``, ``jpeg``, ``dicom``, ``zip``, ``analyze``
        or ``unknown``.

    Raises:
        DataError: no such file, a folder, no permission.
    """
    source = Path(path)
    if is_dicom_file(header_of_pair(source)):
        return "dicom"
    start = read_start(header_of_pair(source))
    if picture_kind(start):
        return picture_kind(start)
    size = int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")
    if magic_of(start):
        return "nifti-pair" if is_nifti_pair(source, start) else "nifti"
    if is_nrrd(start):
        return "nrrd"
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if is_metaimage(start):
        return "metaimage"
    if size[1] == 1 and len(start) >= MGH_HEADER and source.name.lower().endswith((".mgz", ".mgh", ".mgh.gz")):
        return "mgz"  # a weak magic (the number 1), so the name has a say
    if MIN_HEADER_BYTES in size and source.name.lower().endswith((".hdr", ".img", ".img.gz", ".hdr.gz")):
        return "analyze"
    return "unknown"


def read_image(path: str | os.PathLike[str], nonfinite: NonFinite = "refuse", allow_constant: bool = False) -> Volume:
    """Read one 3D volume from any of the formats; a picture is a volume of one plane, (1, rows, columns).

    Args:
        path: NIfTI, FreeSurfer, NRRD, MetaImage, PNG or JPEG file; its content decides where it can. Of a pair, either
            file.
        nonfinite: ``refuse`` NaN and infinite voxels (the count is named), or ``fill`` them with a warning: a hole
            with the mean of its neighbours, a region with 0 (:func:`mdcsrn.io.nonfinite.fill_nonfinite`).
        allow_constant: accept a volume whose voxels are all equal (a mask may be).

    Returns:
        The volume: float32 (D, H, W) in the file's unit with scale factors applied, affine in millimetres and RAS+,
        and a warning for each oddity.

    Raises:
        DataError: missing, a folder, no permission, another format, truncated, damaged, not one 3D volume, no plain
            numbers, NaN or infinite, or nothing but one value.
        GeometryError: the affine cannot be used, or its unit is not a length.
    """
    source = Path(path)
    kind = image_kind(source)
    if kind in ("nrrd", "metaimage"):
        volume = read_itk(source, kind, allow_constant, nonfinite)
        assert isinstance(volume, Volume)
        return volume
    if kind == "nifti-pair":
        return read_pair(source, allow_constant, nonfinite)
    if kind == "mgz":
        return read_mgh(source, allow_constant, nonfinite)
    if kind in PICTURE_KINDS:
        return read_picture(source, kind, allow_constant, nonfinite)
    refuse_unread(source, kind)
    return read_volume(source, allow_constant, nonfinite)


def read_image_header(path: str | os.PathLike[str]) -> Header:
    """Shape, affine and stored type of a file of any of the formats; no voxel is read where that can be.

    Raises:
        DataError: see :func:`read_image`.
        GeometryError: see :func:`read_image`.
    """
    source = Path(path)
    kind = image_kind(source)
    if kind in ("nrrd", "metaimage"):
        header = read_itk(source, kind, voxels=False)
        assert isinstance(header, Header)
        return header
    if kind == "nifti-pair":
        return pair_header(source)
    if kind == "mgz":
        return mgh_header(source)
    if kind in PICTURE_KINDS:
        return picture_header(source, kind)
    refuse_unread(source, kind)
    return read_header(source)


def files_of_image(path: str | os.PathLike[str], kind: str) -> tuple[Path, ...]:
    """The files that an image consists of: one, or header and voxels.

    Args:
        path: the image.
        kind: from :func:`image_kind`.
    """
    source = Path(path)
    if kind == "nifti-pair":
        header_file = header_of_pair(source)
        return header_file, voxels_of_pair(header_file)
    if kind in ("nrrd", "metaimage"):
        return tuple(dict.fromkeys((source, voxel_file(source))))
    return (source,)


def without_partners(files: Sequence[Path]) -> list[Path]:
    """The files without those .img files whose .hdr file is among them: one file for each image."""
    known = set(files)
    return [file for file in files if header_of_pair(file) == file or header_of_pair(file) not in known]


def write_image(volume: Volume, path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Path:
    """Write a volume in one step, in the format that the suffix names; equal input gives equal bytes.

    The world coordinates of every voxel stay within 1e-3 voxel. Only NIfTI keeps a header's two matrices, their codes,
    description and intent (:func:`mdcsrn.io.nifti.write_volume`); the others get ``volume.affine``, in millimetres. A
    PNG keeps the pixel size alone, and clips what its type cannot hold (:func:`mdcsrn.io.pictures.write_picture`).

    Args:
        volume: float32 (D, H, W), affine in millimetres, RAS+.
        path: ends in .nii, .nii.gz, .mgz, .nrrd, .mha or .png; its folder is made.
        dtype: stored type; values are rounded for an integer one. A type that the format lacks becomes a wider one
            (:func:`stored_type`).

    Returns:
        The path.

    Raises:
        OutputError: wrong suffix, a type or values that the format cannot hold, several planes in a picture, a volume
            without orientation in a format that must state one, or the file cannot be written; an old file is intact.
    """
    target = Path(path)
    check_writable(target, volume)
    kept = stored_type(volume, target, dtype)
    suffix = _suffix(target)
    if suffix in WRITTEN:
        return write_volume(volume, target, kept)
    if suffix == ".mgz":
        write_mgh(volume, target, kept)
    elif suffix == ".png":
        write_picture(volume, target, kept)
    else:
        write_itk(volume, target, "nrrd" if suffix == ".nrrd" else "metaimage", kept)
    return target


def check_writable(path: str | os.PathLike[str], volume: Volume | None = None) -> None:
    """Refuse, before any work, what :func:`write_image` cannot write.

    Args:
        path: to be written.
        volume: whose orientation it is to state, where that is known already.

    Raises:
        OutputError: wrong suffix, several planes in a picture, or a volume without orientation in a format that must
            state one.
    """
    suffix = _suffix(Path(path))
    if suffix is None:
        raise not_writable(path)
    if suffix == ".png":
        if volume is not None:
            check_one_plane(volume, Path(path))
        return
    if volume is not None and not volume.placed and suffix not in WRITTEN:
        raise OutputError(
            f"cannot write {path}: {volume.path or 'the volume'} does not say what is left, and a {suffix} file would",
            got="sform_code 0, qform_code 0",
            allowed="NIfTI, which can leave it open",
            remedy="write .nii.gz, or set the form codes of the source if they are known",
        )


def not_writable(path: str | os.PathLike[str], folder: bool = False) -> OutputError:
    """The error of a name whose suffix is not that of a format that is written.

    Args:
        path: the name.
        folder: a folder could have been given.
    """
    allowed = f"{', '.join(WRITABLE)}, or a folder" if folder else f"{', '.join(WRITABLE[:-1])} or {WRITABLE[-1]}"
    if is_picture_name(path):
        return OutputError(f"cannot write {path}: JPEG loses values, so it is read but not written", allowed=allowed)
    return OutputError(f"cannot write {path}: not a NIfTI name, nor one of another format written", allowed=allowed)


def stored_type(volume: Volume, path: str | os.PathLike[str], dtype: DTypeLike) -> np.dtype:
    """Voxel type of a file to write: the one asked for, or a wider one where the format lacks it.

    FreeSurfer has uint8, int16, int32 and float32: int8 becomes int16, uint16 int32, any float float32 (as exact as a
    volume's values are), and a wider integer int32 where the volume's values fit it.

    Args:
        volume: whose values are looked at where the format has no type as wide.
        path: with the suffix of the format.
        dtype: type asked for.

    Raises:
        OutputError: values that no integer of the format holds.
    """
    wanted, suffix = np.dtype(dtype), _suffix(Path(path))
    if suffix == ".png":
        return picture_type(volume, Path(path), wanted)
    if suffix in WRITTEN or suffix is None or wanted.kind not in "iuf":
        return wanted
    wanted = wanted.newbyteorder("=")
    if wanted.kind == "f":
        return np.dtype(np.float32) if suffix == ".mgz" or wanted.itemsize < 4 else np.dtype(wanted)
    if suffix != ".mgz" or wanted.str[1:] in MGH_INTEGERS:
        return np.dtype(MGH_INTEGERS[wanted.str[1:]]) if suffix == ".mgz" else wanted
    limits, low, high = np.iinfo(np.int32), float(volume.array.min()), float(volume.array.max())
    if low < limits.min or high > limits.max:
        raise OutputError(
            f"cannot write {path}: FreeSurfer's format has no {wanted}",
            got=f"{low:g} to {high:g}",
            allowed=f"uint8, int16, int32 ({limits.min} to {limits.max}) or float32",
            remedy="write another format, or float32 (without --dtype keep)",
        )
    return np.dtype(np.int32)


def _suffix(path: Path) -> str | None:
    return next(
        (suffix for suffix in sorted(WRITABLE, key=len, reverse=True) if path.name.lower().endswith(suffix)), None
    )
