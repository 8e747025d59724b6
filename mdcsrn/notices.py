"""Warnings with a name, so that a program can act on them and a person can look them up."""

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
