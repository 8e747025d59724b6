"""Find which axis of a volume a network takes as its first, and the factor of a network that has one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.inference.planning.task import Task
from mdcsrn.networks.traits import Traits, traits_of

Order = tuple[int, int, int]
ORDERS: tuple[Order, ...] = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # each axis as the one across the planes


def axis_order(plan: Plan, network: nn.Module) -> Order:
    """Axes of the volume in the order in which a network takes them.

    A network that works plane by plane reads the planes whose axes the plan refines; any other takes the volume as it
    is.

    Args:
        plan: of a kind other than ``nothing``.
        network: of the catalogue.

    Raises:
        GeometryError: the plan's grids are not those of a network that reads the acquired matrix; both are named.
    """
    traits = traits_of(network)
    if traits.input_grid == "result":
        return ORDERS[0]
    for order in ORDERS if traits.planewise else ORDERS[:1]:
        if _fits(plan, turned(traits.scale, order)):
            return order
    raise GeometryError(
        f"{type(network).__name__} refines the acquired matrix by {_allowed(traits)}",
        got=f"acquired {plan.acquired_shape}, result {plan.shape}",
        remedy=f"--factor {' '.join(map(str, traits.scale))}",
    )


def own_task(task: Task, traits: Traits, shape: Sequence[int], spacing: Sequence[float]) -> Task:
    """The task where none was asked for and the network has a factor of its own: that factor, in the finest planes.

    Args:
        task: what is asked for.
        traits: of the network.
        shape: (D, H, W) of the scan; across the planes is an axis of one sample, or else the coarsest axis.
        spacing: voxel edge lengths of the scan, millimetres.

    Raises:
        ConfigError: the scan's own grid is asked for, which such a network cannot fill.
    """
    if traits.input_grid == "result" or task.kind not in ("detect", "same-grid"):
        return task
    if task.kind == "same-grid":
        raise ConfigError(
            f"the network refines the grid by {_allowed(traits)}", got="--same-grid", remedy="leave --same-grid out"
        )
    order = ORDERS[0]
    if traits.planewise:
        across = max(range(3), key=lambda axis: (shape[axis] == 1, round(float(spacing[axis]), 3), axis))
        order = ORDERS[across]
    d, h, w = turned(traits.scale, order)
    return replace(task, kind="factor", factor=(float(d), float(h), float(w)))


def turned(scale: Sequence[int], order: Order) -> tuple[int, int, int]:
    """A scale of the network's axes as one of the volume's.

    >>> turned((1, 2, 2), (2, 0, 1))
    (2, 2, 1)
    """
    d, h, w = (int(scale[order.index(axis)]) for axis in range(3))
    return d, h, w


def _fits(plan: Plan, scale: Sequence[int]) -> bool:
    # Of an even axis the unpaired sample is not measured: the matrix of the plan is then one smaller.
    return all(
        size % factor == 0 and 0 <= size // factor - acquired <= 1
        for size, factor, acquired in zip(plan.shape, scale, plan.acquired_shape, strict=True)
    )


def _allowed(traits: Traits) -> str:
    known = [turned(traits.scale, order) for order in (ORDERS if traits.planewise else ORDERS[:1])]
    return " or ".join(str(scale) for scale in dict.fromkeys(known))
