"""Estimate the cost of a prediction on this machine without running the network: rough, and cheap."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.inference.backends import candidates
from mdcsrn.inference.backends.select import PREFERENCE
from mdcsrn.inference.planning.axis_order import axis_order
from mdcsrn.inference.planning.prepare import Prepared, network_input, region_of
from mdcsrn.inference.running.memory import VOLUMES, budget, resident, slab_bytes
from mdcsrn.inference.running.slab_route import plan_route
from mdcsrn.inference.running.tiled import tiles_of
from mdcsrn.inference.running.tiled_runner import region_of_input
from mdcsrn.io.volume import Volume
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN, least_planes
from mdcsrn.networks.traits import traits_of

# Speed of the network over that of a matrix product in the same precision, measured on two cores with avx512_bf16.
EFFICIENCY = {
    ("openvino", "bfloat16"): 0.6,
    ("openvino", "float32"): 1.3,
    ("eager", "bfloat16"): 0.24,
    ("eager", "float32"): 0.29,
}
FIXED_SECONDS = 5.0  # start-up and compilation
SECONDS_PER_VOXEL = 2.5e-7  # reading, zero-filling, consistency, maps, compressing
PRODUCT = 1024  # edge of the matrices of the speed probe


@dataclass(frozen=True)
class Estimate:
    """Cost of one prediction; seconds within a factor of two or so.

    Attributes:
        memory_gib: of the whole process.
        seconds: of the whole command; None: a backend whose speed is not known here.
        backend: that is tried first.
        precision: that is tried first.
        region_share: of the result's voxels that lie in the head and are restored.
        computed_voxels: that the network computes on its own grid (of cells, with space-to-depth), margins included.
    """

    memory_gib: float
    seconds: float | None
    backend: str
    precision: str
    region_share: float
    computed_voxels: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def estimate(volume: Volume, prepared: Prepared, max_memory: float | None = None) -> Estimate | None:
    """Estimate time and memory of a prediction.

    Args:
        volume: the scan.
        prepared: its plan and the weights.
        max_memory: GiB for the whole process; None: as :func:`mdcsrn.inference.predict` takes it.

    Returns:
        The estimate; None where the plan does nothing.

    Raises:
        ConfigError: not even the smallest slab fits into the memory.
        DataError: the scan has no signal.
        GeometryError: the network refines by other factors.
    """
    plan, network = prepared.plan, prepared.model.network
    if plan.kind == "nothing":
        return None
    order = axis_order(plan, network)
    head = region_of(network_input(volume, plan).scaled)
    voxels = plan.shape[0] * plan.shape[1] * plan.shape[2]
    room = budget(voxels, max_memory)
    costs = (
        _of_slabs(network, head, room) if isinstance(network, MDCSRN) else _of_tiles(network, head.permute(order), room)
    )
    taken, computed, backend, precision = costs
    seconds = None
    if isinstance(network, MDCSRN) and (backend, precision) in EFFICIENCY:
        speed = EFFICIENCY[backend, precision] * product_speed(precision)
        seconds = FIXED_SECONDS + SECONDS_PER_VOXEL * voxels + computed * operations(network) / speed
    memory = resident() + VOLUMES * voxels + taken
    return Estimate(memory / 2**30, seconds, backend, precision, float(head.float().mean()), computed)


def _of_slabs(network: MDCSRN, head: Tensor, memory: float) -> tuple[float, int, str, str]:
    """Bytes of a slab, voxels computed, backend and precision of mDCSRN."""
    # Where the dense network works, which with space-to-depth is a coarser grid.
    region = functional.max_pool3d(head[None, None].float(), network.multiple, ceil_mode=True)[0, 0] > 0
    backend, precision = _first_choice()
    slab = SlabMDCSRN(network, least_planes(network))
    cost = partial(slab_bytes, slab, backend, precision)
    reach = network.blocks * network.units + 1
    route = plan_route(region, reach, memory, cost, slab.planes)
    taken = max(cost(route.planes, column.area) for column in route.columns)
    return taken, route.computed(reach), backend, precision


def _of_tiles(network: nn.Module, head: Tensor, memory: float) -> tuple[float, int, str, str]:
    """Bytes of the largest tile, voxels computed, backend and precision of any other network."""
    traits = traits_of(network)
    region = region_of_input(head, traits)
    tiles = tiles_of(region.shape, traits.margin, traits.multiple, int(max(memory, 0) / traits.bytes_per_voxel))
    sizes = [tile.voxels for tile in tiles if bool(region[tile.core].any())]
    return max(sizes) * traits.bytes_per_voxel, sum(sizes), "eager", "float32"


def operations(network: nn.Module) -> int:
    """Floating-point operations for one voxel of the dense network's own grid: two for each weight of a convolution."""
    return 2 * sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv3d))


def product_speed(precision: str) -> float:
    """Operations per second of a matrix product on the processor, the best of a few in a tenth of a second."""
    kind = torch.float32 if precision == "float32" else torch.bfloat16
    factors: list[Tensor] = [torch.ones((PRODUCT, PRODUCT), dtype=kind) for _ in range(2)]
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < 0.1 or best == float("inf"):
        begin = time.perf_counter()
        torch.matmul(*factors)
        best = min(best, time.perf_counter() - begin)
    return 2 * PRODUCT**3 / best


def _first_choice() -> tuple[str, str]:
    """Backend and precision that a prediction tries first; whether its error is small enough, only a run tells."""
    here = {backend.name: backend for backend in candidates() if backend.available() is None}
    for name, precision in PREFERENCE:
        if name in here and precision in here[name].precisions():
            return name, precision
    return "eager", "float32"  # which is everywhere
