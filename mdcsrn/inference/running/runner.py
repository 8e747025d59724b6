"""Choose what runs a network over a volume: slabs for mDCSRN, exact tiles for any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from mdcsrn.inference.planning.axis_order import Order
from mdcsrn.inference.planning.settings import RunSettings
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.inference.running.tiled_runner import TiledRunner
from mdcsrn.networks import MDCSRN


class VolumeRunner(Protocol):
    """Restores volumes with one network."""

    facts: dict[str, Any]

    def run(self, low: Tensor, region: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
        """Restore a zero-filled volume inside a region; see :meth:`SlabRunner.run`."""


def runner_for(network: nn.Module, settings: RunSettings, order: Order = (0, 1, 2)) -> VolumeRunner:
    """The runner of a network.

    Args:
        network: of the catalogue, in evaluation mode.
        settings: backend, precision, device and memory are used.
        order: axes of a volume in the order in which the network takes them; slabs choose their own.

    Raises:
        ConfigError: a setting that the runner does not have.
    """
    chosen = (settings.backend, settings.precision, settings.device, settings.max_memory)
    return SlabRunner(network, *chosen) if isinstance(network, MDCSRN) else TiledRunner(network, *chosen, order)
