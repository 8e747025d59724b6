"""Parse DICOM bytes to a dataset and its tags to numbers; errors and logs of pydicom are translated here."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.config import settings
from pydicom.filereader import read_dataset

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.dicom.series import DicomFile, SeriesIdentity
from mdcsrn.io.dicom.sniff import START, dataset_start
from mdcsrn.io.dicom.source import BOMB_BYTES, BOMB_RATIO, MAX_FILE_BYTES

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
# Of files that state no transfer syntax, by (implicit, little-endian).
UNSTATED: dict[tuple[bool | None, bool | None], str] = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): EXPLICIT_LITTLE,
    (False, False): "1.2.840.10008.1.2.2",
}
USUAL = 132  # place of the first element after a preamble and its mark
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # tag of an item, little- and big-endian
FEW_ITEMS = 2000
BYTES_PER_ITEM = 64  # of a whole file; headers alone have 90 to 1200 in scans of six vendors
# Functional groups of enhanced images that hold what single-frame images have at their root.
GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "MRImageFrameTypeSequence",
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRDiffusionSequence",
    "FrameVOILUTSequence",
    "MRImagingModifierSequence",
    "MRAveragesSequence",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log lines of pydicom, which quote values of tags; reading does not validate values."""
    logger = logging.getLogger("pydicom")
    disabled, mode = logger.disabled, settings.reading_validation_mode
    logger.disabled = True
    settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled, settings.reading_validation_mode = disabled, mode


def parse(content: bytes, file: DicomFile, pixels: bool) -> Dataset:
    """Dataset of a file, its transfer syntax in ``file_meta``.

    Args:
        content: the file.
        file: its name, for errors.
        pixels: read the pixels too.

    Raises:
        DataError: damaged, or deflated data beyond all measure.
    """
    try:
        start = dataset_start(content[:START]) or 0
        _check_items(content, file)
        stream = io.BytesIO(content)
        stream.seek(start)
        meta = _meta(stream)
        if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
            inflated = _inflate(content[stream.tell() :], file)
            dataset: Dataset = read_dataset(inflated, False, True, stop_when=None if pixels else _at_pixels)
            meta.TransferSyntaxUID = pydicom.uid.UID(EXPLICIT_LITTLE)
            dataset.file_meta = meta
            return dataset
        stream = io.BytesIO(content if start == USUAL else content[start:])
        dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=start != USUAL)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(UNSTATED[dataset.original_encoding])
        return dataset
    except MdcsrnError:
        raise
    except Exception as error:  # pydicom raises whatever the bytes provoke
        raise damaged(file, type(error).__name__) from error


def _meta(stream: io.BytesIO) -> pydicom.dataset.FileMetaDataset:
    """File meta group, maybe empty; the stream then stands at the dataset, still packed where it is deflated."""
    return pydicom.dataset.FileMetaDataset(read_dataset(stream, False, True, stop_when=_after_meta))


def _after_meta(tag: Any, _vr: Any, _length: Any) -> bool:
    return int(tag) >> 16 != 2


def _at_pixels(tag: Any, _vr: Any, _length: Any) -> bool:
    return int(tag) >= 0x7FE00008


def _inflate(packed: bytes, file: DicomFile) -> io.BytesIO:
    """Deflated dataset, within what an archive may unpack to (pydicom sets no limit)."""
    limit = min(MAX_FILE_BYTES, max(BOMB_BYTES, BOMB_RATIO * len(packed)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, limit)
    if inflater.unconsumed_tail:
        raise DataError(
            f"{file} is too large for a DICOM image", got=f"{len(packed)} bytes", allowed=f"{limit} bytes when inflated"
        )
    plain += inflater.flush(1 << 16)
    _check_items(plain, file)
    return io.BytesIO(plain)


def _check_items(content: bytes, file: DicomFile) -> None:
    """Refuse a file that is nothing but items of sequences: each costs pydicom 20 microseconds, and 8 bytes here."""
    count = max(content.count(mark) for mark in ITEMS)
    allowed = FEW_ITEMS + len(content) // BYTES_PER_ITEM
    if count > allowed:
        raise DataError(
            f"{file} has too many items of sequences for its size",
            got=count,
            allowed=allowed,
            remedy="export it again without the sequences that no image needs",
        )


def damaged(file: DicomFile, reason: str) -> DataError:
    """The error for bytes that make no sense."""
    return DataError(f"{file} is damaged, or no DICOM file", got=reason, remedy="copy or export it again")


class FrameTags:
    """Tags of one frame: its own functional groups first, then the shared ones, then the file's root.

    Args:
        dataset: of the file.
        index: number of the frame, from 0.
        file: for errors.
    """

    def __init__(self, dataset: Dataset, index: int, file: DicomFile) -> None:
        self.file = file
        self.places: list[Dataset] = []
        own = item(dataset, "PerFrameFunctionalGroupsSequence", index, file)
        shared = item(dataset, "SharedFunctionalGroupsSequence", 0, file)
        for groups in filter(None, (own, shared)):
            for name in GROUPS:
                place = item(groups, name, 0, file)
                self.places += [] if place is None else [place]
        self.places.append(dataset)

    def get(self, keyword: str) -> Any:
        """Value of a tag, None where it is missing or empty."""
        for place in self.places:
            value = get(place, keyword, self.file)
            if value is not None:
                return value
        return None

    def at(self, tag: int) -> Any:
        """Value of a tag of the file's root by its number, None where it is missing or cannot be decoded: private."""
        try:
            element = self.places[-1].get(tag)
            return None if element is None else element.value
        except Exception:  # pydicom converts values on first access, and nobody is bound to write private ones well
            return None

    def number(self, keyword: str) -> float | None:
        """Finite number, None where the tag is missing or empty; the first of several."""
        values = self.numbers(keyword)
        return values[0] if values else None

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...]:
        """Finite numbers, none where the tag is missing or empty.

        Raises:
            DataError: not numbers, not finite, or not `count` of them. The value is not quoted.
        """
        value = self.get(keyword)
        if value is None:
            return ()
        try:
            listed = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
            numbers = tuple(float(v) for v in listed)
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(self.file, f"{keyword} is no number") from error
        if not all(map(math.isfinite, numbers)) or (count is not None and len(numbers) != count):
            raise damaged(self.file, f"{keyword} does not hold {count or 'finite'} numbers")
        return numbers

    def required(self, keyword: str, count: int) -> tuple[float, ...]:
        """Numbers that an image must have."""
        numbers = self.numbers(keyword, count)
        if not numbers:
            raise DataError(
                f"{self.file} says not where its image lies",
                got=f"no {keyword}",
                remedy="export the original images, not a copy without geometry",
            )
        return numbers

    def words(self, keyword: str) -> tuple[str, ...]:
        """Text values, upper case, without blanks around them."""
        value = self.get(keyword)
        if value is None:
            return ()
        listed = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
        return tuple(str(v).strip().upper() for v in listed)

    def text(self, keyword: str) -> str:
        """First text value, or ""."""
        return (self.words(keyword) or ("",))[0]


def get(dataset: Dataset, keyword: str, file: DicomFile) -> Any:
    """Value of a tag, None where it is missing or empty.

    Raises:
        DataError: the value cannot be decoded.
    """
    try:
        value = dataset.get(keyword)
        empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
    except Exception as error:  # pydicom converts values on first access
        raise damaged(file, f"{keyword} cannot be decoded") from error
    return None if empty else value


def text_of(dataset: Dataset, keyword: str, file: DicomFile) -> str:
    """Text of a tag in one line, "" where it is missing or cannot be decoded; a backslash in it is no separator."""
    try:
        value = get(dataset, keyword, file)
    except DataError:
        return ""
    listed = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value or ""]
    return " ".join(" ".join(map(str, listed)).split())


def identity_of(dataset: Dataset, file: DicomFile) -> SeriesIdentity:
    """Which series of which study a file belongs to; what cannot be decoded counts as not there."""
    try:
        number: int | None = abs(int(text_of(dataset, "SeriesNumber", file)))
    except ValueError:
        number = None  # it only names the result
    study, uid = (text_of(dataset, keyword, file) for keyword in ("StudyInstanceUID", "SeriesInstanceUID"))
    return SeriesIdentity(study, uid, number, text_of(dataset, "SeriesDescription", file))


def sequence(dataset: Dataset, keyword: str, file: DicomFile) -> Sequence[Dataset]:
    """Items of a sequence, none where it is missing."""
    value = get(dataset, keyword, file)
    if value is None:
        return ()
    if not isinstance(value, pydicom.Sequence):
        raise damaged(file, f"{keyword} is no sequence")
    return value


def item(dataset: Dataset, keyword: str, index: int, file: DicomFile) -> Dataset | None:
    """One item of a sequence, None where there is no such item."""
    value = sequence(dataset, keyword, file)
    return value[index] if 0 <= index < len(value) else None
