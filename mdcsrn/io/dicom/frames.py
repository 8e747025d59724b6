"""Split a DICOM file into images, single-frame or enhanced, each with its geometry and scaling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdcsrn.errors import DataError
from mdcsrn.io.dicom.header import FrameTags, damaged, sequence
from mdcsrn.io.dicom.kind import kind_of_image
from mdcsrn.io.dicom.padding import padding_of
from mdcsrn.io.dicom.series import DicomFile, Frame
from mdcsrn.io.image_type import MAGNITUDE

if TYPE_CHECKING:
    from pydicom import Dataset

SINGLE = "1.2.840.10008.5.1.4.1.1.4"  # MR Image Storage
ENHANCED = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")  # Enhanced MR; Legacy Converted Enhanced MR
MAX_FRAMES = 100_000
MAX_SIDE_VOXELS = 4096  # voxels; also bounds what a decoder may be told to allocate
COSINE_TOLERANCE = 1e-2  # of the length and the right angle of direction cosines, which are then made exact
# Tags that can tell stacks of one series apart, in the order in which a split is tried.
MARKS = (
    ("image type", ("FrameType", "ImageType")),
    ("echo", ("EchoNumbers", "EffectiveEchoTime", "EchoTime")),
    ("time point", ("TemporalPositionIndex", "TemporalPositionIdentifier")),
    ("stack", ("StackID",)),
    ("inversion time", ("InversionTimes", "InversionTime")),
    ("b value", ("DiffusionBValue",)),
    ("acquisition", ("FrameAcquisitionNumber", "AcquisitionNumber")),
    ("acquisition time", ("FrameAcquisitionDateTime", "AcquisitionTime")),
)


def frames_of(dataset: Dataset, file: DicomFile) -> list[Frame]:
    """Images of a file.

    Args:
        dataset: with or without pixels.
        file: that it came from.

    Returns:
        One frame of a single-frame file, all of an enhanced one.

    Raises:
        DataError: a tag that geometry or scaling needs is missing or makes no sense.
    """
    root = FrameTags(dataset, -1, file)
    sop_class = root.text("SOPClassUID")
    count = root.number("NumberOfFrames")
    count = 1.0 if count is None else count
    if sop_class == SINGLE and count != 1:
        raise DataError(f"{file} holds several frames of a kind that has one", got=f"{count:g} frames", allowed=1)
    if "MOSAIC" in root.words("ImageType"):
        raise DataError(
            f"{file} is a mosaic: many slices tiled in one image",
            remedy="convert it with dcm2niix, and give one volume of the result",
        )
    if sop_class in ENHANCED:
        described = len(sequence(dataset, "PerFrameFunctionalGroupsSequence", file))
        if not 1 <= count <= MAX_FRAMES or described != count:
            raise damaged(file, f"{count:g} frames, {described} of them described")
        if root.text("ConcatenationUID"):
            raise DataError(
                f"{file} is one part of an enhanced image in several files (a concatenation)",
                remedy="export it in one file, or as single-frame images",
            )
    return [_frame(FrameTags(dataset, index, file), index, sop_class) for index in range(int(count))]


def _frame(tags: FrameTags, index: int, sop_class: str) -> Frame:
    rows, columns = (_side(tags, keyword) for keyword in ("Rows", "Columns"))
    cosines = tags.required("ImageOrientationPatient", 6)
    x, y, z = tags.required("ImagePositionPatient", 3)
    between_rows, between_columns = tags.required("PixelSpacing", 2)
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if slope == 0:
        raise damaged(tags.file, "RescaleSlope is 0")
    single = sop_class == SINGLE
    kind = kind_of_image(tags)
    instance = tags.number("InstanceNumber") if single else None
    return Frame(
        file=tags.file,
        index=index,
        instance=index + 1 if instance is None else int(instance),
        sop_class=sop_class,
        sop_uid=str(tags.get("SOPInstanceUID") or ""),
        shape=(rows, columns),
        orientation=_orthonormal(cosines, tags.file),
        position=(x, y, z),
        spacing=(between_rows, between_columns),
        thickness=_positive(tags.number("SliceThickness")),
        gap=_positive(tags.number("SpacingBetweenSlices")),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        kind=kind,
        padding=padding_of(tags),
        marks=(("kind", kind or MAGNITUDE), *((name, _mark(tags, keywords)) for name, keywords in MARKS)),
    )


def _side(tags: FrameTags, keyword: str) -> int:
    side = tags.number(keyword)
    if side is None or not 1 <= side <= MAX_SIDE_VOXELS or side != int(side):
        raise damaged(tags.file, f"{keyword} {'is missing' if side is None else f'is {side:g}'}")
    return int(side)


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _mark(tags: FrameTags, keywords: tuple[str, ...]) -> str:
    for keyword in keywords:
        words = tags.words(keyword)
        if words:
            # NORM, DIS2D and the like come and go within a stack; what the pixels are (M, P, R, I, ...) does not.
            return "\\".join(words[:4] if keyword in ("FrameType", "ImageType") else words)
    return ""


def _orthonormal(cosines: tuple[float, ...], file: DicomFile) -> tuple[float, ...]:
    """Direction cosines with the rounding of their decimals removed: unit length, right angle."""
    a, b = cosines[:3], cosines[3:]
    lengths = math.hypot(*a), math.hypot(*b)
    if max(abs(length - 1) for length in lengths) > COSINE_TOLERANCE:
        raise damaged(file, "ImageOrientationPatient holds no unit vectors")
    a, b = tuple(v / lengths[0] for v in a), tuple(v / lengths[1] for v in b)
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    if abs(dot) > COSINE_TOLERANCE:
        raise damaged(file, "ImageOrientationPatient holds no perpendicular vectors")
    b = tuple(q - dot * p for p, q in zip(a, b, strict=True))
    length = math.hypot(*b)
    return (*a, *(v / length for v in b))
