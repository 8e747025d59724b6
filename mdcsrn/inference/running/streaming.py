"""Stream a volume through an mDCSRN slab by slab: the result of one whole-volume pass, nothing computed twice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mdcsrn.inference.backends.base import Runner, Tensors
from mdcsrn.inference.running.slab_route import Column, Route, steps
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN

# Prepares a slab network for arguments of certain shapes: `compile(slab, example, small)`.
Compile = Callable[[SlabMDCSRN, Tensors, Tensors], Runner]
SMALL = 8  # voxels: edge of the planes that a network's operations are recorded with


def stream(
    volume: Tensor, network: MDCSRN, route: Route, compile: Compile, progress: Callable[[int], None] | None = None
) -> Tensor:
    """The network's output over a route, without the global residual.

    Args:
        volume: what the dense network reads, shape (c, D, H, W) (space-to-depth done), float32.
        network: in evaluation mode.
        route: from :func:`mdcsrn.inference.running.slab_route.plan_route` with the network's reach as its margin.
        compile: makes a runner for one shape of plane.
        progress: called after each slab with the number of voxels it computed.

    Returns:
        float32, shape (c, D, H, W); zero outside the route's kept parts.
    """
    slab = SlabMDCSRN(network, route.planes, route.axis)
    turned = volume.movedim(1 + route.axis, 1)
    result = torch.zeros_like(turned, memory_format=torch.contiguous_format)
    runners: dict[tuple[int, int], Runner] = {}
    for column in route.columns:
        (top, bottom), (left, right) = column.read[1:]
        plane = (bottom - top, right - left)
        if plane not in runners:
            runners.clear()  # one at a time: each holds its buffers
            runners[plane] = compile(slab, example_of(slab, *plane), example_of(slab, SMALL, SMALL))
        _run_column(turned, result, column, slab, runners[plane], progress)
    return result.movedim(1, 1 + route.axis)


def example_of(slab: SlabMDCSRN, height: int, width: int) -> Tensors:
    """Arguments of a slab network at the start of a column: all zero."""
    x = torch.zeros(1, slab.channels, slab.planes, height, width)
    valid = torch.zeros(1, 1, slab.context + slab.planes, 1, 1)
    return (x, valid, *(torch.zeros(shape) for shape in slab.state_shapes(height, width)))


def slab_at(column: Tensor, slab: SlabMDCSRN, first: int, stop: int) -> tuple[Tensor, Tensor]:
    """The next planes of a column, and which of those that the network looks at exist.

    Args:
        column: all planes of a volume within the column, shape (c, D, h, w).
        slab: the network.
        first: plane that the slab begins with; may lie outside the volume.
        stop: plane from which on nothing is read.

    Returns:
        Planes [first, first + P), zero from `stop` on, shape (1, c, P, h, w), and `valid` of the network's call.
    """
    planes = slab.planes
    new = column.new_zeros(1, slab.channels, planes, *column.shape[2:])
    last = min(first + planes, stop)
    if last > first:
        new[0, :, : last - first] = column[:, first:last]
    position = torch.arange(first - slab.context, first + planes)
    valid = ((position >= 0) & (position < column.shape[1])).to(torch.float32)
    return new, valid.view(1, 1, -1, 1, 1)


def _run_column(
    volume: Tensor,
    result: Tensor,
    column: Column,
    slab: SlabMDCSRN,
    run: Runner,
    progress: Callable[[int], None] | None,
) -> None:
    """Run through one column and write its kept part."""
    planes, margin = slab.planes, slab.lags[-1]
    (start, stop), (top, bottom), (left, right) = column.read
    source = volume[:, :, top:bottom, left:right]
    _, _, *state = example_of(slab, bottom - top, right - left)
    for index in range(steps(column, planes, margin)):
        first = start + index * planes
        new, valid = slab_at(source, slab, first, stop)
        shares, *state = run((new, valid, *state))
        for block, lag in enumerate(slab.lags):
            share = shares[0, block * slab.channels : (block + 1) * slab.channels]
            _add(result, share, (first - lag, top, left), column)
        if progress is not None:
            progress(planes * column.area)


def _add(result: Tensor, share: Tensor, origin: tuple[int, int, int], column: Column) -> None:
    """Add what of a share (c, P, H, W) lies in the column's kept part; `origin` is where its first voxel lies."""
    spans = [
        (max(low, at), min(high, at + size))
        for (low, high), at, size in zip(column.kept, origin, share.shape[1:], strict=True)
    ]
    if all(high > low for low, high in spans):
        a, b, c = (slice(low, high) for low, high in spans)
        d, e, f = (slice(low - at, high - at) for (low, high), at in zip(spans, origin, strict=True))
        result[:, a, b, c] += share[:, d, e, f].to(result)
