"""One reader for every image format that is taken: the content decides which, and each error names the file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHImage

from mdcsrn.errors import DataError
from mdcsrn.io.content import check_claim, open_bytes, read_exactly, read_start, read_to_end, reading
from mdcsrn.io.dicom.sniff import is_dicom_file
from mdcsrn.io.itk import is_metaimage, is_nrrd, read_itk, voxel_file
from mdcsrn.io.nifti import checked_volume, read_header, read_volume
from mdcsrn.io.nifti_header import SMALLEST_HEADER, header_facts, is_pair, parse_header, volume_shape
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.volume import Header, Volume, check_affine

# By name, longest first. Of a pair, the file that is listed; its partner goes with it.
SUFFIXES = (".nii.gz", ".img.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr")
READABLE = "NIfTI (.nii, .nii.gz, .hdr/.img), FreeSurfer (.mgz, .mgh), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd)"
MGH_HEADER = 284  # bytes before the voxels


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends as one of the formats does (any case) and is not hidden."""
    name = Path(path).name.lower()
    return name.endswith(SUFFIXES) and not name.startswith(".")


def image_stem(path: str | os.PathLike[str]) -> str:
    """File name without the ending of its format."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


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
    if is_dicom_file(_header_of_pair(source)):
        return "dicom"
    start = read_start(_header_of_pair(source))
    size = int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")
    if start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0":
        return "nifti"
    if is_pair(start):
        return "nifti-pair"
    if is_nrrd(start):
        return "nrrd"
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if is_metaimage(start):
        return "metaimage"
    if size[1] == 1 and len(start) >= MGH_HEADER and source.name.lower().endswith((".mgz", ".mgh")):
        return "mgz"  # a weak magic (the number 1), so the name has a say
    if SMALLEST_HEADER in size and source.name.lower().endswith((".hdr", ".img", ".img.gz")):
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
        return _read_pair(source, allow_constant, nonfinite)
    if kind == "mgz":
        return _read_mgh(source, allow_constant, nonfinite)
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
        return _pair_facts(source)[1]
    if kind == "mgz":
        with reading(source, "MGH"), open_bytes(source) as stream:
            return _mgh_facts(read_exactly(stream, MGH_HEADER, source), source)[0]
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
        header_file = _header_of_pair(source)
        return header_file, _voxels_of_pair(header_file)
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


def _read_mgh(source: Path, allow_constant: bool, nonfinite: NonFinite) -> Volume:
    with reading(source, "MGH"):
        with open_bytes(source) as stream:
            start = read_exactly(stream, MGH_HEADER, source)
            facts, total = _mgh_facts(start, source)
            shape = volume_shape(facts.shape, source)
            data = start + read_exactly(stream, total - MGH_HEADER, source)
            read_to_end(stream)
        with np.errstate(all="ignore"):
            array = np.asarray(MGHImage.from_bytes(data).dataobj, dtype=np.float32).reshape(shape)
    return checked_volume(array, facts, allow_constant, nonfinite)


def _mgh_facts(start: bytes, source: Path) -> tuple[Header, int]:
    """Header of a FreeSurfer file, and the bytes from its start to its last voxel."""
    header = MGHImage.header_class(start)
    shape = tuple(int(n) for n in header["dims"])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if min(shape) < 1:
        raise DataError(f"{source} has an axis without voxels", got=f"shape {shape}", remedy="export it again")
    dtype = header.get_data_dtype()
    total = check_claim(MGH_HEADER + math.prod(shape) * dtype.itemsize, source)
    warnings: tuple[str, ...] = ()
    if int.from_bytes(start[28:30], "big", signed=True) <= 0:  # goodRASFlag; nibabel puts the default in and hides it
        warnings = ("the file states no orientation (goodRASFlag): FreeSurfer's coronal default is taken",)
    with np.errstate(all="ignore"):
        affine = np.array(header.get_affine(), dtype=np.float64)
    return Header(shape, check_affine(affine, str(source)), dtype, source, warnings), total


def _read_pair(source: Path, allow_constant: bool, nonfinite: NonFinite) -> Volume:
    header_file, facts, header = _pair_facts(source)
    voxels = _voxels_of_pair(header_file)
    with reading(voxels, "NIfTI"):
        shape = volume_shape(facts.shape, source)
        offset = int(header.get_data_offset())
        count = math.prod(shape) * facts.dtype.itemsize
        total = check_claim(offset + count if offset >= 0 else -1, voxels)
        with open_bytes(voxels) as stream:
            data = read_exactly(stream, total, voxels)
            read_to_end(stream)
        with np.errstate(all="ignore"):
            raw = np.frombuffer(data, header.get_data_dtype(), offset=offset).reshape(shape, order="F")
            slope, intercept = header.get_slope_inter()
            scaled = raw * (1.0 if slope is None else slope) + (intercept or 0.0)
            array = np.asarray(scaled, dtype=np.float32)
    return checked_volume(array, facts, allow_constant, nonfinite)


def _pair_facts(source: Path) -> tuple[Path, Header, Any]:
    header_file = _header_of_pair(source)
    with reading(header_file, "NIfTI"), open_bytes(header_file) as stream:
        start = read_exactly(stream, SMALLEST_HEADER, header_file)
        header = parse_header(start, header_file, pair=True)[0]
        facts = header_facts(header, start, source)
    return header_file, facts, header


def _partner(source: Path, endings: tuple[str, ...]) -> Path | None:
    stem = image_stem(source)
    present = {entry.name.lower(): entry for entry in source.parent.iterdir()} if source.parent.is_dir() else {}
    for ending in endings:
        exact = source.parent / f"{stem}{ending}"
        if exact.is_file():
            return exact
        if f"{stem}{ending}".lower() in present:
            return present[f"{stem}{ending}".lower()]
    return None


def _header_of_pair(source: Path) -> Path:
    """The .hdr file beside a .img file; any other file itself."""
    if source.name.lower().endswith((".img", ".img.gz")):
        return _partner(source, (".hdr", ".hdr.gz")) or source
    return source


def _voxels_of_pair(header_file: Path) -> Path:
    found = _partner(header_file, (".img", ".img.gz"))
    if found is None:
        raise DataError(f"{header_file} lacks its voxels: no .img file beside it", remedy="copy both files of the pair")
    return found
