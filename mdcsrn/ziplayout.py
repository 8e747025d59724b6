"""Check that a zip shows every reader the same files: one directory, and nothing in the file that it does not name.

A zip names each file twice, in a header before its content and in the directory at the end, and readers differ in which
they believe, and in where they look for the directory. Here both must agree and the file must hold nothing else.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_SIZES_BEHIND = 8  # flag: checksum and sizes stand behind the content, and may be zero in the header
_FLAGS = 0x0806 | _SIZES_BEHIND  # level of deflate, UTF-8 names
_NEWEST = 45  # version of the format that a reader needs: 4.5, of large zips; Python refuses those above 6.3
_EXTRAS = {0x5455, 0x5855, 0x7875, 0x4246}  # times, owner, torch's padding; others give a file another name or size
MAX_DIRECTORY_BYTES = 4 * 2**20  # bytes; some ten thousand names
_PIECE = 2**20


class _OtherwiseError(Exception):
    """What is not as it should be."""


@dataclass(frozen=True)
class _Entry:
    name: bytes
    agreed: tuple[int, ...]  # flags, method, time, date, checksum, packed and unpacked size
    offset: int


def layout_problem(stream: BinaryIO, *, of_torch: bool = False) -> str | None:
    """Why two programs could see different files in a zip; None: they cannot.

    Args:
        stream: of a file, open for reading in binary and able to seek.
        of_torch: as ``torch.save`` writes it: every name lies below the same folder (torch takes that of the first),
            and nothing is packed, so that it cannot grow. Without it, look at the stated sizes first: all is unpacked.

    Returns:
        A reason. Also refused: encryption, other methods than stored and deflated, files of 4 GiB and more, names that
        are equal but for case, content that does not fit its checksum or size.
    """
    try:
        entries, end = _directory(stream)
        if of_torch and len({entry.name.partition(b"/")[:2] for entry in entries}) != 1:
            raise _OtherwiseError("its files do not lie in one folder")
        if of_torch and any(entry.agreed[1] != 0 for entry in entries):
            raise _OtherwiseError("its files are packed, which torch.save does not do")
        place = 0
        for entry in sorted(entries, key=lambda entry: entry.offset):
            if entry.offset != place:
                raise _OtherwiseError(f"bytes before {_shown(entry)} that its directory does not name")
            place = _local(stream, entry)
        if place != end:
            raise _OtherwiseError("bytes before its directory that the directory does not name")
    except _OtherwiseError as problem:
        return str(problem)
    except (struct.error, zlib.error, OSError, UnicodeError) as error:
        return f"damaged: {error}"
    return None


def _shown(entry: _Entry) -> str:
    return ascii(entry.name.decode("utf-8", "replace"))[:80]


def _exactly(stream: BinaryIO, place: int, count: int) -> bytes:
    stream.seek(place)
    content = stream.read(count)
    if place < 0 or len(content) != count:
        raise _OtherwiseError("damaged: cut short")
    return content


def _directory(stream: BinaryIO) -> tuple[list[_Entry], int]:
    """The entries of the directory, and where it begins; all from there to the end of the file is accounted for."""
    size = stream.seek(0, 2)
    tail = _exactly(stream, max(size - _END.size - 2**16, 0), min(size, _END.size + 2**16))
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise _OtherwiseError("damaged: it has no directory")
    _, disk, first, here, count, length, start, comment = _END.unpack_from(tail, found)
    text = tail[found + _END.size :]
    if len(text) != comment or not re.fullmatch(rb"[ -~]*", text):
        raise _OtherwiseError("bytes behind its directory")
    if (disk, first) != (0, 0) or here != count or length > MAX_DIRECTORY_BYTES:
        raise _OtherwiseError("a directory in parts, or of more than 4 MiB")
    stop = size - len(tail) + found
    if start + length == stop - _END64.size - _LOCATOR.size:
        stop = _end64(stream, start + length, (count, length, start))
    if start + length != stop:
        raise _OtherwiseError("bytes between its directory and the end of the file")
    content = _exactly(stream, start, length)
    entries, place = [], 0
    for _ in range(count):
        entry, place = _entry(content, place)
        entries.append(entry)
    if place != length:
        raise _OtherwiseError("bytes in its directory that belong to no file")
    seen: set[str] = set()
    for entry in entries:
        name = entry.name.decode("utf-8").casefold()
        if name in seen:
            raise _OtherwiseError(f"{_shown(entry)} comes twice, but for case at most: readers take different ones")
        seen.add(name)
    return entries, start


def _end64(stream: BinaryIO, place: int, known: tuple[int, int, int]) -> int:
    """torch.save always writes the records for large zips; they must say what the small one says."""
    content = _exactly(stream, place, _END64.size + _LOCATOR.size)
    magic, length, _, _, disk, first, here, count, size, start = _END64.unpack_from(content)
    locator = _LOCATOR.unpack_from(content, _END64.size)
    if (magic, length, disk, first, here) != (b"PK\x06\x06", _END64.size - 12, 0, 0, count):
        raise _OtherwiseError("bytes between its directory and the end of the file")
    if (count, size, start) != known or locator != (b"PK\x06\x07", 0, place, 1):
        raise _OtherwiseError("two directories: the records of a large zip name another one")
    return place


def _entry(content: bytes, place: int) -> tuple[_Entry, int]:
    magic, _, needed, *agreed, names, extras, comment, disk, _, _, offset = _ENTRY.unpack_from(content, place)
    begin = place + _ENTRY.size
    name = content[begin : begin + names]
    entry = _Entry(name, tuple(agreed), offset)
    flags, method, _, _, _, packed, unpacked = agreed
    if magic != b"PK\x01\x02" or disk != 0 or not name:
        raise _OtherwiseError("damaged: its directory holds something else than files")
    if flags & ~_FLAGS or method not in (0, 8) or needed > _NEWEST:
        raise _OtherwiseError(f"{_shown(entry)} is encrypted or packed in a way that readers differ in")
    if b"\0" in name or (not flags & 0x0800 and not name.isascii()):
        raise _OtherwiseError(f"{_shown(entry)} is a name that readers decode in different ways")
    name.decode("utf-8")
    if 2**32 - 1 in (packed, unpacked, offset) or (method == 0 and packed != unpacked):
        raise _OtherwiseError(f"{_shown(entry)} has 4 GiB or more, or two sizes")
    _check_extra(entry, content[begin + names : begin + names + extras])
    return entry, begin + names + extras + comment


def _check_extra(entry: _Entry, extra: bytes) -> None:
    while extra:
        kind, length = struct.unpack_from("<2H", extra)
        if kind not in _EXTRAS or len(extra) < 4 + length:
            raise _OtherwiseError(f"{_shown(entry)} has an extra field that can give it another name or size")
        extra = extra[4 + length :]


def _local(stream: BinaryIO, entry: _Entry) -> int:
    """Compare the header before a file's content with the directory, and the content with both: where it ends."""
    magic, needed, *agreed, names, extras = _LOCAL.unpack(_exactly(stream, entry.offset, _LOCAL.size))
    flags, *_, checksum, packed, unpacked = entry.agreed
    behind = bool(flags & _SIZES_BEHIND)
    name = _exactly(stream, entry.offset + _LOCAL.size, names)
    allowed = {entry.agreed, (*entry.agreed[:4], 0, 0, 0)} if behind else {entry.agreed}
    if magic != b"PK\x03\x04" or name != entry.name or tuple(agreed) not in allowed or needed > _NEWEST:
        raise _OtherwiseError(f"two directories: the header before {_shown(entry)} says something else")
    place = entry.offset + _LOCAL.size + names
    _check_extra(entry, _exactly(stream, place, extras))
    _check_content(stream, place + extras, entry)
    place += extras + packed
    if behind:
        known = struct.pack("<3L", checksum, packed, unpacked)
        if _exactly(stream, place, 16) != b"PK\x07\x08" + known:
            raise _OtherwiseError(f"the sizes behind {_shown(entry)} are others")
        place += 16
    return place


def _check_content(stream: BinaryIO, place: int, entry: _Entry) -> None:
    """The packed bytes end where they should and give the stated size and checksum; a megabyte at a time."""
    _, method, _, _, checksum, left, size = entry.agreed
    stream.seek(place)
    inflate = zlib.decompressobj(-15) if method == 8 else None
    found = total = 0
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise _OtherwiseError("damaged: cut short")
        left -= len(piece)
        while piece:
            plain = piece if inflate is None else inflate.decompress(piece, _PIECE)
            piece = b"" if inflate is None else inflate.unconsumed_tail
            found, total = zlib.crc32(plain, found), total + len(plain)
            if total > size or (inflate is not None and inflate.unused_data):
                raise _OtherwiseError(f"{_shown(entry)} holds more than its size says")
    if inflate is not None:
        plain = inflate.flush()
        found, total = zlib.crc32(plain, found), total + len(plain)
        if not inflate.eof:
            raise _OtherwiseError(f"{_shown(entry)} ends too early")
    if (total, found) != (size, checksum):
        raise _OtherwiseError(f"{_shown(entry)} is damaged: its checksum or size is another one")
