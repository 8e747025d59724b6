"""Zip files that every reader reads alike: one directory, nothing beside what it lists, sound checksums, no bomb."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from mdcsrn.errors import DataError

MAX_ENTRIES = 20_000
MAX_DIRECTORY_BYTES = 4 * 2**20
# UTF-8 names, sizes after the data, and deflate's two bits of effort; encryption and patches are refused.
_FLAGS = 0x0800 | 0x0008 | 0x0006
# Extra fields that change nothing of what is read: zip64 sizes, times, owners, torch's padding. The Unicode path field
# is not among them: it gives an entry a second name.
_EXTRAS = {0x0001, 0x5455, 0x5855, 0x7855, 0x7875, 0x4246}
_END, _LOCATOR, _LONG_END = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_CHUNK = 2**20


def check_zip(path: str | os.PathLike[str], max_bytes: int, stored: bool = False) -> None:
    """Refuse a zip that two readers could take for different ones, that is damaged, or that unpacks to too much.

    A zip names its entries twice, in front of each entry and in the directory at its end; some readers follow the
    first, some the second. Here both must say the same, entries must lie one after another from the first byte to the
    directory, and the directory must end the file. Then every entry is unpacked, in pieces that are thrown away, and
    its checksum compared.

    Args:
        path: the file.
        max_bytes: most that all entries may unpack to, bytes.
        stored: refuse compressed entries too (``torch.save`` never compresses).

    Raises:
        DataError: any of it, with the reason; or the file cannot be read.
    """
    problem = zip_problem(path, max_bytes, stored)
    if problem is not None:
        raise DataError(f"{path} is no sound zip file", got=problem, remedy=f"fetch or write {Path(path).name} again")


def zip_problem(path: str | os.PathLike[str], max_bytes: int, stored: bool = False) -> str | None:
    """The reason for which :func:`check_zip` refuses a file; None: there is none."""
    try:
        with open(path, "rb") as stream:
            return _problem(stream, max_bytes, stored)
    except (OSError, ValueError, struct.error, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        return str(error) or type(error).__name__


def _problem(stream: BinaryIO, max_bytes: int, stored: bool) -> str | None:
    size = os.fstat(stream.fileno()).st_size
    directory = _directory(stream, size)
    with zipfile.ZipFile(stream) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        if len({entry.orig_filename for entry in entries}) != len(entries):
            return "a name comes twice"
        if sum(entry.file_size for entry in entries) > max_bytes:
            return f"it unpacks to more than {max_bytes} bytes"
        starts = [*(entry.header_offset for entry in entries), directory]
        if starts[0] != 0:
            return "something lies in front of its first entry"
        for entry, end in zip(entries, starts[1:], strict=True):
            problem = _entry_problem(stream, entry, end, stored)
            if problem is not None:
                return f"{entry.filename[:80]!r}: {problem}"
        for entry in entries:
            with archive.open(entry) as packed:  # the checksum is compared at the entry's end
                while packed.read(_CHUNK):
                    pass
    return None


def _directory(stream: BinaryIO, size: int) -> int:
    """Where the directory begins, bytes; it must end where the end record begins, and that must end the file."""
    stream.seek(max(size - 22, 0))
    end = stream.read(22)
    if len(end) != 22 or end[:4] != _END or end[20:] != b"\0\0":
        raise ValueError("cut, or no zip: the end of the directory is not at the end of the file")
    disk, first_disk, here, count, length, offset = struct.unpack("<4H2L", end[4:20])
    if (disk, first_disk) != (0, 0) or here != count:
        raise ValueError("it has several parts")
    close = size - 22
    long = _long_end(stream, close)
    if long is not None:
        close -= 76
        short = (count, length, offset)
        count, length, offset = long
        if any(ours not in (theirs, limit) for ours, theirs, limit in zip(short, long, _LIMITS, strict=True)):
            raise ValueError("its two end records differ")
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"more than {MAX_ENTRIES} entries or {MAX_DIRECTORY_BYTES} bytes of names")
    if offset + length != close:
        raise ValueError("its directory is not where its end record says: something was put in front or between")
    return offset


_LIMITS = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def _long_end(stream: BinaryIO, close: int) -> tuple[int, int, int] | None:
    """Count, length and offset of the zip64 end record, which lies in front of the end record; None: there is none."""
    if close < 76:
        return None
    stream.seek(close - 76)
    record, locator = stream.read(56), stream.read(20)
    if locator[:4] != _LOCATOR:
        return None
    place = struct.unpack("<LQL", locator[4:])
    (length,) = struct.unpack("<Q", record[4:12])
    disk, first_disk, here, count, size, offset = struct.unpack("<2L4Q", record[16:])
    if record[:4] != _LONG_END or length != 44 or place[:2] != (0, close - 76) or (disk, first_disk) != (0, 0):
        raise ValueError("its zip64 end record is not where its locator says")
    if here != count:
        raise ValueError("it has several parts")
    return count, size, offset


def _entry_problem(stream: BinaryIO, entry: zipfile.ZipInfo, end: int, stored: bool) -> str | None:
    """Why an entry that must end at `end` is not what the directory says of it."""
    stream.seek(entry.header_offset)
    header = stream.read(30)
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        return "no header in front of it"
    flags, method = struct.unpack("<2H", header[6:10])
    sums = struct.unpack("<3L", header[14:26])
    name_length, extra_length = struct.unpack("<2H", header[26:30])
    name, extra = stream.read(name_length), stream.read(extra_length)
    if name.decode("utf-8" if flags & 0x800 else "cp437") != entry.orig_filename or "\0" in entry.orig_filename:
        return "another name in front of it than in the directory"
    if (flags, method) != (entry.flag_bits, entry.compress_type) or flags & ~_FLAGS:
        return "encrypted, or packed in another way than the directory says"
    if method != zipfile.ZIP_STORED and (stored or method != zipfile.ZIP_DEFLATED):
        return "compressed" if stored else f"compressed by method {method}"
    if method == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        return "two sizes"
    if not (_known_extras(extra) and _known_extras(entry.extra)):
        return "an extra field that may give it another name"
    found = (entry.CRC, entry.compress_size, entry.file_size)
    if flags & 8:  # then they follow the data, and zeros may stand here
        if any(ours not in (theirs, 0) for ours, theirs in zip(sums, found, strict=True)):
            return "other sizes in front of it than in the directory"
    elif not _same_sums(sums, found, extra):
        return "other sizes in front of it than in the directory"
    stream.seek(entry.header_offset + 30 + name_length + extra_length + entry.compress_size)
    after = end - stream.tell()
    if not 0 <= after <= 24:
        return "something hidden behind it"
    return None if stream.read(after) in _descriptors(found, flags) else "something hidden behind it"


def _same_sums(sums: tuple[int, ...], found: tuple[int, int, int], extra: bytes) -> bool:
    """Checksum and sizes of a local header, where sizes may stand in its zip64 field instead."""
    if sums == found:
        return True
    if sums[0] != found[0] or sums[1:] != (0xFFFFFFFF, 0xFFFFFFFF):
        return False
    return extra[:4] == struct.pack("<2H", 1, 16) and struct.unpack("<2Q", extra[4:20]) == (found[2], found[1])


def _descriptors(found: tuple[int, int, int], flags: int) -> list[bytes]:
    """What may follow an entry's data: nothing, or checksum and sizes again where its flag says so."""
    if not flags & 8:
        return [b""]
    forms = [struct.pack("<L2Q", *found)]
    if max(found[1:]) < 2**32:
        forms.append(struct.pack("<3L", *found))
    return [signature + form for signature in (b"", b"PK\x07\x08") for form in forms]


def _known_extras(extra: bytes) -> bool:
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[place : place + 4])
        if kind not in _EXTRAS:
            return False
        place += 4 + length
    return place == len(extra)
