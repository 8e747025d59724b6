"""Named warnings, for programs to act on and people to look up, and text as a terminal can show it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mdcsrn.errors import RefusedError


@dataclass(frozen=True)
class Notice:
    """One warning.

    Attributes:
        name: fixed, lower case with hyphens, such as ``spacing-outside-trained-range``.
        text: one sentence with the value and the range.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def refuse(notices: Iterable[Notice]) -> None:
    """Raise RefusedError that lists the notices; nothing happens where there is none."""
    listed = list(notices)
    if listed:
        raise RefusedError(
            "refused, since warnings count as errors (strict)",
            got="; ".join(map(str, listed)),
            remedy="leave strict out to go on with these warnings",
        )


def printable(text: str) -> str:
    """`text` without control characters, which a file's name may hold: escaped as in Python source."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
