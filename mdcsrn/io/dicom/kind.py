"""Classify a DICOM image's values by complex part, vendors' private words, ImageType, unit and series name."""

from __future__ import annotations

from typing import Any

from mdcsrn.io.dicom.header import FrameTags
from mdcsrn.io.image_type import COMPONENTS, LETTERS, MAGNITUDE, RESCALE_TYPES, kind_of_name, kind_of_words

GE_RAW_DATA_TYPE = 0x0043102F  # 0 magnitude, 1 phase, 2 real, 3 imaginary
GE_CREATOR = (0x00430010, "GEMS_PARM_01")
GE_KINDS = (MAGNITUDE, "phase", "real part", "imaginary part")
PHILIPS_IMAGE_TYPE = 0x20051011  # M, P, R, I, B0, ...
PHILIPS_CREATOR = (0x20050010, "PHILIPS MR IMAGING DD 001")


def kind_of_image(tags: FrameTags) -> str | None:
    """Kind of one image.

    Args:
        tags: of the image.

    Returns:
        See :mod:`mdcsrn.io.image_type`; None where the header does not say.
    """
    words = tags.words("FrameType") or tags.words("ImageType")
    component = COMPONENTS.get(tags.text("ComplexImageComponent"))
    kinds = (component, _of_ge(tags), _of_philips(tags), kind_of_words(words), kind_of_words(tags.words("ImageType")))
    found = [kind for kind in kinds if kind is not None]
    unit = RESCALE_TYPES.get(tags.text("RescaleType"))
    if unit is not None and not found:  # a word outweighs a unit, which exports leave where it was
        return unit
    if component == MAGNITUDE:  # the magnitude of a flow scan names the velocity that its phase encodes
        found = [kind for kind in found if kind != "velocity map"]
    other = next((kind for kind in found if kind != MAGNITUDE), None)
    name = kind_of_name(" ".join((tags.text("SeriesDescription"), tags.text("ProtocolName"))))
    return other or name or (MAGNITUDE if found else None)


def _of_ge(tags: FrameTags) -> str | None:
    value = _private(tags, GE_RAW_DATA_TYPE, GE_CREATOR)
    if isinstance(value, bytes):  # representation unknown: implicit little-endian
        value = int.from_bytes(value[:2], "little")
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return GE_KINDS[number] if 0 <= number < len(GE_KINDS) else None


def _of_philips(tags: FrameTags) -> str | None:
    value = _private(tags, PHILIPS_IMAGE_TYPE, PHILIPS_CREATOR)
    word = (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip().upper()
    return LETTERS.get(word) or kind_of_words(["", "", word])


def _private(tags: FrameTags, tag: int, creator: tuple[int, str]) -> Any:
    """Value of a private tag at its usual place, where its block is of that creator or of one that is not named."""
    owner = str(tags.at(creator[0]) or creator[1]).strip().upper()
    return tags.at(tag) if owner == creator[1] else None
