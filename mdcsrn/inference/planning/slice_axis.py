"""Find the axis across 2D slices: there the slice profile was measured, not a k-space crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mdcsrn.errors import ConfigError
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.notices import Notice

THICK = 2.5  # millimetres
THICKER_THAN_PLANE = 2.0  # slice distance over the coarser in-plane spacing
COARSER = 1.2  # the same ratio from which the coarsest axis of a scan that is said to be 2D must be its slices'


@dataclass(frozen=True)
class SliceAxis:
    """What is known of 2D slices.

    Attributes:
        axis: array axis across the slices; None: a 3D scan, or not known.
        thickness: of a slice, in distances between slice centres.
        reasons: one sentence each.
        notices: warnings by name.
    """

    axis: int | None
    thickness: float = 1.0
    reasons: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()


def find_slice_axis(spacing: Sequence[float], facts: ScanFacts, asked: bool = False) -> SliceAxis:
    """Say whether a volume is a stack of 2D slices, and along which axis.

    Args:
        spacing: voxel edge lengths, millimetres per array axis.
        facts: what is known of the acquisition; "3D" settles it.
        asked: the caller named a slice profile, so there are slices.

    Returns:
        The axis and the thickness. Without facts an axis counts where its spacing is 2.5 mm or more, and twice that
        of the coarser other axis.

    Raises:
        ConfigError: `asked`, and no axis can be distinguished from the others.
    """
    if facts.acquisition == "3D" and not asked:
        return SliceAxis(None)
    coarsest = max(range(3), key=lambda axis: spacing[axis])
    ratio = spacing[coarsest] / max(edge for axis, edge in enumerate(spacing) if axis != coarsest)
    known = asked or facts.acquisition == "2D"
    if known:
        axis = facts.slice_axis if facts.slice_axis is not None else coarsest
        if facts.slice_axis is None and ratio < COARSER:
            if asked:
                raise ConfigError(
                    "a slice profile needs to know the slice axis",
                    got=" x ".join(f"{edge:.3g}" for edge in spacing) + " mm",
                    remedy="leave the slice profile out",
                )
            text = "the scan is 2D, and neither its file nor its spacing says along which axis its slices lie"
            return SliceAxis(None, notices=(Notice("slice-axis-unknown", text),))
        why = "as asked for" if asked else "2D, as its file says"
    elif spacing[coarsest] >= THICK and ratio >= THICKER_THAN_PLANE:
        axis, why = coarsest, f"{spacing[coarsest]:.3g} mm apart, {ratio:.2g} times the plane's spacing"
    else:
        return SliceAxis(None)
    thickness = (facts.slice_thickness or spacing[axis]) / spacing[axis]
    return SliceAxis(axis, thickness, (f"axis {axis}: slices ({why})",))
