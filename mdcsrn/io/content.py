"""Bytes of an image file: plain or gzip by content, and never more of them than the file can hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from nibabel.imageglobals import logger

from mdcsrn.errors import DataError, MdcsrnError

GZIP_MAGIC = b"\x1f\x8b"
GZIP_LIMIT = 1100  # deflate never packs more than 1032 to 1: what claims more lacks its data
CHUNK = 1 << 20
START_BYTES = 540  # a NIfTI-2 header; enough to tell every format that is read here
# What the system says, and what the user can do about it; the order is that of isinstance.
REMEDIES = (
    (IsADirectoryError, "give a file, or give the folder to `mdcsrn predict`"),
    (PermissionError, "ask for the right to read it"),
    (OSError, "check the disk, or copy it again"),
)


def open_bytes(source: Path) -> BinaryIO:
    """Open a file for reading, unpacked where its content is gzip (the name does not matter).

    Raises:
        DataError: no such file, a folder, no permission.
    """
    try:
        stream = open(source, "rb")  # noqa: SIM115 - handed to the caller's with block
        magic = stream.read(2)
        stream.seek(0)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}", remedy="check the path") from error
    except OSError as error:
        remedy = next(words for kind, words in REMEDIES if isinstance(error, kind))
        raise DataError(f"cannot open {source}", got=error.strerror or str(error), remedy=remedy) from error
    if magic != GZIP_MAGIC:
        return stream
    stream.close()
    return cast(BinaryIO, gzip.open(source, "rb"))


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
        raise DataError(
            f"{source} is truncated or not {kind} file",
            got=f"{content.tell()} bytes where {count if at_least is None else at_least} more are due",
            remedy="copy or export it again",
        )
    return content.getvalue()


def read_start(source: Path) -> bytes:
    """The first bytes of a file, at most 540, unpacked: what its format is told by."""
    with reading(source), open_bytes(source) as stream:
        return read_exactly(stream, START_BYTES, source, at_least=0)


def read_to_end(stream: BinaryIO) -> None:
    """Read what is left and drop it: at its end gzip compares its checksum."""
    while stream.read(CHUNK):
        pass


def check_claim(total: int, source: Path) -> int:
    """Return the number of bytes that a header claims for its file, if the file can hold them.

    Args:
        total: bytes from the start of the unpacked file to its last voxel.
        source: the file.

    Raises:
        DataError: negative, or more than is on the disk even at gzip's best.
    """
    size = source.stat().st_size
    with open(source, "rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    if not 0 <= total <= size * (GZIP_LIMIT if packed else 1):
        raise DataError(
            f"{source} is truncated, or its header is damaged",
            got=f"{size} bytes on disk, {total} claimed by the header",
            remedy="copy or export it again",
        )
    return total


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
        damaged = isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile))
        reason = "is truncated or damaged" if damaged else f"cannot be read as {kind}"
        said = " ".join(str(error).split())[:300]  # of ITK: many lines
        raise DataError(
            f"{source} {reason}", got=f"{type(error).__name__}: {said}", remedy="copy or export it again"
        ) from error
    finally:
        logger.disabled = loud
