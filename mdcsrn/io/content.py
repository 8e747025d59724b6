"""Read the bytes of an image file, plain or packed by content, and never more than the file can hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from nibabel.imageglobals import logger
from numpy.typing import NDArray

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.io.unpack import CHUNK, MARK_BYTES, DamagedStream, Unpacked, packing

DEFLATE_LIMIT = 1100  # deflate never packs more than 1032 to 1: what claims more lacks its data
START_BYTES = 540  # a NIfTI-2 header; enough to tell every format that is read here
# Packed files whose voxels, as float32, take more than this must not be packed tighter than RATIO to 1. A head in air
# packs 150 to 1 at most; a label map may reach 1000 to 1, so it may have 512 x 512 x 512 voxels whatever its packing.
LARGE = 1 << 28
LARGE_LABELS = 1 << 29
RATIO = 400
# Above these a packed file is run through once, nothing kept, before its voxels get memory.
SURVEYED_BYTES, SURVEYED_RATIO = 1 << 25, 50
SURPLUS = 1 << 24  # bytes of a packed stream behind the last voxel; what goes on beyond them contradicts its header
# What the system says, and what the user can do about it; the order is that of isinstance.
REMEDIES = (
    (IsADirectoryError, "give a file, or give the folder to `mdcsrn predict`"),
    (PermissionError, "ask for the right to read it"),
    (OSError, "check the disk, or copy it again"),
)


def open_bytes(source: Path) -> BinaryIO:
    """Open a file for reading, unpacked where its content is gzip, bzip2 or Zstandard (the name does not matter).

    Raises:
        DataError: no such file, a folder, no permission, or content that was not fetched.
    """
    check_fetched(source)
    try:
        stream = open(source, "rb")  # noqa: SIM115 - handed to the caller's with block
        kind = packing(stream.read(MARK_BYTES))
        stream.seek(0)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}", remedy="check the path") from error
    except OSError as error:
        remedy = next(words for kind, words in REMEDIES if isinstance(error, kind))
        raise DataError(f"cannot open {source}", got=error.strerror or str(error), remedy=remedy) from error
    return stream if kind is None else cast(BinaryIO, Unpacked(stream, kind))


def read_exactly(
    stream: BinaryIO, count: int, source: Path, at_least: int | None = None, kind: str = "an image"
) -> bytes:
    """Read `count` bytes (or to the end, where `at_least` are there); piecewise, so that nothing absurd is allocated.

    Args:
        stream: from :func:`open_bytes`.
        count: bytes.
        source: the file, for the error.
        at_least: bytes that must be there; None: all of them.
        kind: format, for the error, such as ``a NIfTI``.

    Raises:
        DataError: the file ends earlier.
    """
    content = io.BytesIO()
    while content.tell() < count:
        piece = stream.read(min(CHUNK, count - content.tell()))
        if not piece:
            break
        content.write(piece)
    if content.tell() < (count if at_least is None else at_least):
        raise truncated(source, content.tell(), count if at_least is None else at_least, kind)
    return content.getvalue()


def truncated(source: Path, got: int, due: int, kind: str = "an image") -> DataError:
    """The error of a file that ends too soon."""
    return DataError(
        f"{source} is truncated or not {kind} file",
        got=f"{got} bytes where {due} more are due",
        remedy="copy or export it again",
    )


def read_into(stream: BinaryIO, target: NDArray[np.uint8]) -> int:
    """Fill an array of bytes from a stream; returns how many there were."""
    filled = 0
    while filled < target.size:
        piece = stream.read(min(CHUNK, target.size - filled))
        if not piece:
            break
        target[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return filled


def read_start(source: Path) -> bytes:
    """The first bytes of a file, at most 540, unpacked: what its format is recognised by."""
    with reading(source), open_bytes(source) as stream:
        return read_exactly(stream, START_BYTES, source, at_least=0)


def read_to_end(stream: BinaryIO, source: Path) -> int:
    """Read what is left and drop it: at its end a packed stream compares its checksum.

    Returns:
        Number of bytes that were left.

    Raises:
        DataError: a packed stream without end.
    """
    left = 0
    while piece := stream.read(CHUNK):
        left += len(piece)
        if left > SURPLUS and isinstance(stream, Unpacked):
            raise DataError(
                f"{source} goes on behind the last voxel that its header states",
                got=f"more than {SURPLUS} bytes",
                remedy="repair its header, or export it again",
            )
    return left


def surplus(stream: BinaryIO) -> tuple[str, ...]:
    """A warning where something else follows a packed stream that was read to its end, as gzip has it."""
    trailing = getattr(stream, "trailing", 0)
    return (f"{trailing} bytes of something else follow the packed stream: left out",) if trailing else ()


def check_claim(total: int, source: Path, best: float | None = None) -> int:
    """Return the number of bytes that a header claims for its file, if the file can hold them.

    Args:
        total: bytes from the start of the unpacked file to its last voxel.
        source: the file.
        best: bytes that one byte on the disk may give at most; None: by the packing of the file.

    Raises:
        DataError: negative, or more than is on the disk even at the packing's best.
    """
    if not (can_hold(source, total) if best is None else 0 <= total <= best * source.stat().st_size):
        raise DataError(
            f"{source} is truncated, or its header is damaged",
            got=f"{source.stat().st_size} bytes on disk, {total} claimed by the header",
            remedy="copy or export it again",
        )
    return total


def can_hold(source: Path, total: int) -> bool:
    """True where a file may have `total` bytes when unpacked."""
    limits = {None: 1.0, "gzip": DEFLATE_LIMIT, "bzip2": 1e6, "zstandard": 1e6}
    with open(source, "rb") as stream:
        kind = packing(stream.read(MARK_BYTES))
    return 0 <= total <= source.stat().st_size * limits[kind]


def check_packing(
    source: Path,
    total: int,
    voxels: tuple[int, int],
    labels: bool = False,
    opened: Callable[[], BinaryIO] | None = None,
) -> None:
    """Refuse a packed file that would fill the memory with next to nothing, before any memory is taken.

    Args:
        source: the file on disk.
        total: unpacked bytes up to the last voxel; :func:`can_hold` was asked before.
        voxels: their number, and the bytes of one.
        labels: all voxels may be equal, as those of a mask.
        opened: opens the unpacked stream; None: :func:`open_bytes`.

    Raises:
        DataError: large and packed tighter than images are, not of the length that the header states, or one value
            from end to end.
    """
    if opened is None:
        with open(source, "rb") as raw:
            if packing(raw.read(MARK_BYTES)) is None:
                return
    count, size = voxels
    disk = source.stat().st_size
    if 4 * count > (LARGE_LABELS if labels else LARGE) and total > RATIO * disk:
        raise DataError(
            f"{source} would unpack to far more than an image of its size does",
            got=f"{total} bytes from {disk}",
            allowed=f"{RATIO} to 1 above {LARGE // 4} voxels",
            remedy="unpack it yourself where you trust it",
        )
    if max(total, 4 * count) <= SURVEYED_BYTES or total <= SURVEYED_RATIO * disk:
        return
    with opened() if opened is not None else open_bytes(source) as stream:
        same = _survey(stream, source, total, (total - count * size, size))
    if same and not labels:
        raise DataError(f"{source} holds one value in every voxel", remedy="check how the file was made")


def _survey(stream: BinaryIO, source: Path, total: int, voxels: tuple[int, int]) -> bool:
    """Run through a stream; True where its voxels, from an offset on and of a size, are all the same."""
    (offset, size), seen, same, last = voxels, 0, True, b""
    while seen < total and (piece := stream.read(min(CHUNK, total - seen))):
        if same and seen + len(piece) > offset:
            run = np.frombuffer(last + piece[max(0, offset - seen) :], np.uint8)
            same = bool(np.array_equal(run[size:], run[:-size]))
            last = run[-size:].tobytes()
        seen += len(piece)
    if seen < total:
        raise truncated(source, seen, total)
    read_to_end(stream, source)
    return same


@contextlib.contextmanager
def reading(source: str | os.PathLike[str], kind: str = "an image") -> Iterator[None]:
    """Turn whatever a library raises over the bytes of `source` into one error that names the file.

    nibabel's log is off meanwhile: it would print on its own, and what is odd becomes a warning of the volume.

    Args:
        source: the file.
        kind: format, for the error, such as ``NIfTI``.

    Raises:
        DataError: in the place of any exception that is not the project's own.
    """
    loud, logger.disabled = logger.disabled, True
    try:
        yield
    except MdcsrnError:
        raise
    except Exception as error:  # nibabel, ITK, gzip and numpy raise whatever the bytes provoke
        damaged = isinstance(error, (DamagedStream, EOFError, zlib.error, gzip.BadGzipFile))
        reason = "is truncated or damaged" if damaged else f"cannot be read as {kind}"
        said = " ".join(str(error).split())[:300]  # of ITK: many lines
        raise DataError(
            f"{source} {reason}", got=f"{type(error).__name__}: {said}", remedy="copy or export it again"
        ) from error
    finally:
        logger.disabled = loud
