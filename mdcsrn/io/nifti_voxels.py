"""Read the voxels of a NIfTI file: find their offset, read no further than promised, scale to float32."""

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
MAX_TRIED_EXTENSIONS = 8  # extensions whose end is tried as the beginning of the voxels
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


@dataclass(frozen=True, eq=False)
class _Found:
    """What was read at a place.

    Attributes:
        raw: bytes of the voxels; None where the file ends before the last of them.
        left: bytes behind the last voxel.
        before: first bytes of the file, at most up to the first voxel.
        end: bytes read.
        warnings: what is odd about the packing.
    """

    raw: NDArray[np.uint8] | None
    left: int
    before: bytes
    end: int
    warnings: tuple[str, ...]


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
        DataError: the file is shorter than the header promises, has no end, or an unknown length.
    """
    count, size = math.prod(facts.shape), facts.dtype.itemsize
    due = count * size
    longest = _Found(None, 0, b"", 0, ())
    for place in _places(source, header, first, due):
        found = _read_at(source, place.begin, (count, size), labels)
        if found.raw is not None and not (place.exact and found.left):
            break
        longest = max(longest, found, key=lambda one: one.end)
    else:
        raise truncated(source, longest.end, due, "a NIfTI")
    behind = _behind(source, first, place.begin, found.left) if first and found.left else None
    if behind is not None:
        text = f"vox_offset {place.begin} lies within the header's extensions: {behind} is taken, behind them"
        place, found = _Place(behind, warning=text), _read_at(source, behind, (count, size), labels)
    assert found.raw is not None
    _check_bits(header, facts, found.left)
    slope, intercept, odd = scaling(header)
    warnings = [*([place.warning] if place.warning else []), *found.warnings, *odd]
    warnings += extension_warnings(found.before, first)
    warnings += [f"{found.left} bytes follow the last voxel: left out"] if found.left else []
    values = found.raw.view(facts.dtype).reshape(facts.shape, order="F")
    return _scaled(values, slope, intercept), warnings


def _read_at(source: Path, begin: int, voxels: tuple[int, int], labels: bool) -> _Found:
    """Read voxels, their number and size given, from a byte on, and run to the end of the file."""
    due = voxels[0] * voxels[1]
    check_claim(begin + due, source)
    check_packing(source, begin + due, voxels, labels)
    with open_bytes(source) as stream:
        before, skipped = _skip(stream, begin)
        raw = np.empty(due, np.uint8)
        got = read_into(stream, raw)
        left = read_to_end(stream, source)
        return _Found(raw if got == due else None, left, before, skipped + got, surplus(stream))


def _behind(source: Path, first: int, begin: int, left: int) -> int | None:
    """End of the extension that a vox_offset lies in, where the file has room for the voxels behind it."""
    ends = _extension_ends(source, first)
    if begin in ends:
        return None
    room = [end for end in ends if begin < end <= begin + left]
    return begin + left if begin + left in room else min(room, default=None)


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
    ends = _extension_ends(source, first) if first else []
    if sound:
        ends = [first, *ends[:MAX_TRIED_EXTENSIONS]]
    exact = [n for n in ends[: MAX_TRIED_EXTENSIONS + 1] if can_hold(source, n + due)]
    yield from (_Place(n, True, f"{text}{n} is taken{length}") for n in exact)
    if sound:
        check_claim(int(stated) + due, source)
        return
    if exact:
        yield _Place(exact[0], warning=f"{text}{exact[0]} is taken, behind the first extension")
    if can_hold(source, first + due):
        yield _Place(first, warning=f"{text}{first} is taken")
    if first and can_hold(source, first - 4 + due):  # a writer that left out the four bytes of flags as well
        yield _Place(first - 4, True, f"{text}{first - 4} is taken{length}")
    check_claim(first + due, source)


def _extension_ends(source: Path, first: int) -> list[int]:
    """Ends of a header's extensions, as their own sizes say; none where the header has none, or none is sound."""
    with open_bytes(source) as stream:
        head = read_exactly(stream, EXTENSION_LIMIT, source, at_least=0)
    return _chain(head, first) if len(head) > first and head[first - 4] else []


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
