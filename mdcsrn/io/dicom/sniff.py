"""Recognise DICOM by its first bytes, with or without preamble and meta group, in every uncompressed encoding."""

from __future__ import annotations

import struct
from pathlib import Path

START = 1024  # bytes that are enough to tell
MARK = b"DICM"
PREAMBLE = 128  # bytes of anything before the mark
FIRST_GROUPS = (0x0002, 0x0004, 0x0008)  # a file begins with one of these; 4 is that of a DICOMDIR
LAST_GROUP = 0x0010  # of the elements that are looked at: meta, identification, patient
MIN_ELEMENTS = 3  # elements in a row that make sense; two where the bytes end in the second
LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
SHORT_FORM = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
ENCODINGS = (("<", True), ("<", False), (">", True))  # byte order, and whether value representations are written
MAX_VALUE_BYTES = 1 << 16  # bytes of a value among the first ones
UNDEFINED = 0xFFFFFFFF


def dataset_start(start: bytes) -> int | None:
    """Place of the first element of a DICOM file.

    Args:
        start: first bytes of a file, up to :data:`START`.

    Returns:
        132 after a preamble and its mark; 4 or 128 where one of the two is missing; 0 where both are; None where the
        bytes are no DICOM. Without the mark, several elements in a row must make sense: tags that rise, known value
        representations, lengths that fit.
    """
    if start[PREAMBLE : PREAMBLE + 4] == MARK:
        return PREAMBLE + 4
    if start[:4] == MARK and _is_dataset(start[4:]):
        return 4
    return next((place for place in (0, PREAMBLE) if _is_dataset(start[place:])), None)


def looks_like_dicom(start: bytes) -> bool:
    """True where :func:`dataset_start` finds one."""
    return dataset_start(start) is not None


def is_dicom_file(path: Path) -> bool:
    """True where a file begins as DICOM, whatever its name; False for one that cannot be opened, or has not arrived."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as stream:
            return looks_like_dicom(stream.read(START))
    except OSError:
        return False  # whoever reads it says why it cannot be


def _is_dataset(data: bytes) -> bool:
    return any(_walk(data, order, explicit) for order, explicit in ENCODINGS)


def _walk(data: bytes, order: str, explicit: bool) -> bool:
    """Do the bytes begin with elements in this encoding? A sequence ends the walk; so does the end of the bytes."""
    place, seen, last = 0, 0, -1
    while seen < MIN_ELEMENTS and place + 8 <= len(data):
        group, element = struct.unpack_from(f"{order}HH", data, place)
        tag = group << 16 | element
        if group not in FIRST_GROUPS and not (seen and group <= LAST_GROUP):
            return False
        if tag <= last:
            return False
        head, length = _length(data, place, order, explicit)
        if length == UNDEFINED and seen:
            return True
        if length is None or length % 2 or length > MAX_VALUE_BYTES:
            return False
        last, seen, place = tag, seen + 1, place + head + length
    return seen >= MIN_ELEMENTS or seen == MIN_ELEMENTS - 1 and place >= len(data)


def _length(data: bytes, place: int, order: str, explicit: bool) -> tuple[int, int | None]:
    """(bytes of the element's head, length of its value); None where that is no element."""
    if not explicit:
        return 8, struct.unpack_from(f"{order}I", data, place + 4)[0]
    kind = data[place + 4 : place + 6]
    if kind in SHORT_FORM:
        return 8, struct.unpack_from(f"{order}H", data, place + 6)[0]
    if kind not in LONG_FORM or data[place + 6 : place + 8] != b"\0\0" or place + 12 > len(data):
        return 8, None
    return 12, struct.unpack_from(f"{order}I", data, place + 8)[0]
