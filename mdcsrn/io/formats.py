"""Read any supported image format: the content decides which, and each error names the file."""

from __future__ import annotations

import os
from pathlib import Path

from mdcsrn.errors import DataError
from mdcsrn.io.content import read_start
from mdcsrn.io.dicom.sniff import is_dicom_file
from mdcsrn.io.itk import is_metaimage, is_nrrd, read_itk, voxel_file
from mdcsrn.io.mgh import MGH_HEADER, mgh_header, read_mgh
from mdcsrn.io.names import SUFFIXES, image_stem, is_image_name
from mdcsrn.io.nifti import read_header, read_volume
from mdcsrn.io.nifti_header import SMALLEST_HEADER, magic_of
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.pair import header_of_pair, is_nifti_pair, pair_header, read_pair, voxels_of_pair
from mdcsrn.io.volume import Header, Volume

__all__ = [
    "READABLE",
    "SUFFIXES",
    "files_of_image",
    "image_kind",
    "image_stem",
    "is_image_name",
    "read_image",
    "read_image_header",
]

READABLE = (
    "NIfTI (.nii, .nii.gz, .nii.zst, .nii.bz2, .hdr/.img), FreeSurfer (.mgz, .mgh, .mgh.gz), NRRD (.nrrd, .nhdr), "
    "MetaImage (.mha, .mhd)"
)


def image_kind(path: str | os.PathLike[str]) -> str:
    """What a file is, by its first bytes.

    Args:
        path: any file.

    Returns:
        ``nifti``, ``nifti-pair``, ``mgz``, ``nrrd``, ``metaimage``, ``dicom``, ``zip``, ``analyze`` or ``unknown``.

    Raises:
        DataError: no such file, a folder, no permission.
    """
    source = Path(path)
    if is_dicom_file(header_of_pair(source)):
        return "dicom"
    start = read_start(header_of_pair(source))
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
    if SMALLEST_HEADER in size and source.name.lower().endswith((".hdr", ".img", ".img.gz", ".hdr.gz")):
        return "analyze"
    return "unknown"


def read_image(path: str | os.PathLike[str], nonfinite: NonFinite = "refuse", allow_constant: bool = False) -> Volume:
    """Read one 3D volume from any of the formats.

    Args:
        path: NIfTI, FreeSurfer, NRRD or MetaImage file; its content decides where it can. Of a pair, either file.
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
    _refuse_others(source, kind)
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
    _refuse_others(source, kind)
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


def _refuse_others(source: Path, kind: str) -> None:
    if kind == "analyze":
        raise DataError(
            f"{source} is an Analyze 7.5 file, which does not say what is left and what is right",
            allowed=READABLE,
            remedy="convert it to NIfTI with the program that made it",
        )
    if kind in ("dicom", "zip"):
        raise DataError(
            f"{source} is a {kind.upper() if kind == 'dicom' else 'zip'} file, not a volume",
            allowed=READABLE,
            remedy="read it as a DICOM series: give `mdcsrn predict` the file, its folder or its zip",
        )
    if kind == "unknown":
        start = read_start(source)
        if len(start) < SMALLEST_HEADER:
            raise DataError(
                f"{source} is truncated or not an image file",
                got=f"{len(start)} bytes",
                allowed=READABLE,
                remedy="copy or export it again",
            )
        raise DataError(
            f"{source} is in no format that is read here (wrong magic)",
            got=f"first bytes {start[:8]!r}",
            allowed=READABLE,
            remedy="convert it to NIfTI, for example with dcm2niix",
        )
