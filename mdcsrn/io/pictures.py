"""Read PNG and JPEG pictures as volumes of one plane, (1, rows, columns), and write PNG; Pillow is used here alone."""

from __future__ import annotations

import contextlib
import io
import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_bytes
from mdcsrn.io.content import DEFLATE_LIMIT, RATIO, check_claim, read_start, reading
from mdcsrn.io.forms import ALIGNED, Forms
from mdcsrn.io.nifti import as_type, checked_volume
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.volume import Header, Volume, check_affine

PICTURE_KINDS = ("png", "jpeg")
PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
IHDR = struct.Struct(">8x4x4sIIBB")  # of a PNG: chunk name, width, height, bits, colour type
GREY, COLOUR, PALETTE = 0, 2, 3  # colour types of PNG; the others have an alpha channel
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, 4: 2, 6: 4}
MAX_PIXELS = 1 << 26  # 8192 x 8192
LARGE_PIXELS = 1 << 23  # more than 32 MiB as float32: must not be packed tighter than RATIO to 1
MM_PER_INCH, MM_PER_METRE = 25.4, 1000.0
# A PNG states its pixel size in whole pixels a metre: what was made finer and coarser again differs by this at most.
SIZE_TOLERANCE = 2e-3
HALF_PIXEL = 0.5 + 1e-3  # a metre: the most that rounding changes, and a little for the arithmetic
ORIENTATION = 0x0112  # of EXIF
ADVICE = "save it as a grey picture without transparency, 8 or 16 bit"


def picture_kind(start: bytes) -> str:
    """``png`` or ``jpeg`` by the first bytes of a file; else an empty text."""
    if start.startswith(PNG_MAGIC):
        return "png"
    return "jpeg" if start.startswith(JPEG_MAGIC) else ""


def result_suffix(kind: str) -> str:
    """Ending of a result that nobody named, by the kind of its source.

    >>> result_suffix("jpeg"), result_suffix("nrrd")
    ('.png', '.nii.gz')
    """
    return ".png" if kind in PICTURE_KINDS else ".nii.gz"


def read_picture(source: Path, kind: str, allow_constant: bool = False, nonfinite: NonFinite = "refuse") -> Volume:
    """Read a picture as a volume of one plane.

    Rows are axis 1, from the top down, columns axis 2; axis 0 is the plane. Grey values are kept as they are stored, 8
    or 16 bit. Colour of 8 bit becomes luma, ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded, Pillow's mode ``L``.
    The affine is the identity with the pixel size of a PNG's pHYs chunk in millimetres, 1 where there is none, and 1
    across the plane; a picture states no orientation, so that NIfTI results have form code 2 (aligned).

    Args:
        source: PNG or JPEG file.
        kind: ``png`` or ``jpeg``.
        allow_constant: accept a picture whose pixels are all equal (a mask may be).
        nonfinite: of no effect: pixels are whole numbers.

    Raises:
        DataError: truncated or damaged, several pictures, transparency, colours in a palette, colour of 16 bit, more
            than 8192 x 8192 pixels or far more than the file can hold, or nothing but one value.
        GeometryError: a pixel size outside 1e-3 to 1e3 mm.
    """
    facts = picture_header(source, kind)
    with reading(source, kind.upper()), _quiet():
        if kind == "png":
            with _open(source, kind) as picture:
                picture.verify()  # the checksum of every chunk, and that the last one is there
        with _open(source, kind) as picture:
            array = _grey(picture, source)
    return checked_volume(array[None].astype(np.float32), facts, allow_constant, nonfinite)


def picture_header(source: Path, kind: str) -> Header:
    """Shape, affine and stored type of a picture; no pixel is read.

    Raises:
        DataError, GeometryError: see :func:`read_picture`.
    """
    deep = False
    with reading(source, kind.upper()), _quiet():
        if kind == "png":
            deep = _check_png(source)
        with _open(source, kind) as picture:
            _check_size(source, *picture.size)
            if getattr(picture, "n_frames", 1) != 1:
                raise _refused(source, "holds several pictures", f"{getattr(picture, 'n_frames', 1)} frames")
            if kind == "jpeg" and picture.mode not in ("L", "RGB"):
                raise _refused(source, "has other channels than grey or red, green and blue", picture.mode)
            spacing, odd = _pixel_size(picture) if kind == "png" else ((1.0, 1.0), [])
            turned = picture.getexif().get(ORIENTATION, 1)
            width, height = picture.size
    if turned != 1:
        odd = [*odd, f"an EXIF orientation of {turned} is not applied: rows and columns are as they are stored"]
    affine = check_affine(np.diag([1.0, *spacing, 1.0]), str(source))
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    return Header((1, height, width), affine, dtype, source, tuple(odd), forms=Forms.of(affine, ALIGNED))


def write_picture(volume: Volume, target: Path, dtype: np.dtype) -> None:
    """Write a volume of one plane as a PNG in one step; equal input gives equal bytes.

    Of the place only the pixel size is kept, in whole pixels a metre; it is left out where it is 1 mm, which is what a
    picture without a size gets.

    Args:
        volume: float32, shape (1, rows, columns).
        target: its folder is made.
        dtype: uint8 or uint16; values are rounded, and clipped to the type (:func:`clipped_pixels` counts them).

    Raises:
        OutputError: several planes, another type, or the file cannot be written; an old file is intact.
    """
    from PIL import Image  # imported late: most runs see no picture

    check_one_plane(volume, target)
    if dtype.str[1:] not in ("u1", "u2"):
        raise OutputError(f"cannot write {target}: a PNG holds 8 or 16 bit", got=dtype, allowed="uint8 or uint16")
    limits = np.iinfo(dtype)
    pixels = as_type(np.clip(volume.array[0], limits.min, limits.max), dtype.newbyteorder("="), target)
    across, down = (MM_PER_INCH / edge for edge in (volume.spacing[2], volume.spacing[1]))
    size: dict[str, Any] = {} if volume.spacing[1:] == (1.0, 1.0) else {"dpi": (across, down)}
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", **size)
    atomic_write_bytes(target, content.getvalue())


def clipped_pixels(volume: Volume, dtype: np.dtype) -> int:
    """Pixels whose rounded value lies outside an integer type, as a low-pass makes them beside edges."""
    limits, rounded = np.iinfo(dtype), np.rint(volume.array)
    return int(np.count_nonzero((rounded < limits.min) | (rounded > limits.max)))


def picture_type(volume: Volume, path: Path, wanted: np.dtype) -> np.dtype:
    """Type of a PNG to write: that of the volume's source where it is 8 or 16 bit, else uint16 for whole numbers.

    Args:
        volume: of one plane.
        path: of the PNG, for the error.
        wanted: type asked for; an 8 or 16 bit one is granted.

    Raises:
        OutputError: several planes, a source of floats, or whole numbers beyond 16 bit.
    """
    check_one_plane(volume, path)
    for dtype in (wanted, volume.dtype):
        if dtype.str[1:] in ("u1", "u2"):
            return np.dtype(dtype.str[1:])
    if volume.dtype.kind not in "iu":
        raise OutputError(
            f"cannot write {path}: a PNG holds whole numbers", got=volume.dtype.newbyteorder("="),
            allowed="a source of uint8 or uint16", remedy="write .nii.gz, or scale the values yourself first",
        )  # fmt: skip
    as_type(volume.array, np.dtype(np.uint16), path)
    return np.dtype(np.uint16)


def check_one_plane(volume: Volume, path: Path) -> None:
    """Refuse to write what is no picture.

    Raises:
        OutputError: more than one plane along axis 0.
    """
    if volume.shape[0] != 1:
        raise OutputError(
            f"cannot write {path}: a PNG holds one plane", got=f"shape {volume.shape}", allowed="(1, rows, columns)",
            remedy="write .nii.gz",
        )  # fmt: skip


def same_pixels(one: Volume, other: Volume) -> bool:
    """True where two volumes have equal shape and, within what a PNG can state of it, equal spacing."""
    return one.shape == other.shape and np.allclose(one.spacing, other.spacing, rtol=SIZE_TOLERANCE, atol=0)


def pixel_size_kept(stored: Sequence[float], wanted: Sequence[float]) -> bool:
    """True where a PNG's pixel size is that of a volume, to the rounding of its whole pixels a metre.

    Args:
        stored: voxel edges as read from the PNG, millimetres.
        wanted: those of the volume; the first axis is not stored.

    >>> pixel_size_kept((1, 1000 / 2143, 0.5), (3.3, 0.4667, 0.5)), pixel_size_kept((1, 0.5, 0.5), (1, 0.5, 0.501))
    (True, False)
    """
    pairs = zip(stored[1:], wanted[1:], strict=True)
    return all(abs(MM_PER_METRE / one - MM_PER_METRE / other) <= HALF_PIXEL for one, other in pairs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings off the console: sizes are judged here, and the rest are oddities of meta-data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(source: Path, kind: str) -> Any:
    from PIL import Image

    try:
        return Image.open(source, formats=[kind.upper()])
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{source} is larger than a picture may be", got=str(error), allowed="1 to 8192 x 8192 pixels"
        ) from error


def _check_png(source: Path) -> bool:
    """Judge a PNG by its first chunk, before Pillow sees it; True for 16 bit."""
    start = read_start(source)
    if len(start) < IHDR.size or IHDR.unpack_from(start)[0] != b"IHDR":
        raise DataError(f"{source} is truncated or not a PNG file", got=f"{len(start)} bytes", remedy="copy it again")
    _, width, height, bits, colours = IHDR.unpack_from(start)
    _check_size(source, width, height)
    check_claim(height * math.ceil(width * bits * CHANNELS.get(colours, 1) / 8), source, DEFLATE_LIMIT)
    if colours not in (GREY, COLOUR, PALETTE):
        raise _refused(source, "has an alpha channel", f"colour type {colours}")
    if colours == COLOUR and bits == 16:
        raise _refused(source, "has colours of 16 bit, which would be cut to 8", "16 bit a channel")
    return bool(bits == 16)


def _check_size(source: Path, width: int, height: int) -> None:
    size = f"{width} x {height} pixels"
    if not 0 < width * height <= MAX_PIXELS:
        raise DataError(f"{source} is larger than a picture may be", got=size, allowed="1 to 8192 x 8192 pixels")
    disk = source.stat().st_size
    if width * height > LARGE_PIXELS and width * height > RATIO * disk:
        raise DataError(
            f"{source} would unpack to far more than an image of its size does", got=f"{size} from {disk} bytes",
            allowed=f"{RATIO} to 1 above {LARGE_PIXELS} pixels",
        )  # fmt: skip


def _grey(picture: Any, source: Path) -> NDArray[Any]:
    """Pixels of one channel, uint8 or uint16, shape (rows, columns)."""
    picture.load()
    if "transparency" in picture.info:
        raise _refused(source, "has a transparent colour", "a tRNS chunk")
    if picture.mode == "P":
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = palette[np.unique(np.asarray(picture))]
        if (used != used[:, :1]).any():
            raise _refused(source, "has a palette of colours", f"{len(used)} colours in use")
        picture = picture.convert("RGB")
    pixels = np.asarray(picture if picture.mode in ("L", "I;16") else picture.convert("L"))
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def _pixel_size(picture: Any) -> tuple[tuple[float, float], list[str]]:
    """Millimetres down and across, as the pHYs chunk states them; 1 where it does not."""
    across, down = picture.info.get("dpi", (0.0, 0.0))
    if across > 0 and down > 0:
        # Pillow gives pixels an inch of what the file has in whole pixels a metre.
        per_metre = [round(value / MM_PER_INCH * MM_PER_METRE) for value in (down, across)]
        return (MM_PER_METRE / per_metre[0], MM_PER_METRE / per_metre[1]), []
    aspect = picture.info.get("aspect", (1, 1))
    odd = aspect[0] != aspect[1]
    return (1.0, 1.0), ["only the pixels' aspect is stated, not their size: 1 mm is taken"] if odd else []


def _refused(source: Path, what: str, got: str) -> DataError:
    return DataError(f"{source} {what}", got=got, allowed="one picture, grey or RGB of 8 bit, grey of 16 bit",
                     remedy=ADVICE)  # fmt: skip
