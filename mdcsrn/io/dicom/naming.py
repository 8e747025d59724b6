"""Number and description of derived series: the source's with a suffix, each distinct within its study."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mdcsrn.errors import ConfigError
from mdcsrn.io.dicom.series import SeriesIdentity

SUFFIX = "_SR"
WITHOUT = "super-resolution"  # where the source has no description
MAX_DESCRIPTION_CHARACTERS = 64  # characters of a description, not bytes (PS3.5, value representation LO)
MAX_INTEGER_STRING = (1 << 31) - 1  # of an integer string


@dataclass(frozen=True)
class SeriesLabel:
    """SeriesNumber and SeriesDescription of a derived series."""

    number: int
    description: str


def label_of(source: SeriesIdentity, number: int | None = None, description: str | None = None) -> SeriesLabel:
    """Label of one derived series.

    Args:
        source: what it is derived from.
        number: asked for; None: 100 times the source's, plus 1.
        description: asked for; None: the source's with ``_SR``, cut to 64 characters as a whole.

    Raises:
        ConfigError: a number or a description that DICOM does not allow.
    """
    return labels_of([source], number, description)[0]


def labels_of(
    sources: Sequence[SeriesIdentity], number: int | None = None, description: str | None = None
) -> list[SeriesLabel]:
    """Labels of series that are derived in one run, in the order of their sources.

    Within a study no two have one number or one description, and no number is that of a source: the next free number
    is taken, and ``_SR2``, ``_SR3`` follow ``_SR``. With a number or a description that was asked for, they count on
    from it.

    Args:
        sources: what each is derived from; the parts of a split series share an identity.
        number: asked for, for the first one of a study.
        description: asked for, likewise.

    Raises:
        ConfigError: a number or a description that DICOM does not allow.
    """
    _check(number, description)
    theirs = {(source.study, source.number) for source in sources}
    ours: set[tuple[str, int]] = set()
    texts: set[tuple[str, str]] = set()
    labels = []
    for source in sources:
        chosen = _first_number(source.number) if number is None else number
        taken = ours if number == chosen else ours | theirs  # the very number that was asked for is given once
        while (source.study, chosen) in taken:
            chosen, taken = chosen + 1 if chosen < MAX_INTEGER_STRING else 1, ours | theirs
        ours.add((source.study, chosen))
        count, text = 1, _text(source, description, 1)
        while (source.study, text) in texts:
            count += 1
            text = _text(source, description, count)
        texts.add((source.study, text))
        labels.append(SeriesLabel(chosen, text))
    return labels


def _first_number(number: int | None) -> int:
    return min(abs(number or 0), MAX_INTEGER_STRING // 100 - 1) * 100 + 1


def _text(source: SeriesIdentity, asked: str | None, count: int) -> str:
    tail = "" if count == 1 else str(count)
    if asked is not None:
        return _cut(asked, MAX_DESCRIPTION_CHARACTERS - len(tail) - bool(tail)) + (f" {tail}" if tail else "")
    if not source.description:
        return f"{WITHOUT} {tail}".rstrip()
    return _cut(source.description, MAX_DESCRIPTION_CHARACTERS - len(SUFFIX + tail)) + SUFFIX + tail


def _cut(text: str, length: int) -> str:
    """The first characters of a text; no letter loses its accent, no picture its other half."""
    if len(text) <= length:
        return text
    while length > 0 and (unicodedata.combining(text[length]) or "\u200d" in text[length - 1 : length + 1]):
        length -= 1
    return text[:length].rstrip()


def _check(number: int | None, description: str | None) -> None:
    if number is not None and not 0 <= number <= MAX_INTEGER_STRING:
        raise ConfigError("SeriesNumber out of range", got=number, allowed=f"0 to {MAX_INTEGER_STRING}")
    if description is None:
        return
    if not 1 <= len(description.strip()) <= MAX_DESCRIPTION_CHARACTERS:
        raise ConfigError("SeriesDescription has 1 to 64 characters", got=len(description.strip()))
    if "\\" in description or not description.isprintable():
        raise ConfigError("SeriesDescription holds neither a backslash nor control characters")
