"""Maps of the network's own share in a result: its spread over mirrored inputs, and the energy it added."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.kspace.measurement import Measurement, apply_matrices

DIMS = (-3, -2, -1)
WINDOW_MM = 2.0  # standard deviation of the invention map's Gaussian window
SAME = 1e-3  # relative; spacings and reductions this near count as equal


@dataclass(frozen=True)
class Symmetry:
    """A rearrangement of voxels: the axes are permuted first, then some are mirrored. Exact, no interpolation.

    Attributes:
        flips: axes (0, 1, 2 for D, H, W) that are mirrored.
        order: axis of the original that stands at each place.
    """

    flips: tuple[int, ...] = ()
    order: tuple[int, int, int] = (0, 1, 2)

    def apply(self, volume: Tensor) -> Tensor:
        """Rearrange a volume (..., D, H, W); contiguous."""
        lead = tuple(range(volume.ndim - 3))
        permuted = volume.permute(*lead, *(len(lead) + axis for axis in self.order))
        return permuted.flip([DIMS[axis] for axis in self.flips]).contiguous()

    def undo(self, volume: Tensor) -> Tensor:
        """Put a rearranged volume back."""
        lead = tuple(range(volume.ndim - 3))
        mirrored = volume.flip([DIMS[axis] for axis in self.flips])
        back = (len(lead) + self.order.index(axis) for axis in range(3))
        return mirrored.permute(*lead, *back).contiguous()

    def __str__(self) -> str:
        mirrored = "".join(map(str, self.flips)) or "none"
        return f"flips {mirrored}, axes {''.join(map(str, self.order))}"


FLIPS = tuple(Symmetry(f) for count in range(4) for f in itertools.combinations(range(3), count))  # identity first


def symmetries(plan: Plan, transposes: bool = False) -> tuple[Symmetry, ...]:
    """Rearrangements after which the input is as likely a scan as before: :data:`FLIPS`, identity first.

    Args:
        plan: of the prediction.
        transposes: also swap two axes that have the same size, spacing and reduction (twice the work).

    Returns:
        8 of them, or 16 where two axes are alike, or 48 where three are.
    """
    orders: list[tuple[int, int, int]] = [(0, 1, 2)]
    if transposes:
        orders = [(a, b, c) for a, b, c in itertools.permutations(range(3)) if _alike(plan, (a, b, c))]
    return tuple(Symmetry(flip.flips, order) for order in orders for flip in FLIPS)


def _alike(plan: Plan, order: Sequence[int]) -> bool:
    return all(
        plan.shape[old] == plan.shape[new]
        and math.isclose(plan.spacing[old], plan.spacing[new], rel_tol=SAME)
        and math.isclose(plan.reduction[old], plan.reduction[new], rel_tol=SAME)
        for new, old in enumerate(order)
    )


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Mean and spread over an ensemble.

    Attributes:
        mean: shape (D, H, W), consistent where the members are.
        spread: sample standard deviation, same shape and unit; zero for a single member.
        count: members.
    """

    mean: Tensor
    spread: Tensor
    count: int


def ensemble(
    run: Callable[..., Tensor],
    low: Tensor,
    members: Iterable[Symmetry],
    alongside: Sequence[Tensor] = (),
    measurement: Measurement | None = None,
    measured: Tensor | None = None,
    after: Callable[[int], None] | None = None,
) -> Ensemble:
    """Run a network on rearrangements of one input; mean and spread are summed as they come (Welford).

    A member is made consistent before it counts, so that the spread is that of what was not measured. The mean of
    consistent members is consistent; it is projected once more against the rounding of the sums.

    Args:
        run: ``run(volume, *alongside) -> volume``, all rearranged alike, shapes equal.
        low: network input, shape (D, H, W), real.
        members: rearrangements, at least one.
        alongside: further volumes of the same shape that `run` takes, such as the head region.
        measurement: what consistency binds; None: it is off.
        measured: its y; needed with `measurement`.
        after: called with the number of members done.

    Returns:
        Mean and spread; two volumes of memory besides one member.
    """
    if (measurement is None) != (measured is None):
        raise ConfigError("consistency needs the measurement and its values", got=(measurement, measured is not None))
    mean, squares, count = torch.zeros_like(low), torch.zeros_like(low), 0
    for member in members:
        result = member.undo(run(member.apply(low), *(member.apply(other) for other in alongside))).to(low.dtype)
        if measurement is not None and measured is not None:
            result = measurement.project(result, measured)
        count += 1
        result -= mean  # the deviation from the old mean
        mean += result / count
        squares += result.square_().mul_((count - 1) / count)
        if after is not None:
            after(count)
    if not count:
        raise ConfigError("an ensemble has at least one member", got=0)
    if measurement is not None and measured is not None:
        mean = measurement.project(mean, measured)
    return Ensemble(mean, squares.div_(max(count - 1, 1)).sqrt_(), count)


def invention(result: Tensor, plan: Plan, window_mm: float = WINDOW_MM) -> Tensor:
    r"""Local energy that lies outside the measured band: what the network added there, per voxel.

    :math:`\sqrt{G * (x - A^+ A x)^2}` with A the k-space crop to the acquired matrix and G a Gaussian window. The
    zero-filled input has none; the difference between result and input, which also holds what consistency undoes,
    is another thing.

    Args:
        result: shape (D, H, W), real, on the plan's grid.
        plan: of the prediction.
        window_mm: standard deviation of G, millimetres.

    Returns:
        Root mean square in the unit of `result`, >= 0, same shape and dtype.
    """
    energy = plan.band.outside(result.detach()).square_()
    windows = [_gaussian(n, window_mm / edge) for n, edge in zip(plan.shape, plan.spacing, strict=True)]
    return apply_matrices(energy, windows).clamp_(min=0).sqrt_()


def _gaussian(n: int, sigma: float) -> Tensor:
    """Gaussian window of an axis as a matrix (n, n), cut at the ends: outside the field of view nothing was added."""
    distance = torch.arange(n, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((distance[:, None] - distance) / sigma) ** 2)
    # The weight of a whole window is 1, so at an end, where a part of it lies outside, the sum is less.
    reach = math.ceil(5 * sigma)
    return weights / float(torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2).sum())
