"""Read NIfTI pairs: a header in a .hdr file, its voxels in the .img file beside it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched
from mdcsrn.io.content import open_bytes, read_exactly, reading
from mdcsrn.io.names import image_stem
from mdcsrn.io.nifti import checked_volume
from mdcsrn.io.nifti_header import (
    HEADER_BYTES,
    MIN_HEADER_BYTES,
    data_shape,
    header_facts,
    is_pair,
    magic_of,
    parse_header,
    volume_shape,
)
from mdcsrn.io.nifti_voxels import EXTENSION_LIMIT, extension_warnings, read_voxels
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.volume import Header, Volume

HEADERS, VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")


def is_nifti_pair(source: Path, start: bytes) -> bool:
    """True where a file is one of a pair: by its magic and a name that ends in .hdr or .img.

    A header that claims to be one file with its voxels, and has a .img file beside it and no room for voxels, counts.

    Args:
        source: either file.
        start: first bytes of the header's file.
    """
    if not source.name.lower().endswith((*HEADERS, *VOXELS)) or not magic_of(start):
        return False
    header_file = header_of_pair(source)
    if is_pair(start) or not header_file.name.lower().endswith(HEADERS) or _partner(header_file, VOXELS) is None:
        return is_pair(start)
    header = parse_header(start, header_file)
    with open_bytes(header_file) as stream:
        there = len(read_exactly(stream, EXTENSION_LIMIT, header_file, at_least=0))
    due = math.prod(data_shape(header)) * int(header["bitpix"]) // 8
    return there < header.template_dtype.itemsize + due


def read_pair(source: Path, allow_constant: bool, nonfinite: NonFinite) -> Volume:
    """Read a pair, given by either file; arguments and errors as for :func:`mdcsrn.io.formats.read_image`."""
    facts, header = _read_header(source)
    voxels = voxels_of_pair(header_of_pair(source))
    check_fetched(voxels)
    with reading(voxels, "NIfTI"):
        volume_shape(facts.shape, source)
        array, warnings = read_voxels(voxels, header, facts, 0, allow_constant)
    facts = dataclasses.replace(facts, warnings=(*facts.warnings, *warnings))
    return checked_volume(array, facts, allow_constant, nonfinite)


def pair_header(source: Path) -> Header:
    """Header of a pair; no voxel is read."""
    return _read_header(source)[0]


def header_of_pair(source: Path) -> Path:
    """The .hdr file beside a .img file; any other file itself."""
    if source.name.lower().endswith(VOXELS):
        return _partner(source, HEADERS) or source
    return source


def voxels_of_pair(header_file: Path) -> Path:
    """The .img file beside a .hdr file.

    Raises:
        DataError: there is none.
    """
    found = _partner(header_file, VOXELS)
    if found is None:
        raise DataError(f"{header_file} lacks its voxels: no .img file beside it", remedy="copy both files of the pair")
    return found


def _read_header(source: Path) -> tuple[Header, Any]:
    header_file = header_of_pair(source)
    with reading(header_file, "NIfTI"):
        with open_bytes(header_file) as stream:
            content = read_exactly(stream, EXTENSION_LIMIT, header_file, at_least=MIN_HEADER_BYTES)
        start = content[:HEADER_BYTES]
        header = parse_header(start, header_file)
        facts = header_facts(header, start, source)
        warnings = extension_warnings(content, header.template_dtype.itemsize + 4)
        if not is_pair(start):
            warnings.append("the header says that its voxels follow it: they are read from the .img file")
        return dataclasses.replace(facts, warnings=(*facts.warnings, *warnings)), header


def _partner(source: Path, endings: tuple[str, ...]) -> Path | None:
    stem = image_stem(source)
    present = {entry.name.lower(): entry for entry in source.parent.iterdir()} if source.parent.is_dir() else {}
    for ending in endings:
        exact = source.parent / f"{stem}{ending}"
        if exact.is_file():
            return exact
        if f"{stem}{ending}".lower() in present:
            return present[f"{stem}{ending}".lower()]
    return None
