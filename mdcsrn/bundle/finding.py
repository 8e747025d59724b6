"""What is wrong with a bundle: the rule that is broken, where, and in which words."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Finding:
    """One broken rule.

    Attributes:
        rule: its name, such as ``expression`` or ``zip-slip``; docs/bundle.md explains each.
        where: file of the bundle, with the place in it.
        text: what was found.
    """

    rule: str
    where: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)
