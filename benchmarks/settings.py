"""What every method is judged on: short scans, each a crop of k-space, and one scan of thick 2D slices."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from mdcsrn.kspace import DegradationSpec, degrade, project
from mdcsrn.transforms.rand_thick_slices import Slices, apply_slices

NOISE = 0.02  # of the 99.9th percentile, in each channel of k-space
BASE = {
    "2x2 (2,2,1)": (2.0, 2.0, 1.0), "2x2 (1,2,2)": (1.0, 2.0, 2.0), "5x5 (1,5,5)": (1.0, 5.0, 5.0),
    "isotropic x2 (2,2,2)": (2.0, 2.0, 2.0), "slab x4 (1,1,4)": (1.0, 1.0, 4.0),
}  # fmt: skip
IN_PLANE, THICK = "2x2", "thick slices x4 (1,1,4)"


@dataclass(frozen=True)
class Setting:
    """How the scan that is restored is made of the reference.

    Attributes:
        band: the k-space low-pass; with slices the band that their distance could hold, for figures by frequency.
        slices: thick 2D slices instead; they alias, and consistency is off, as in ``mdcsrn predict``.
    """

    band: DegradationSpec
    slices: Slices | None = None

    @property
    def is_linear(self) -> bool:
        """True where the share of the reference's noise that was measured is known: a noise-free low-pass."""
        return self.slices is None and self.band.is_linear

    def scan(self, reference: Tensor) -> Tensor:
        """The scan on the reference's grid, (D, H, W), same unit."""
        return degrade(reference, self.band) if self.slices is None else apply_slices(reference, self.slices)

    def consistent(self, result: Tensor, low: Tensor) -> Tensor:
        """The result with what was measured put back, where `mdcsrn predict` would."""
        return project(result, low, self.band) if self.slices is None else result

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return self.band.to_dict() | ({} if self.slices is None else {"slices": asdict(self.slices)})

    @property
    def sha256(self) -> str:
        """Hash of the plain values: what figures are remembered under."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


VARIANTS = {"": {}, f", noise {NOISE}": {"noise": NOISE}, ", Hamming": {"window": "hamming"}}
SETTINGS = {
    name + suffix: Setting(replace(DegradationSpec(reduction=reduction), **change))
    for suffix, change in VARIANTS.items()
    for name, reduction in BASE.items()
    if "window" not in change or name.startswith(IN_PLANE)
} | {THICK: Setting(DegradationSpec(reduction=(1.0, 1.0, 4.0)), Slices(axis=2, reduction=4.0))}
SPECIALIST = tuple(name for name in BASE if name.startswith(IN_PLANE))  # what the contestants are trained for
