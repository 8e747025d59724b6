"""Read NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd) through SimpleITK: LPS turned to RAS, console kept quiet."""

from __future__ import annotations

import codecs
import contextlib
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.fetched import check_fetched
from mdcsrn.io.content import DEFLATE_LIMIT, check_claim, check_packing, read_start, reading
from mdcsrn.io.forms import ALIGNED, Forms
from mdcsrn.io.nifti import checked_volume
from mdcsrn.io.nifti_header import volume_shape
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.unpack import Unpacked
from mdcsrn.io.volume import Header, Volume, check_affine

FORMATS = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}
NAMES = {"nrrd": "NRRD", "metaimage": "MetaImage"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_LIMIT = 1 << 20  # bytes of text; a real header has some hundred
DATA_FILE = re.compile(rb"^\s*(?:data\s?file|ElementDataFile)\s*[:=]=?\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE)
# A patient's axes; other spaces of NRRD (scanner-xyz, 3D-right-handed) do not say what is left.
SPACE = re.compile(
    rb"^\s*(?:space\s*:\s*\"?(?:left|right|[LR][AP]S)|(?:TransformMatrix|Orientation|Rotation)\s*=)",
    re.MULTILINE | re.IGNORECASE,
)
# How the voxels are packed; the encodings of NRRD, and the one of MetaImage.
PACKED = {
    "gzip": re.compile(rb"^\s*encoding\s*:\s*(?:gz|gzip)\s*$", re.MULTILINE | re.IGNORECASE),
    "bzip2": re.compile(rb"^\s*encoding\s*:\s*(?:bz2|bzip2)\s*$", re.MULTILINE | re.IGNORECASE),
    "zlib": re.compile(rb"^\s*CompressedData\s*=\s*True\s*$", re.MULTILINE | re.IGNORECASE),
}
AS_TEXT = re.compile(
    rb"^\s*(?:encoding\s*:\s*(?:txt|text|ascii|hex)|BinaryData\s*=\s*False)\s*$", re.MULTILINE | re.IGNORECASE
)
WIDEST_PER_CHARACTER = 8  # bytes of a voxel for each character of text that may give it
UNITS = re.compile(rb"^\s*(?:space\s+)?units:\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE)
# Counts that ITK's parsers trust, to a crash; what a volume can need, with room.
COUNTS = {
    re.compile(rb"^\s*(?:NDims|dimension)\s*[:=]\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE): (1, 8),
    re.compile(rb"^\s*ElementNumberOfChannels\s*=\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE): (1, 64),
    re.compile(rb"^\s*HeaderSize\s*=\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE): (-1, 1 << 20),
}
MAX_LINE_CHARACTERS = 2000
LENGTHS = {b"mm": 1.0, b"millimeter": 1.0, b"millimeters": 1.0, b"cm": 10.0, b"m": 1e3, b"um": 1e-3, b"": 1.0}


def is_nrrd(start: bytes) -> bool:
    """True for the first bytes of a NRRD file or its detached header."""
    return start.removeprefix(codecs.BOM_UTF8).startswith(b"NRRD000")


def is_metaimage(start: bytes) -> bool:
    """True for the first bytes of a MetaImage file: text of ``Key = value`` that begins as ITK and Slicer write it."""
    start = start.removeprefix(codecs.BOM_UTF8)
    return re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", start) is not None and b"NDims" in start


def read_itk(
    source: Path, kind: str, allow_constant: bool = False, nonfinite: NonFinite = "refuse", voxels: bool = True
) -> Volume | Header:
    """Read a NRRD or MetaImage file.

    Args:
        source: the file; of a detached pair, its header.
        kind: ``nrrd`` or ``metaimage``.
        allow_constant: accept a volume whose voxels are all equal.
        nonfinite: ``refuse`` or ``fill``, see :func:`mdcsrn.io.nonfinite.fill_nonfinite`.
        voxels: False reads the header alone.

    Returns:
        The volume in RAS+ millimetres, or its header.

    Raises:
        DataError: unreadable, truncated, several values per voxel, not one 3D volume, a data file elsewhere.
        GeometryError: the affine cannot be used, or its unit is not a length.
    """
    import SimpleITK as sitk  # imported late: half a second that most runs do not need

    with reading(source, NAMES[kind]):
        text = _header_text(source)
        data = _data_file(text, source)
        _check_text(text, source)
        with _without_mark(source, data, text) as file:
            reader = sitk.ImageFileReader()
            reader.SetImageIO(FORMATS[kind])
            reader.SetFileName(str(file))
            with silence():
                reader.ReadImageInformation()
            facts = _facts(reader, sitk, text, source, data)
            if not voxels:
                return facts
            shape = volume_shape(facts.shape, source)
            _check_packing(text, source, data, facts, allow_constant)
            with silence(), np.errstate(all="ignore"):
                image = reader.Execute()
                array = sitk.GetArrayViewFromImage(image).T.reshape(shape).astype(np.float32, order="C")
    return checked_volume(array, facts, allow_constant, nonfinite)


def voxel_file(source: Path) -> Path:
    """The file that holds the voxels of a NRRD or MetaImage header: most often itself."""
    return _data_file(_header_text(source), source)


@contextlib.contextmanager
def _without_mark(source: Path, data: Path, text: bytes) -> Iterator[Path]:
    """The header for ITK: where an editor put a byte-order mark before it, a copy that has none."""
    with open(source, "rb") as stream:
        marked = stream.read(3) == codecs.BOM_UTF8 and data != source
    if not marked:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="mdcsrn-") as folder:
        plain, match = Path(folder) / source.name, DATA_FILE.search(text)
        assert match is not None  # else the header's own file is the one with the voxels
        plain.write_bytes(text[: match.start(1)] + os.fsencode(data.resolve()) + text[match.end(1) :] + b"\n")
        yield plain


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Send what C++ prints past Python (file descriptors 1 and 2) to nowhere; ITK's errors are still raised."""
    for printed in (sys.stdout, sys.stderr):
        if printed is not None:
            printed.flush()
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "wb"))
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a process may have closed it: nothing to silence
                kept = os.dup(descriptor)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, descriptor)
                os.dup2(nowhere.fileno(), descriptor)
        yield


def _check_text(text: bytes, source: Path) -> None:
    """Refuse headers that ITK's parsers would not survive."""
    for pattern, (low, high) in COUNTS.items():
        for match in pattern.finditer(text):
            if not re.fullmatch(rb"[+-]?\d{1,7}", match[1]) or not low <= int(match[1]) <= high:
                raise DataError(
                    f"{source} has a damaged header",
                    got=match[0].strip()[:80].decode("utf-8", "replace"),
                    allowed=f"{low} to {high}",
                    remedy="export it again",
                )
    if max(map(len, text.splitlines()), default=0) > MAX_LINE_CHARACTERS:
        raise DataError(f"{source} has a damaged header", got=f"a line beyond {MAX_LINE_CHARACTERS} bytes")


def _facts(reader: Any, sitk: Any, text: bytes, source: Path, data: Path) -> Header:
    shape = tuple(int(n) for n in reader.GetSize())
    components = reader.GetNumberOfComponents()
    word = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if components != 1 or "complex" in word:
        raise DataError(
            f"{source} holds no plain numbers",
            got=f"{word}, {components} per voxel",
            allowed="one integer or float per voxel",
            remedy="give a magnitude image of one channel",
        )
    if not shape or min(shape) < 1:
        raise DataError(f"{source} has an axis without voxels", got=f"shape {shape}", remedy="export it again")
    dtype = _dtype(word, source)
    claimed = math.prod(shape) * dtype.itemsize
    best = {"gzip": DEFLATE_LIMIT, "zlib": DEFLATE_LIMIT, "bzip2": 1e6, None: 1}[_packing(text)]
    check_claim(claimed, data, WIDEST_PER_CHARACTER if AS_TEXT.search(text) else best)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    affine, warnings = np.eye(4), []
    axes = reader.GetDimension()
    if axes >= 3:
        direction = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
        affine[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
        affine[:3, 3] = reader.GetOrigin()[:3]
    placed = SPACE.search(text) is not None
    if not placed:
        warnings.append("the header states no orientation: its axes are taken as left, posterior, superior")
    factor = _millimetres(text, source)
    if factor != 1:
        affine[:3] *= factor
        warnings.append("the voxel size is not in millimetres: converted")
    affine = check_affine(LPS_TO_RAS @ affine, str(source))
    forms = None if placed else Forms.of(affine, ALIGNED)
    return Header(shape, affine, dtype, source, tuple(warnings), forms=forms)


def _packing(text: bytes) -> str | None:
    return next((kind for kind, words in PACKED.items() if words.search(text)), None)


def _check_packing(text: bytes, source: Path, data: Path, facts: Header, labels: bool) -> None:
    """Refuse packed voxels that are a bomb, before ITK takes memory for them."""
    kind = _packing(text)
    if kind is None:
        return

    def opened() -> BinaryIO:
        stream = open(data, "rb")  # noqa: SIM115 - closed by its reader
        stream.seek(0 if data != source else _behind_header(source, text))
        return cast(BinaryIO, Unpacked(stream, kind))

    count, size = math.prod(facts.shape), facts.dtype.itemsize
    check_packing(data, count * size, (count, size), labels, opened)


def _behind_header(source: Path, text: bytes) -> int:
    """First byte behind a header that stands before its voxels: an empty line, or the end of the data line."""
    with open(source, "rb") as stream:
        rest = stream.read(len(text) + 4)[len(text) :]
    match = re.match(rb"(?:\r?\n){1,2}" if text.startswith(b"NRRD") else rb"\r?\n", rest)
    return len(text) + (len(match[0]) if match else 0)


def _dtype(word: str, source: Path) -> np.dtype:
    match = re.match(r"(8|16|32|64)-bit (signed integer|unsigned integer|float)", word)
    if match is None:
        raise DataError(f"{source} holds no plain numbers", got=word, allowed="integer or float")
    letter = {"s": "i", "u": "u", "f": "f"}[match[2][0]]
    return np.dtype(f"{letter}{int(match[1]) // 8}")


def _header_text(source: Path) -> bytes:
    """Header as text: to the empty line of a NRRD file, to the data line of a MetaImage."""
    read_start(source)  # refuses what cannot be opened
    with open(source, "rb") as stream:
        content = stream.read(HEADER_LIMIT).removeprefix(codecs.BOM_UTF8)
    if is_nrrd(content):
        return re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    match = DATA_FILE.search(content)
    return content[: match.end()] if match else content


def _data_file(text: bytes, source: Path) -> Path:
    """The file that holds the voxels: the same one, or one in the same folder and nowhere else."""
    match = DATA_FILE.search(text)
    if match is None or match[1].upper() == b"LOCAL":
        return source
    name = match[1].decode("utf-8", "replace")
    if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
        raise DataError(
            f"{source} keeps its voxels elsewhere",
            got=name,
            allowed="one file in the same folder",
            remedy="save it as one .nrrd or .mha file",
        )
    data = source.parent / name
    check_fetched(data)
    if not data.is_file():
        raise DataError(f"{source} lacks its voxels: no such file: {data}", remedy="copy both files of the pair")
    return data


def _millimetres(text: bytes, source: Path) -> float:
    match = UNITS.search(text)
    if match is None:
        return 1.0
    found = {word.strip().lower() for word in re.findall(rb'"([^"]*)"', match[1])} or {b""}
    factors = {LENGTHS.get(word) for word in found}
    factor = factors.pop()
    if factors or factor is None:
        raise GeometryError(
            f"{source} gives its voxel size in a unit of no length",
            got=match[1].decode("utf-8", "replace"),
            allowed="mm, cm, m or um, the same on each axis",
            remedy="repair its header",
        )
    return factor
