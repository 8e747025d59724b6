"""Recognise files that SPM and CAT12 made of scans: a prefix of one or two letters per step before the scan's name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mdcsrn.io.formats import image_stem

# c1 to c6 and p0 to p6 are tissues, y_ and iy_ deformations, m corrected, w warped, r resliced, s smoothed.
_STEPS = re.compile(r"(?:[aijmnruvwy]|s\d{0,2}|c[1-6]|p[0-6]|mean)+|(?:i?y|[ju])_")
_TISSUE = re.compile(r"[a-z]{0,3}[cp][0-6][a-z]")


def without_prefix(name: str) -> Iterator[str]:
    """What may be the scan's name in the name of a file that was made of it, from the shortest to the longest."""
    for place in range(len(name) - 2, 0, -1):
        if name[place].isalpha() and _STEPS.fullmatch(name[:place]):
            yield name[place:]


def made_of_others(images: Sequence[Path]) -> dict[Path, str]:
    """The images whose names are another's with such a prefix, beside it or in a folder below it, and why.

    A BIDS name behind a prefix needs no other file.
    """
    stems = {(image.parent, image_stem(image)) for image in images}
    found: dict[Path, str] = {}
    for image in images:
        for rest in without_prefix(image_stem(image)):
            if rest.startswith("sub-") or {(image.parent, rest), (image.parent.parent, rest)} & stems:
                found[image] = f"made of {rest}"
                break
    return found


def same_behind_prefixes(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of people that may be one behind such prefixes: `msub1` beside `sub1` or `c1sub1`.

    Args:
        names: in lower case.
    """
    made: dict[str, list[str]] = defaultdict(list)
    known = set(names)
    for name in sorted(known):
        for rest in without_prefix(name):
            if any(letter.isdigit() for letter in rest):
                made[rest].append(name)
    for rest, found in made.items():
        if rest in known:
            return rest, found[0]
        if len(found) > 1 and any(map(_TISSUE.match, found)):
            return found[0], found[1]
    return None
