"""Finding of a bundle check: the rule that is broken, or what could not be judged, with its place and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["passes", "not judged", "refused"]
# What is outside of the lists may be harmless: nobody has looked at it. All other rules refuse.
NOT_JUDGED = frozenset({"argument", "encoding", "expression", "import", "key", "macro", "target", "word"})


@dataclass(frozen=True)
class Finding:
    """One broken rule, or one thing that is not judged.

    Attributes:
        rule: its name, such as ``expression`` or ``zip-slip``; docs/bundle.md explains each.
        where: file of the bundle, with the place in it.
        text: what was found.
    """

    rule: str
    where: str
    text: str

    @property
    def verdict(self) -> Verdict:
        """``refused`` or ``not judged``."""
        return "not judged" if self.rule in NOT_JUDGED else "refused"

    def to_dict(self) -> dict[str, str]:
        """Plain values."""
        return {**asdict(self), "verdict": self.verdict}


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Of a whole bundle: it passes only without a finding."""
    if not findings:
        return "passes"
    return "refused" if any(finding.verdict == "refused" for finding in findings) else "not judged"
