"""Check that an image is a magnitude, which is all that the networks know: refuse it or warn where it is not."""

from __future__ import annotations

from mdcsrn.errors import DataError
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.image_type import MAGNITUDE, REFUSED
from mdcsrn.notices import Notice


def image_type_notices(facts: ScanFacts, name: str) -> tuple[Notice, ...]:
    """Warn of values that are no plain magnitude, and refuse those that certainly are none.

    Args:
        facts: of the scan; an unknown kind counts as a magnitude.
        name: of the scan, for the error.

    Returns:
        The warning ``not-a-magnitude-image`` for maps, ratios, projections and the like; else nothing.

    Raises:
        DataError: phase, real or imaginary part, velocity or field map.
    """
    kind = facts.image_type
    if kind in (None, MAGNITUDE):
        return ()
    if kind in REFUSED:
        raise DataError(
            f"{name} is not a magnitude image",
            got=kind,
            allowed="magnitude images: the network knows no others, and k-space of a wrapped phase means nothing",
            remedy="give the magnitude series of this acquisition (ImageType M, part-mag)",
        )
    text = f"{kind}; the network was trained on plain magnitude images"
    return (Notice("not-a-magnitude-image", text),)
