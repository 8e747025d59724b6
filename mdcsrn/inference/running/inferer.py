"""MONAI inferer that runs a network over a whole volume in tiles, with the result of one whole-volume pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference.running.tiled import run_tiles, tiles_of
from mdcsrn.inference.running.tiled_runner import input_of
from mdcsrn.kspace import align_samples, grid_affine
from mdcsrn.networks.precision import autocast, check_precision, resolve_precision

GIB = 1 << 30


class ExactTiledInferer(Inferer):
    """Tiles with margins of the receptive field: no seams, no blending, float32 result equal to the whole pass.

    Args:
        max_memory: GiB that one tile's activations may take; the tile is planned from it.
        core: edge lengths of a tile's core instead of a plan from memory, or None.
        margin: receptive field to each side; None: the network's own `margin`.
        precision: ``auto``, ``float32`` or ``bfloat16`` (autocast); ``auto`` is decided at the first volume, see
            :func:`mdcsrn.networks.precision.resolve_precision`.
        progress: show a progress bar.
        zero_filled: the volumes are zero-filled on the result's grid; a network that reads the acquired matrix gets
            of them every r-th sample. False: they are acquired, on the grid of :func:`mdcsrn.kspace.resample_grid`.
    """

    def __init__(
        self,
        max_memory: float = 4.0,
        core: Sequence[int] | None = None,
        margin: Sequence[int] | None = None,
        precision: str = "float32",
        progress: bool = False,
        zero_filled: bool = False,
    ) -> None:
        super().__init__()
        if not max_memory > 0:
            raise ConfigError("max_memory is in GiB", got=max_memory, allowed="> 0")
        self.max_memory, self.core, self.margin = max_memory, core, margin
        self.precision, self.progress, self.zero_filled = check_precision(precision), progress, zero_filled
        self._computed_in: str | None = None  # what `precision` came to, from the first volume on

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Run the network.

        Args:
            inputs: volumes, shape (N, C, D, H, W), any size.
            network: has :class:`mdcsrn.networks.Traits`, or `margin`, `multiple` and `bytes_per_voxel` of its own
                (else give `margin` and `core`).
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            float32 result, the input's spatial shape times the network's scale (the input's own where it is
            `zero_filled`), on the input's device; a MetaTensor keeps its metadata, with the affine of the result.

        Raises:
            GeometryError: no batch of volumes.
            ConfigError: other channels than the network's, or a network that does not say what it needs.
        """
        if inputs.ndim != 5:
            raise GeometryError(
                "inference takes a batch of volumes", got=tuple(inputs.shape), allowed="(N, C, D, H, W)"
            )
        traits = getattr(network, "traits", None)
        if traits is not None and inputs.shape[1] != traits.channels:
            raise ConfigError(
                f"the network {type(network).__name__} takes other channels than the volumes have",
                got=inputs.shape[1], allowed=traits.channels, remedy="take weights of as many channels",
            )  # fmt: skip
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        scale = (1, 1, 1) if traits is None else traits.scale
        margin = self._property(network, "margin", self.margin or getattr(traits, "margin", None))
        multiple = getattr(network if traits is None else traits, "multiple", (1, 1, 1))
        if traits is not None:
            plain = input_of(plain, traits) if self.zero_filled else align_samples(plain, scale)
        shape = plain.shape[-3:]
        tiles = tiles_of(shape, margin, multiple, None if self.core else self._max_voxels(plain, network), self.core)
        bar = tqdm(tiles, desc="super-resolution", unit="tile", disable=None if self.progress else True)
        result = run_tiles(plain, lambda tile: self._run(tile, network, args, kwargs), bar, scale)
        if not isinstance(inputs, MetaTensor):
            return result
        whole = MetaTensor(result, meta=inputs.meta)
        if result.shape[-3:] != inputs.shape[-3:]:
            whole.affine = grid_affine(inputs.affine, tuple(shape), tuple(result.shape[-3:])).to(inputs.affine)
        return whole

    def _run(self, tile: Tensor, network: Callable[..., Tensor], args: Any, kwargs: Any) -> Tensor:
        tile = tile.to(memory_format=torch.channels_last_3d)  # the faster layout; contiguous() leaves one channel as is
        if self._computed_in is None:
            self._computed_in = resolve_precision(self.precision, lambda x: network(x, *args, **kwargs), tile)
        with autocast(tile.device.type, self._computed_in):
            return network(tile, *args, **kwargs).float()

    def _max_voxels(self, inputs: Tensor, network: Callable[..., Tensor]) -> int:
        traits = getattr(network, "traits", None)
        per_voxel = self._property(network, "bytes_per_voxel", getattr(traits, "bytes_per_voxel", None))
        return int(self.max_memory * GIB / (per_voxel * inputs.shape[0]))

    @staticmethod
    def _property(network: Callable[..., Tensor], name: str, given: Any) -> Any:
        value = given if given is not None else getattr(network, name, None)
        if value is None:
            raise ConfigError(
                f"the network does not say its {name}",
                got=type(network).__name__,
                remedy="give the inferer 'margin' and 'core'",
            )
        return value
