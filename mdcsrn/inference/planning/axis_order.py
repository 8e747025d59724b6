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
    for order in _orders(traits):
        if _fits(plan, turned(traits.scale, order)):
            return order
    raise GeometryError(
        f"{type(network).__name__} refines the acquired matrix by {_allowed(traits)}",
        got=f"acquired {plan.acquired_shape}, result {plan.shape}",
        remedy=f"--factor {' '.join(map(str, traits.scale))}",
    )


def own_tasks(task: Task, traits: Traits, shape: Sequence[int], spacing: Sequence[float]) -> list[Task]:
    """What may be meant where nothing was asked for and the network has a factor of its own, the likeliest first.

    A plane whose axis was interpolated by the scanner has no acquired matrix that the factor fits, so the first is not
    always possible.

    Args:
        task: what is asked for.
        traits: of the network.
        shape: (D, H, W) of the scan.
        spacing: voxel edge lengths of the scan, millimetres.

    Returns:
        `task` alone, or that factor for each choice of planes: across an axis of one sample, or else the coarsest axis
        first, of equal ones the last.

    Raises:
        ConfigError: the scan's own grid is asked for, which such a network cannot fill.
    """
    if traits.input_grid == "result" or task.kind not in ("detect", "same-grid"):
        return [task]
    if task.kind == "same-grid":
        raise ConfigError(
            f"the network refines the grid by {_allowed(traits)}", got="--same-grid", remedy="leave --same-grid out"
        )
    axes = [0]
    if traits.planewise:
        axes = sorted(range(3), key=lambda axis: (shape[axis] == 1, round(float(spacing[axis]), 3), axis), reverse=True)
        axes = axes[:1] if 1 in shape else axes
    scales = [turned(traits.scale, ORDERS[across]) for across in axes]
    return [replace(task, kind="factor", factor=(float(d), float(h), float(w))) for d, h, w in scales]


def check_factor(traits: Traits, factor: Sequence[float], name: str) -> None:
    """Refuse a factor that is not the network's own, before any work.

    Args:
        traits: of the network; one that reads the result's grid takes any factor.
        factor: finer by this along each axis (D, H, W) of the volume.
        name: of the network's bundle or file, for the message.

    Raises:
        ConfigError: another factor than the network's.

    >>> planes = Traits(scale=(1, 4, 4), input_grid="acquired", margin=(0, 5, 5))
    >>> check_factor(planes, (4, 1, 4), "the bundle")
    >>> check_factor(planes, (1, 2, 2), "the bundle")
    Traceback (most recent call last):
    mdcsrn.errors.ConfigError: the bundle has a factor of its own, and another is asked for | got: (1, 2, 2) | ...
    """
    if traits.input_grid == "acquired" and tuple(factor) not in [turned(traits.scale, o) for o in _orders(traits)]:
        raise ConfigError(
            f"{name} has a factor of its own, and another is asked for",
            got=f"({', '.join(f'{r:g}' for r in factor)})", allowed=_allowed(traits),
            remedy=f"leave {name} out, or ask for its factor",
        )  # fmt: skip


def turned(scale: Sequence[int], order: Order) -> tuple[int, int, int]:
    """A scale of the network's axes as one of the volume's.

    >>> turned((1, 2, 2), (2, 0, 1))
    (2, 2, 1)
    """
    d, h, w = (int(scale[order.index(axis)]) for axis in range(3))
    return d, h, w


def _orders(traits: Traits) -> tuple[Order, ...]:
    """The ways in which a network can take a volume: plane by plane along any pair of axes, or as it is."""
    return ORDERS if traits.planewise else ORDERS[:1]


def _fits(plan: Plan, scale: Sequence[int]) -> bool:
    # An axis that keeps the scan's grid is read as it is, whatever was measured of it. Of an even axis the unpaired
    # sample is not measured: the matrix of the plan is then one smaller.
    return all(
        (factor == 1 and size == given) or (size % factor == 0 and 0 <= size // factor - acquired <= 1)
        for size, given, factor, acquired in zip(plan.shape, plan.input_shape, scale, plan.acquired_shape, strict=True)
    )


def _allowed(traits: Traits) -> str:
    known = [turned(traits.scale, order) for order in _orders(traits)]
    return " or ".join(str(scale) for scale in dict.fromkeys(known))
