"""Acquired matrix by a sidecar: a hint where the edge of an empty band may lie, never the proof."""

from __future__ import annotations

from collections.abc import Sequence

from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace.band import AxisBand

FULL = 0.95  # share from which an axis counts as acquired in full, as where an edge is looked for
EDGE_TOLERANCE = 0.03  # of the axis: how near the measured edge must be to the one that is said

Expected = tuple[int | None, int | None, int | None]


def expected_samples(facts: ScanFacts, shape: Sequence[int]) -> Expected:
    """Samples of each axis that were acquired, as dcm2niix took them from DICOM.

    Args:
        facts: what the sidecar says.
        shape: (D, H, W) of the volume. It may be cropped: the share of the reconstructed matrix counts.

    Returns:
        Of each array axis the samples, where fewer than all are said; None: nothing is said, or the axis is not known.
    """
    phase = _phase_axis(facts, shape)
    found: list[int | None] = [None, None, None]
    if phase is None:
        return None, None, None
    lines = _share(facts.phase_lines, facts.phase_matrix or shape[phase])
    halved = 0.5 if facts.interpolated else None  # scanners that interpolate in the plane do so by two
    shares = {phase: lines or halved}
    read = _read_axis(facts, phase)
    if read is not None:
        shares[read] = _share(facts.read_samples, shape[read]) or halved
    for axis, share in shares.items():
        found[axis] = None if share is None else round(share * shape[axis])
    return found[0], found[1], found[2]


def agreement(expected: Expected, bands: Sequence[AxisBand], shape: Sequence[int]) -> list[str]:
    """One sentence for each axis of which the sidecar says something: does the spectrum say the same?"""
    said = []
    for axis, (samples, band, n) in enumerate(zip(expected, bands, shape, strict=True)):
        if samples is None or not band.assessed:
            continue
        claim = f"axis {axis}: the sidecar says that about {samples} of {n} samples were acquired"
        if not band.empty:
            said.append(f"{claim}, but no edge shows there: all count as measured")
        elif abs(band.samples - samples) <= max(2, EDGE_TOLERANCE * n):
            said.append(f"{claim}, and the spectrum agrees")
        else:
            said.append(f"{claim}; the spectrum counts")
    return said


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and 0 < part < FULL * whole else None


def _phase_axis(facts: ScanFacts, shape: Sequence[int]) -> int | None:
    """The axis named, or, where its name got lost in a reorientation, the one axis of the reconstructed size."""
    if facts.phase_axis is not None:
        return facts.phase_axis
    same = [axis for axis, n in enumerate(shape) if n == facts.phase_matrix]
    return same[0] if len(same) == 1 else None


def _read_axis(facts: ScanFacts, phase: int) -> int | None:
    """The other axis of the plane; a 3D scan has two phase axes, and may have been turned to another orientation."""
    if facts.acquisition == "3D" or facts.phase_axis is None:
        return None
    slices = 2 if facts.slice_axis is None else facts.slice_axis
    return next((axis for axis in range(3) if axis not in (phase, slices)), None) if phase != slices else None
