"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz) to volumes and back; whatever nibabel raises ends here."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from numpy.typing import DTypeLike, NDArray

from mdcsrn.errors import DataError, GeometryError, MdcsrnError, OutputError
from mdcsrn.files import atomic_write_bytes
from mdcsrn.io.volume import Header, Volume, check_affine

SUFFIXES = (".nii", ".nii.gz")
GZIP_MAGIC = b"\x1f\x8b"
GZIP_LIMIT = 1100  # deflate never packs more than 1032 to 1: what claims more lacks its data
HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
CHUNK = 1 << 20
# nibabel reads the codes of xyzt_units; to millimetres:
UNITS = {"mm": 1.0, "meter": 1e3, "micron": 1e-3, "unknown": 1.0}
# Two transforms in one header disagree when a corner of the volume moves by more than this share of a voxel.
FORM_TOLERANCE = 0.1


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


def read_volume(path: str | os.PathLike[str], allow_constant: bool = False) -> Volume:
    """Read a volume; a gzip file is checked to its last byte (CRC).

    A fourth axis of length 1 is dropped. Metres and micrometres are converted to millimetres. Integer types get their
    scale factor; values are float32.

    Args:
        path: .nii or .nii.gz file; the content decides, not the name.
        allow_constant: accept a volume whose voxels are all equal (a mask may be).

    Returns:
        The volume, with a warning for each oddity of the header.

    Raises:
        DataError: missing, unreadable, truncated, damaged, not NIfTI, not one 3D volume, complex or RGB voxels, NaN
            or infinite values (counted), or nothing but one value.
        GeometryError: the affine is not finite, is singular, or its unit is not a length.
    """
    source = Path(path)
    try:
        with _open(source) as stream:
            start = _read_exactly(stream, HEADER_BYTES, source, at_least=348)
            header, image_class = _parse_header(start, source)
            facts = _facts(header, start, source)
            shape = _volume_shape(facts)
            data = start + _read_exactly(stream, _total_bytes(header, source) - len(start), source)
            while stream.read(CHUNK):  # to the end, where gzip compares its checksum
                pass
        with LoggingOutputSuppressor(), np.errstate(all="ignore"):  # header oddities are in facts.warnings
            image = image_class.from_bytes(data)
            array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except MdcsrnError:
        raise
    except Exception as error:  # nibabel, gzip and numpy raise whatever the bytes provoke
        raise _unreadable(source, error) from error
    volume = Volume(array, facts.affine, facts.dtype, source, facts.warnings)
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
    try:
        with _open(source) as stream:
            start = _read_exactly(stream, HEADER_BYTES, source, at_least=348)
        return _facts(_parse_header(start, source)[0], start, source)
    except MdcsrnError:
        raise
    except Exception as error:  # see read_volume
        raise _unreadable(source, error) from error


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
        like: NIfTI file whose description and form codes are kept.
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
        with _open(Path(like)) as stream:
            start = _read_exactly(stream, HEADER_BYTES, Path(like), at_least=348)
        header = _parse_header(start, Path(like))[0]
        image.header["descrip"] = header["descrip"]
        codes = [int(header[key]) or 1 for key in ("sform_code", "qform_code")]
    image.set_sform(volume.affine, codes[0])
    image.set_qform(volume.affine, codes[1], strip_shears=True)
    image.header.set_xyzt_units("mm", "sec")
    content = image.to_bytes()
    # gzip.compress stores neither name nor time, so the bytes depend on the volume alone. Level 1 is nibabel's own.
    atomic_write_bytes(target, gzip.compress(content, 1, mtime=0) if target.name.lower().endswith(".gz") else content)
    return target


def _open(source: Path) -> BinaryIO:
    """Open plain or gzip by content."""
    try:
        stream = open(source, "rb")  # noqa: SIM115 - handed to the caller's with block
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}", remedy="check the path") from error
    except OSError as error:
        raise DataError(f"cannot open {source}", got=error.strerror or str(error)) from error
    magic = stream.read(2)
    stream.seek(0)
    if magic != GZIP_MAGIC:
        return stream
    stream.close()
    return gzip.open(source, "rb")  # type: ignore[return-value]


def _read_exactly(stream: BinaryIO, count: int, source: Path, at_least: int | None = None) -> bytes:
    """Read `count` bytes (or to the end, where at_least are there); piecewise, so that nothing absurd is allocated."""
    content = io.BytesIO()
    while content.tell() < count:
        piece = stream.read(min(CHUNK, count - content.tell()))
        if not piece:
            break
        content.write(piece)
    if content.tell() < (count if at_least is None else at_least):
        raise DataError(
            f"{source} is truncated or not a NIfTI file",
            got=f"{content.tell()} bytes where {count if at_least is None else at_least} more are due",
            remedy="copy or export it again",
        )
    return content.getvalue()


def _parse_header(start: bytes, source: Path) -> tuple[Any, Any]:
    """Header object and image class; the magic string decides between NIfTI-1 and NIfTI-2."""
    if start[344:348] == b"n+1\0":
        header_class, image_class = nib.Nifti1Header, nib.Nifti1Image
    elif start[4:8] == b"n+2\0" and len(start) >= HEADER_BYTES:
        header_class, image_class = nib.Nifti2Header, nib.Nifti2Image
    else:
        pair = start[344:348] == b"ni1\0"
        raise DataError(
            f"{source} is not a NIfTI file" + (" in one piece (it is a .hdr/.img pair)" if pair else ""),
            got=f"magic {start[344:348]!r}",
            allowed="NIfTI-1 or NIfTI-2, .nii or .nii.gz",
            remedy="convert it, for example with dcm2niix or nibabel",
        )
    with LoggingOutputSuppressor():
        return header_class(start[: header_class.template_dtype.itemsize]), image_class


def _facts(header: Any, start: bytes, source: Path) -> Header:
    """Shape, affine in millimetres, type and warnings of a parsed header."""
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not shape or min(shape) < 1:
        raise DataError(f"{source} has an axis without voxels", got=f"shape {shape}", allowed="at least 1 per axis")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(f"{source} holds no plain numbers", got=f"voxel type {dtype}", allowed="integer or float")
    with np.errstate(all="ignore"):
        affine, warnings = _affine(header, shape, source)
    problems = type(header).diagnose_binaryblock(start[: header.template_dtype.itemsize])
    warnings += [line for line in problems.splitlines() if line]
    return Header(shape, check_affine(affine, str(source)), dtype, source, tuple(warnings))


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


def _volume_shape(facts: Header) -> tuple[int, int, int]:
    if len(facts.shape) == 3:
        d, h, w = facts.shape
        return d, h, w
    remedy = "give one volume per file" if len(facts.shape) > 3 else "stack its slices into a volume"
    raise DataError(
        f"{facts.path} is not one 3D volume", got=f"shape {facts.shape}", allowed="three axes (D, H, W)", remedy=remedy
    )


def _total_bytes(header: Any, source: Path) -> int:
    """Bytes from the start of the file to the last voxel, as the header claims; absurd claims are refused."""
    voxels = 1
    for n in header.get_data_shape():
        voxels *= int(n)
    offset = header.get_data_offset()
    total = int(offset) + voxels * header.get_data_dtype().itemsize
    size = source.stat().st_size
    with open(source, "rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    if not 0 <= offset <= total or total > size * (GZIP_LIMIT if packed else 1):
        raise DataError(
            f"{source} is truncated, or its header is damaged",
            got=f"{size} bytes on disk, {total} claimed by the header",
            remedy="copy or export it again",
        )
    return total


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


def _unreadable(source: Path, error: Exception) -> DataError:
    damaged = isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile))
    reason = "is truncated or damaged" if damaged else "cannot be read as NIfTI"
    return DataError(f"{source} {reason}", got=f"{type(error).__name__}: {error}", remedy="copy or export it again")
