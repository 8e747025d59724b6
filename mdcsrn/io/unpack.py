"""Unpack gzip, bzip2 and Zstandard streams piece by piece, so that no stream takes more memory than a piece."""

from __future__ import annotations

import bz2
import io
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 20
# Bytes fed at once. zlib and bz2 bound their output; a Zstandard block of 4 bytes gives up to 128 KiB, so 512
# give 16 MiB at most.
FEED = {"gzip": CHUNK, "zlib": CHUNK, "bzip2": CHUNK, "zstandard": 1 << 9}
MARKS = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    "zstandard": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame, or one to be skipped
}
MARK_BYTES = 10


class DamagedStream(Exception):
    """A packed stream ends too soon, or contradicts itself or its checksum."""


def packing(start: bytes) -> str | None:
    """``gzip``, ``bzip2`` or ``zstandard`` by the first ten bytes of a file; None: not packed."""
    return next((kind for kind, mark in MARKS.items() if mark.match(start)), None)


class Unpacked(io.RawIOBase):
    """A packed file as the bytes that it holds; streams that follow each other are one.

    Zeros behind the last stream are padding. Anything else there is left out, as gzip does.

    Args:
        source: open at the first packed byte; closed with this object.
        kind: ``gzip``, ``bzip2``, ``zstandard``, or ``zlib`` for a bare deflate stream.

    Attributes:
        trailing: bytes that follow the last stream and belong to none; known once the end was read.
    """

    def __init__(self, source: BinaryIO, kind: str) -> None:
        self.trailing = 0
        self._source, self._kind = source, kind
        self._pieces = self._unpack()
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill as much of `buffer` as the next piece can; 0 at the end.

        Raises:
            DamagedStream: the stream is truncated or damaged.
        """
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        """Close the file beneath as well."""
        self._source.close()
        super().close()

    def _unpack(self) -> Iterator[bytes]:
        data = self._source.read(FEED[self._kind])
        while data:
            member = _decompressor(self._kind)
            while not member.eof:
                if not data and getattr(member, "needs_input", True):
                    data = self._source.read(FEED[self._kind])
                ended = not data and getattr(member, "needs_input", True)
                try:
                    piece, data = _step(member, data, self._kind)
                except Exception as error:  # zlib.error, OSError of bz2, ZstdError
                    raise DamagedStream(str(error)) from error
                if piece:
                    yield piece
                elif ended and not member.eof:
                    raise DamagedStream("the packed stream ends too soon")
            data = self._next_member(member.unused_data)

    def _next_member(self, data: bytes) -> bytes:
        """What is left behind a stream, if another stream begins there; else nothing."""
        while True:
            data = data.lstrip(b"\0")
            if len(data) >= MARK_BYTES:
                break
            more = self._source.read(CHUNK)
            if not more:
                break
            data += more
        if not data or packing(data) == self._kind:
            return data
        while data:
            self.trailing += len(data)
            data = self._source.read(CHUNK)
        return b""


def _decompressor(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "zstandard":
        import zstandard  # imported late: rarely needed

        return zstandard.ZstdDecompressor().decompressobj()
    return zlib.decompressobj(zlib.MAX_WBITS | 16 if kind == "gzip" else zlib.MAX_WBITS)


def _step(member: Any, data: bytes, kind: str) -> tuple[bytes, bytes]:
    """Unpack a piece; returns it and the packed bytes that wait still."""
    if kind == "zstandard":
        return member.decompress(data), b""
    piece = member.decompress(data, CHUNK)
    return piece, member.unconsumed_tail if kind != "bzip2" else b""  # bz2 keeps what waits
