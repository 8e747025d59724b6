"""Suggest a factor for a scan with no empty band, from its voxels and the weights' training range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mdcsrn.inference.planning.plan import Plan
from mdcsrn.inference.planning.trained_range import RANGE_TOLERANCE, TrainedRange

ISOTROPIC = 1.25  # largest over smallest voxel edge up to which a scan counts as isotropic
USUAL = 2.0  # factor of an isotropic scan
MIN_FACTOR = 1.2  # below, a finer grid is not worth its time
# Of weights that do not say what they have seen: on several axes, and on one.
MAX_FACTOR, MAX_FACTOR_ONE_AXIS = 4.0, 5.0
MAX_SUGGESTED_VOXELS = 2**29  # 2 GiB as float32: more is no suggestion


@dataclass(frozen=True)
class Suggestion:
    """One task to try instead.

    Attributes:
        factor: per array axis.
        why: in a few words, with the voxel edges that it leads to.
    """

    factor: tuple[float, float, float]
    why: str

    @property
    def option(self) -> str:
        """As the command line takes it."""
        return "--factor " + " ".join(f"{value:g}" for value in self.factor)


def suggest(plan: Plan, trained: TrainedRange | None) -> Suggestion | None:
    """A finer grid for a scan whose own grid is full.

    Thick axes go towards the finest one; an isotropic scan is refined on all axes, as far as the weights have seen
    voxels that small, else on two.

    Args:
        plan: of a prediction that does nothing.
        trained: of the weights.

    Returns:
        The suggestion; None where the plan does something, or no finer grid makes sense.
    """
    if plan.kind != "nothing" or plan.task.get("kind") not in ("detect", "same-grid"):
        return None
    spacing = plan.spacing
    free = [axis for axis, n in enumerate(plan.input_shape) if n > 1]
    if not free:
        return None
    finest = min(spacing[axis] for axis in free)
    thick = [axis for axis in free if spacing[axis] / finest > ISOTROPIC]
    factor = _thick(spacing, finest, thick, trained) if thick else _isotropic(spacing, free, trained)
    if math.prod(n * f for n, f in zip(plan.input_shape, factor, strict=True)) > MAX_SUGGESTED_VOXELS:
        return None
    edges = [edge / f for edge, f in zip(spacing, factor, strict=True)]
    size = " x ".join(f"{edge:.3g}" for edge in edges)
    beyond = ""
    if trained is not None and min(edges) < trained.spacing[0] * (1 - RANGE_TOLERANCE):
        beyond = f"; the model has seen {trained.spacing[0]:g} mm at the finest"
    which = f"axis {thick[0]} is thick" if len(thick) == 1 else "two axes are thick" if thick else "isotropic"
    return Suggestion(factor, f"{which}: voxels of {size} mm{beyond}")


def _thick(
    spacing: Sequence[float], finest: float, thick: Sequence[int], trained: TrainedRange | None
) -> tuple[float, float, float]:
    several = MAX_FACTOR if trained is None or trained.reduction is None else trained.reduction[1]
    single = MAX_FACTOR_ONE_AXIS if trained is None or trained.single_reduction is None else trained.single_reduction[1]
    most = max(single, several) if len(thick) == 1 else several
    a, b, c = (_round(min(spacing[axis] / finest, most)) if axis in thick else 1.0 for axis in range(3))
    return a, b, c


def _isotropic(
    spacing: Sequence[float], free: Sequence[int], trained: TrainedRange | None
) -> tuple[float, float, float]:
    within = USUAL if trained is None else min(USUAL, min(spacing[axis] for axis in free) / trained.spacing[0])
    if within >= MIN_FACTOR:
        a, b, c = (_round(within) if axis in free else 1.0 for axis in range(3))
        return a, b, c
    last = free[-2:]  # finer than the weights have seen: on two axes, at a quarter of the cost
    a, b, c = (USUAL if axis in last else 1.0 for axis in range(3))
    return a, b, c


def _round(factor: float) -> float:
    """Down to a tenth, for a line that can be read; a hair below counts as met."""
    return math.floor(factor * 10 + 0.05) / 10
