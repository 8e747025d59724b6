"""Replace PixelPaddingValue: stored values that stand for places without a measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError
from mdcsrn.io.dicom.header import FrameTags, damaged

BACKGROUND = 0.0  # after rescaling: no signal, as the air around a head


def padding_of(tags: FrameTags) -> tuple[int, int] | None:
    """First and last stored value that is padding, as the pixels of the image hold it.

    PixelPaddingRangeLimit makes it a range. A value that is written with the other sign, or that has more bits than the
    pixels (63536 for -2000; -32768 beside 12 bits), is taken by its bits. A range that is written with the other sign
    and runs through 0 (-10 to 0) then has its last value below its first: it wraps to the other end of the values.

    Args:
        tags: of the image.

    Returns:
        Both ends, included; the last below the first where the range wraps; None without PixelPaddingValue.

    Raises:
        DataError: no numbers.
    """
    value = _number(tags, "PixelPaddingValue")
    if value is None:
        return None
    limit = _number(tags, "PixelPaddingRangeLimit")
    allocated = int(tags.number("BitsAllocated") or 16)
    signed = tags.number("PixelRepresentation") == 1
    first, last = sorted((value, value if limit is None else limit))
    return _as_stored(first, allocated, signed), _as_stored(last, allocated, signed)


def padded(
    whole: NDArray[Any], used: NDArray[Any], padding: tuple[int, int] | None, stored: int
) -> NDArray[np.bool_] | None:
    """Which pixels are padding; None where none is.

    Args:
        whole: pixels with all allocated bits.
        used: the same with their stored bits alone: the others may hold overlays.
        padding: from :func:`padding_of`; a value that the stored bits cannot hold is looked for among the whole.
        stored: number of stored bits.
    """
    if padding is None:
        return None
    low = -(1 << (stored - 1)) if used.dtype.kind == "i" else 0
    first, last = padding
    fits = all(low <= end < low + (1 << stored) for end in padding)
    pixels = used if fits else whole
    mask = (pixels >= first) & (pixels <= last) if first <= last else (pixels >= first) | (pixels <= last)
    return mask if mask.any() else None


def _number(tags: FrameTags, keyword: str) -> int | None:
    value = tags.get(keyword)
    if isinstance(value, bytes):  # representation unknown: implicit little-endian
        return int.from_bytes(value[:4], "little")
    number = tags.number(keyword)
    if number is not None and number != int(number):
        raise damaged(tags.file, f"{keyword} is no whole number")
    return None if number is None else int(number)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    """The value that these bits have among the pixels."""
    low = -(1 << (bits - 1)) if signed else 0
    return (value - low) % (1 << bits) + low


def refuse_nothing_else(count: int, total: int, title: str) -> None:
    """Raise DataError where all `total` voxels are padding."""
    if count == total:
        raise DataError(
            f"{title} holds nothing but padding (PixelPaddingValue)", remedy="check how the images were exported"
        )


def describe(count: int, total: int) -> str:
    """The warning for padding that was taken as background."""
    return (
        f"padding: {count} voxels ({100 * count / total:.2g} %) hold PixelPaddingValue, places without a measurement; "
        f"they are taken as background ({BACKGROUND:g})"
    )
