"""Run any network of the catalogue over a whole volume within a memory budget, in exact tiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference.running.memory import budget
from mdcsrn.inference.running.tiled import run_tiles, scaled, tiles_of
from mdcsrn.kspace import decimate
from mdcsrn.networks.precision import autocast, resolve_precision
from mdcsrn.networks.traits import Traits, traits_of


@dataclass
class TiledRunner:
    """Runs one network with PyTorch, tile by tile; tiles without a voxel of the region are left out.

    Attributes:
        network: in evaluation mode, with traits.
        backend: ``auto`` or ``eager``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory: GiB for the whole process; None: see :func:`mdcsrn.inference.running.memory.budget`.
        order: axes of a volume in the order in which the network takes them, see
            :func:`mdcsrn.inference.planning.axis_order.axis_order`.
        facts: what was done, as plain values, after :meth:`run`.
    """

    network: nn.Module
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    max_memory: float | None = None
    order: tuple[int, int, int] = (0, 1, 2)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.backend not in ("auto", "eager"):
            name = type(self.network).__name__
            raise ConfigError(f"{name} runs with PyTorch alone", got=self.backend, allowed="auto, eager")
        if self.max_memory is not None and not self.max_memory > 0:
            raise ConfigError("max_memory is in GiB", got=self.max_memory, allowed="> 0")

    def run(self, low: Tensor, region: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
        """Restore a volume inside a region.

        Args:
            low: zero-filled volume on the result's grid, shape (D, H, W), float32, divided by its 99.9th percentile.
            region: boolean, same shape; outside it the result is `low`.
            progress: called with the share done; at last with 1.

        Returns:
            Restored volume, same shape, float32, on the CPU.

        Raises:
            ConfigError: the memory is too small for the smallest tile.
            GeometryError: the result's grid is no multiple of the network's scale.
        """
        start = time.perf_counter()
        traits, device = traits_of(self.network), self._device()
        low, region = low.permute(self.order), region.permute(self.order)
        given = input_of(low, traits)[None, None]
        room = budget(low.numel(), self.max_memory, device) / traits.bytes_per_voxel
        tiles = tiles_of(given.shape[-3:], traits.margin, traits.multiple, int(max(room, 0)))
        wanted = [tile for tile in tiles if bool(region[scaled(tile.core, traits.scale)].any())]
        with torch.inference_mode():
            network = self.network.to(device)
            chosen = resolve_precision(self.precision, network, given.to(device))
            done = 0

            def restore(tile: Tensor) -> Tensor:
                nonlocal done
                with autocast(device.type, chosen):
                    result = network(tile.to(device).to(memory_format=torch.channels_last_3d)).float().cpu()
                done += 1
                if progress is not None:
                    progress(done / len(wanted))
                return result

            whole = run_tiles(given, restore, wanted, traits.scale)[0, 0]
        computed = sum(tile.voxels for tile in wanted)
        self.facts = {
            "backend": "eager", "precision": chosen, "device": str(device), "threads": torch.get_num_threads(),
            "tiles": len(wanted), "computed_share": round(computed / given.numel(), 4),
            "region_share": round(float(region.float().mean()), 4),
            "network_s": round(time.perf_counter() - start, 3),
        }  # fmt: skip
        back = [self.order.index(axis) for axis in range(3)]
        return torch.where(region, whole, low).permute(back).contiguous()

    def _device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def input_of(low: Tensor, traits: Traits) -> Tensor:
    """The volume that a network reads: zero-filled, or the acquired matrix, its sample j at index r j of the result.

    Args:
        low: zero-filled volume on the result's grid, shape (..., D, H, W).
        traits: of the network.

    Raises:
        GeometryError: the result's grid is no multiple of the network's scale.
    """
    if traits.input_grid == "result":
        return low
    if any(size % factor for size, factor in zip(low.shape[-3:], traits.scale, strict=True)):
        raise GeometryError(
            "the result's grid is no multiple of the network's scale",
            got=f"grid {tuple(low.shape[-3:])}, scale {traits.scale}",
            remedy="ask for a factor that is the network's scale",
        )
    return decimate(low, traits.scale)


def region_of_input(region: Tensor, traits: Traits) -> Tensor:
    """A region of the result on the grid of the network's input: True where any of its voxels is."""
    if traits.scale == (1, 1, 1):
        return region
    return functional.max_pool3d(region[None, None].float(), traits.scale)[0, 0] > 0
