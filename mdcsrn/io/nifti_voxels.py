"""Voxels of a NIfTI file: where they begin, read no further than the header promises, and scaled to float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError
from mdcsrn.io.content import (
    can_hold,
    check_claim,
    check_packing,
    open_bytes,
    read_exactly,
    read_into,
    read_to_end,
    surplus,
    truncated,
)
from mdcsrn.io.nifti_header import scaling
from mdcsrn.io.unpack import CHUNK
from mdcsrn.io.volume import Header

EXTENSION_LIMIT = 1 << 20  # bytes of extensions that are looked at; none is used
PLANES = 16  # scaled at once, so that only so many need float64


@dataclass(frozen=True)
class _Place:
    """Where voxels may begin.

    Attributes:
        begin: byte of the first voxel.
        exact: only believed where the file ends with the last voxel.
        warning: why this is not what the header states; empty where it is.
    """

    begin: int
    exact: bool = False
    warning: str = ""


def read_voxels(
    source: Path, header: Any, facts: Header, first: int, labels: bool
) -> tuple[NDArray[np.float32], list[str]]:
    """Read and scale the voxels of a file that was judged by its header.

    Args:
        source: the file that holds them, packed or not.
        header: nibabel's header, of this file or of the other one of a pair.
        facts: what it says; three axes.
        first: first byte that can be a voxel: behind the header, or 0 in the file of a pair.
        labels: all voxels may be equal.

    Returns:
        Values (D, H, W), C order, and what is odd.

    Raises:
        DataError: the file is shorter than the header promises, or goes on and on, or cannot be told.
    """
    count, size = math.prod(facts.shape), facts.dtype.itemsize
    due = count * size
    short: tuple[int, int] = (0, due)
    for place in _places(source, header, first, due):
        check_claim(place.begin + due, source)
        check_packing(source, place.begin + due, (count, size), labels)
        with open_bytes(source) as stream:
            before, skipped = _skip(stream, place.begin)
            raw = np.empty(due, np.uint8)
            got = read_into(stream, raw)
            left = read_to_end(stream, source)
            packing = surplus(stream)
        short = max(short, (skipped + got, place.begin + due))
        if got == due and not (place.exact and left):
            _check_bits(header, facts, left)
            slope, intercept, odd = scaling(header)
            warnings = [place.warning] if place.warning else []
            warnings += [*packing, *odd, *extension_warnings(before, first)]
            warnings += [f"{left} bytes follow the last voxel: left out"] if left else []
            values = raw.view(facts.dtype).reshape(facts.shape, order="F")
            return _scaled(values, slope, intercept), warnings
    raise truncated(source, *short, "a NIfTI")


def extension_warnings(head: bytes, first: int) -> list[str]:
    """A warning where the extensions of a header contradict the room that they have; none is ever used.

    Args:
        head: from the first byte of the file to its first voxel (of a pair: all of the .hdr file).
        first: byte behind the header and its four bytes of flags.
    """
    if len(head) <= first or not first or not head[first - 4] or len(head) >= EXTENSION_LIMIT:
        return []
    ends = _chain(head, first)
    return [] if ends and ends[-1] == len(head) else ["a header extension is damaged: it is left out"]


def _places(source: Path, header: Any, first: int, due: int) -> Iterator[_Place]:
    """Where voxels may begin, the likeliest first."""
    stated = float(header["vox_offset"])
    sound = math.isfinite(stated) and stated >= first
    if sound and can_hold(source, int(stated) + due):
        fraction = "" if stated == int(stated) else f"vox_offset {stated:g} is no whole number: {int(stated)} is taken"
        yield _Place(int(stated), warning=fraction)
    text, length = f"vox_offset {stated:g} cannot be right: ", ", where the file's length puts it"
    behind = _behind_extensions(source, first) if first else None
    if sound and stated != first and stated != behind:
        yield _Place(first, True, f"{text}{first} is taken{length}")
    if sound:
        return
    if behind is not None and can_hold(source, behind + due):
        yield _Place(behind, warning=f"{text}{behind} is taken, behind the extensions")
    yield _Place(first, warning=f"{text}{first} is taken")
    if first:  # a writer that left out the four bytes of flags as well
        yield _Place(first - 4, True, f"{text}{first - 4} is taken{length}")


def _behind_extensions(source: Path, first: int) -> int | None:
    """Byte behind the extensions of a header, as their own sizes say; None where there are none, or none is sound."""
    with open_bytes(source) as stream:
        head = read_exactly(stream, EXTENSION_LIMIT, source, at_least=0)
    ends = _chain(head, first) if len(head) > first and head[first - 4] else []
    return ends[-1] if ends else None


def _chain(head: bytes, first: int) -> list[int]:
    """Ends of the extensions that follow each other from a byte on, either byte order, as long as they are sound."""
    ends: list[int] = []
    begin = first
    while begin + 8 <= len(head):
        sizes = [int.from_bytes(head[begin : begin + 4], order) for order in ("little", "big")]
        size = next((n for n in sizes if 16 <= n <= len(head) - begin and n % 16 == 0), 0)
        if not size:
            break
        begin += size
        ends.append(begin)
    return ends


def _skip(stream: BinaryIO, count: int) -> tuple[bytes, int]:
    """Run past `count` bytes; the first of them, and how many there were."""
    head, skipped = b"", 0
    while skipped < count and (piece := stream.read(min(CHUNK, count - skipped))):
        if len(head) < EXTENSION_LIMIT:
            head += piece
        skipped += len(piece)
    return head, skipped


def _check_bits(header: Any, facts: Header, left: int) -> None:
    """Refuse a file whose voxel type and bits a voxel differ, where its length speaks for the bits.

    Raises:
        DataError: the type must be wrong, and nothing says which is right.
    """
    bits, count, size = int(header["bitpix"]), math.prod(facts.shape), facts.dtype.itemsize
    if bits > 8 * size and left == count * (bits // 8 - size):
        raise DataError(
            f"{facts.path} has voxels of {bits} bits by its length, and its header says {facts.dtype}",
            remedy="repair its header, or export it again",
        )


def _scaled(values: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    """Stored values as float32 in C order."""
    array = np.empty(values.shape, np.float32)
    with np.errstate(all="ignore"):  # what becomes infinite is counted and refused later
        if (slope, intercept) == (1.0, 0.0):
            array[...] = values
            return array
        for begin in range(0, values.shape[-1], PLANES):
            part = (..., slice(begin, begin + PLANES))
            array[part] = values[part].astype(np.float64) * slope + intercept
    return array
