"""Read a NIfTI header: shape, type, an affine in millimetres, and what is odd about it.

What has no bearing on the voxels or their places is a warning, whatever it is; what has is used only where it is sound.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.forms import Forms, agree, qform_of, sform_of
from mdcsrn.io.geometry import corners_apart_mm
from mdcsrn.io.volume import Header, check_affine

HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
MIN_HEADER_BYTES = 348
UNITS = {0: ("unknown", 1.0), 1: ("meter", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}
MAX_FORM_CODE = 5  # of sform and qform
# NIfTI-2 marks its header with line ends; a transfer in text mode turns them into these, and damages voxels too.
TEXT_MODE = (b"\r\r\n\x1a", b"\n\x1a\n", b"\r\x1a\r")
KEPT = ("descrip", "dim_info", "intent_code", "intent_p1", "intent_p2", "intent_p3", "intent_name")


def magic_of(start: bytes) -> str:
    """``n+1``, ``ni1``, ``n+2`` or ``ni2`` by the first bytes of a file; else an empty text."""
    one, two = start[344:347], start[4:7]
    if two in (b"n+2", b"ni2") and len(start) >= HEADER_BYTES:
        return two.decode()
    return one.decode() if one in (b"n+1", b"ni1") else ""


def is_pair(start: bytes) -> bool:
    """True for the header of a pair (.hdr and .img)."""
    return magic_of(start).startswith("ni")


def parse_header(start: bytes, source: Path) -> Any:
    """Header object; the magic string decides between NIfTI-1 and NIfTI-2.

    Args:
        start: the first bytes of the file, unpacked: 540, or all of a shorter file.
        source: the file, for the error.

    Raises:
        DataError: neither, or NIfTI-2 after a transfer in text mode.
    """
    magic = magic_of(start)
    if not magic:
        raise DataError(
            f"{source} is not a NIfTI file",
            got=f"magic {start[344:348]!r}",
            allowed="NIfTI-1 or NIfTI-2, .nii or .nii.gz",
            remedy="convert it, for example with dcm2niix or nibabel",
        )
    if magic.endswith("2") and start[8:12].startswith(TEXT_MODE):
        raise DataError(
            f"{source} was damaged by a transfer in text mode", got=start[8:12], remedy="copy it again, in binary mode"
        )
    header_class = nib.Nifti2Header if magic.endswith("2") else nib.Nifti1Header
    return header_class(start[: header_class.template_dtype.itemsize], check=False)


def header_facts(header: Any, start: bytes, source: Path) -> Header:
    """Shape, affine in millimetres, type and warnings of a parsed header.

    Raises:
        DataError: an axis without voxels, or complex or RGB voxels.
        GeometryError: no affine can be used.
    """
    shape = data_shape(header)
    if len(shape) < 1 or min(shape) < 1:
        raise DataError(
            f"{source} has an axis without voxels",
            got=f"shape {shape}",
            allowed="at least 1 per axis",
            remedy="repair its header, or export it again",
        )
    dtype = _dtype(header, source)
    with np.errstate(all="ignore"):
        affine, forms, warnings = _place(header, shape, source)
    warnings += _other_oddities(header)
    mark = start[8:12] == b"\r\n\x1a\n" if magic_of(start).endswith("2") else start[347:348] == b"\0"
    if not mark:
        warnings.append("the mark of the format (magic) is not quite that of the standard")
    return Header(shape, affine, dtype, source, tuple(warnings), header.get_dim_info()[2], forms)


def data_shape(header: Any) -> tuple[int, ...]:
    """Sizes of the axes; those beyond the third that hold one voxel, or state none, are dropped."""
    axes = [int(n) for n in header["dim"]]
    shape = tuple(axes[1 : 1 + axes[0]]) if 1 <= axes[0] <= 7 else ()
    while len(shape) > 3 and shape[-1] <= 1:
        shape = shape[:-1]
    return shape[:3] + tuple(max(n, 1) for n in shape[3:])  # a size below 1 is an axis that was not filled in


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


def scaling(header: Any) -> tuple[float, float, list[str]]:
    """Slope and intercept of the stored values, and what is odd about them.

    A slope of 0 or NaN means none by the standard and by habit; no other value that is not finite can be meant.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0, []
    if np.isinf(slope):
        return 1.0, 0.0, ["the scale factor is infinite: values are taken as they are stored"]
    if not np.isfinite(intercept):
        return slope, 0.0, ["the intercept is not finite: 0 is taken"]
    return slope, intercept, []


def _other_oddities(header: Any) -> list[str]:
    """What nibabel finds odd in the fields that are not judged here."""
    judged = header.copy()
    judged["magic"], judged["vox_offset"] = judged.single_magic, judged.single_vox_offset
    judged["sform_code"], judged["qform_code"], judged["pixdim"][1:4] = 0, 0, 1
    if "eol_check" in judged.template_dtype.names:
        judged["eol_check"] = (13, 10, 26, 10)
    return type(judged).diagnose_binaryblock(judged.binaryblock, judged.endianness).splitlines()


def _dtype(header: Any, source: Path) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        dtype = np.dtype("V")
    if dtype.kind not in "iuf":
        raise DataError(
            f"{source} holds no plain numbers",
            got=f"voxel type {int(header['datatype'])}" if dtype == np.dtype("V") else f"voxel type {dtype}",
            allowed="integer or float",
            remedy="give a magnitude image of one channel",
        )
    return dtype


def _place(header: Any, shape: tuple[int, ...], source: Path) -> tuple[NDArray[np.float64], Forms, list[str]]:
    """The affine to use (sform, else qform, else the voxel size), in millimetres, both forms, and what is odd."""
    unit, warnings = _unit(header)
    zooms, odd_zooms = _zooms(header, shape)
    qform, odd_quaternion = qform_of(header, zooms)
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    warnings += [f"{k}_code {c} is no code of the standard" for k, c in codes.items() if not 0 <= c <= MAX_FORM_CODE]
    scale = np.array([[unit], [unit], [unit], [1.0]])
    stated = {"sform": sform_of(header) * scale, "qform": qform * scale}
    found, left_out = _sound({name: matrix for name, matrix in stated.items() if codes[name] > 0}, source)
    warnings += left_out
    if "qform" in found and odd_quaternion:
        warnings.append("the quaternion of the qform is longer than that of a rotation: it is shortened")
    if "sform" in found and "qform" in found and not agree(found["sform"], found["qform"], shape):
        largest = corners_apart_mm(found["sform"], found["qform"], shape)
        warnings.append(f"sform and qform disagree by up to {largest:.3g} mm; the sform is used")
    if "sform" not in found and odd_zooms:
        warnings.append(odd_zooms)
    affine = next(iter(found.values()), None)
    if affine is None:
        warnings.append("neither sform nor qform is set: orientation and position are unknown, only the voxel size is")
        affine = check_affine(_base(zooms * unit, shape), str(source))
    forms = Forms(
        sform=found.get("sform"),
        sform_code=codes["sform"] if "sform" in found else 0,
        qform=found.get("qform"),
        qform_code=codes["qform"] if "qform" in found else 0,
        kept=MappingProxyType({key: header[key].item() for key in KEPT}),
    )
    return affine, forms, warnings


def _sound(stated: dict[str, NDArray[np.float64]], source: Path) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Those of the forms that can be used, and a warning for each of the others; the sform comes first.

    Raises:
        GeometryError: some are stated, and none can be used.
    """
    found: dict[str, NDArray[np.float64]] = {}
    errors: dict[str, GeometryError] = {}
    for name, matrix in stated.items():
        try:
            found[name] = check_affine(matrix, f"the {name} of {source}")
        except GeometryError as error:
            errors[name] = error
    if errors and not found:
        raise next(iter(errors.values()))
    words = [error.what.replace(f"the {name} of {source}", f"the {name}") for name, error in errors.items()]
    return found, [f"{what}: it is left out, and the {next(iter(found))} is used" for what in words]


def _unit(header: Any) -> tuple[float, list[str]]:
    """Millimetres in the header's unit of length; its unit of time has no say."""
    code = int(header["xyzt_units"]) & 7
    if code not in UNITS:
        return 1.0, [f"the unit of the voxel size has code {code}, which is none: millimetres assumed"]
    name, factor = UNITS[code]
    if code == 0:
        return factor, ["the unit of the voxel size is not stated: millimetres assumed"]
    return factor, [] if factor == 1 else [f"the voxel size is in {name}: converted to millimetres"]


def _zooms(header: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], str]:
    """Voxel edge lengths of ``pixdim`` in the header's unit, and what is odd about them.

    The sign has no meaning in NIfTI. An axis of one sample has no distance to state: 1 stands for a size that is none.
    """
    stated = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    zooms, lone = np.abs(stated), np.array([n == 1 for n in (*shape, 1, 1)[:3]])
    none = lone & ~(np.isfinite(zooms) & (zooms > 0))
    zooms[none] = 1
    problems = ["negative"] if (stated < 0).any() else []
    problems += ["none on an axis of one slice"] if none.any() else []
    return zooms, f"the voxel size is {' and '.join(problems)}: its amount, or 1, is taken" if problems else ""


def _base(zooms: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The affine of a header without forms, by nibabel's habit: first axis to the left, the grid's centre at 0."""
    affine = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array((*shape, 1, 1)[:3]) - 1) / 2)
    return affine
