"""mDCSRN, the multi-level densely connected 3D super-resolution network.

Y. Chen, F. Shi, A. G. Christodoulou, Y. Xie, Z. Zhou, D. Li: Efficient and Accurate MRI Super-Resolution using a
Generative Adversarial Network and 3D Multi-Level Densely Connected Network, MICCAI 2018 (arXiv 1803.01417).

Our deviations: a global residual (`residual=True`, the published network has none), so that step 0 returns the input
and training starts at its quality; and an optional `space_to_depth` entry that runs the network on a coarser grid.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks.pixel_shuffle import from_cells, to_cells
from mdcsrn.networks.traits import Traits

# Symbolic tracing keeps calls of these as they are: their sizes are those of the volume at hand.
torch.fx.wrap("to_cells")
torch.fx.wrap("from_cells")


class DenseUnit(nn.Sequential):
    """BatchNorm, ELU, 3x3x3 convolution without bias: `channels` -> `growth`."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm3d(channels),
                elu=nn.ELU(inplace=False),
                conv=nn.Conv3d(channels, growth, 3, padding=1, bias=False),
            )
        )


class DenseBlock(nn.Module):
    """Units that each see the block's input and all earlier units; returns the input and every unit's output.

    Args:
        units: number of dense units.
        growth: channels that each unit adds; the block's input has twice as many.
    """

    def __init__(self, units: int, growth: int) -> None:
        super().__init__()
        for index in range(units):
            self.add_module(f"denselayer{index + 1}", DenseUnit((2 + index) * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2k, D, H, W) -> (N, (2 + units) k, D, H, W)."""
        for unit in self.children():
            x = torch.cat((x, unit(x)), dim=1)
        return x


class MDCSRN(nn.Module):
    """Generator: input and output are the same image on the **high-resolution grid**, (N, 1, D, H, W).

    conv0 makes 2k channels; every block's output is kept and concatenated with all before it; 1x1x1 compressors bring
    the concatenation back to 2k channels before the next block; a 1x1x1 reconstruction reads all of it. No convolution
    has a bias. With the default b4u4, k = 16: 411,648 parameters, receptive field 35 voxels (17 to each side).

    Args:
        blocks: densely connected blocks, >= 1.
        units: dense units in each block, >= 1.
        growth: growth rate k, channels that a unit adds, >= 1.
        residual: add the input to the output (`recon` starts at zero: step 0 is the identity). False: as published.
        space_to_depth: factor per axis (D, H, W), for example (1, 2, 2): pixel-unshuffle before the network,
            pixel-shuffle after it. Sizes that the factor does not divide are padded once at the far end.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = MDCSRN().eval()
    >>> sum(p.numel() for p in network.parameters()), network.margin
    (411648, (17, 17, 17))
    >>> low = torch.rand(1, 1, 8, 9, 10)
    >>> torch.equal(network(low), low)  # a residual that starts at zero
    True
    """

    def __init__(
        self,
        blocks: int = 4,
        units: int = 4,
        growth: int = 16,
        residual: bool = True,
        space_to_depth: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("blocks", blocks), ("units", units), ("growth", growth)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"MDCSRN: {name} is a whole number", got=value, allowed=">= 1")
        self.blocks, self.units, self.growth, self.residual = blocks, units, growth, bool(residual)
        self.space_to_depth = _factor(space_to_depth)
        channels = math.prod(self.space_to_depth or (1,))
        width, block_width = 2 * growth, (2 + units) * growth
        self.conv0 = nn.Conv3d(channels, width, 3, padding=1, bias=False)
        for index in range(blocks):
            self.add_module(f"block{index}", DenseBlock(units, growth))
        for index in range(blocks - 1):
            self.add_module(f"comp{index}", nn.Conv3d(width + (index + 1) * block_width, width, 1, bias=False))
        self.recon = nn.Conv3d(width + blocks * block_width, channels, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming-normal convolutions; with a residual the reconstruction starts at zero."""
        if self.recon.weight.is_meta:  # no memory to fill; and drawing on meta tensors imports the compiler
            return
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
        if self.residual:
            nn.init.zeros_(self.recon.weight)

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        factor = list(self.space_to_depth) if self.space_to_depth else None
        return {
            "blocks": self.blocks,
            "units": self.units,
            "growth": self.growth,
            "residual": self.residual,
            "space_to_depth": factor,
        }

    @property
    def traits(self) -> Traits:
        """What the network says of itself: it reads the result's grid."""
        return Traits(
            margin=self.margin,
            multiple=self.multiple,
            bytes_per_voxel=self.bytes_per_voxel,
            residual=self.residual,
        )

    @property
    def multiple(self) -> tuple[int, int, int]:
        """Tile origins must be multiples of this, per axis (D, H, W)."""
        return self.space_to_depth or (1, 1, 1)

    @property
    def margin(self) -> tuple[int, int, int]:
        """Voxels to each side that an output voxel depends on, per axis: 17 for b4u4, times the factor."""
        reach = self.blocks * self.units + 1
        first, second, third = self.multiple
        return reach * first, reach * second, reach * third

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input; what a tile is planned from.

        At the last concatenation its input, its output and a block's activations are alive together.
        """
        block_width = (2 + self.units) * self.growth
        collected = 2 * self.growth + self.blocks * block_width
        channels = 2 * collected + 2 * block_width
        return 4.0 * channels / math.prod(self.multiple) + 16

    def __prepare_scriptable__(self) -> nn.Module:
        """What ``torch.jit.script`` takes instead: the same modules with the loops over their names unrolled."""
        graph = torch.fx.Tracer().trace(self)
        for node in graph.nodes:
            node.type = None  # annotations of this file are text, which TorchScript cannot look up
        return torch.fx.GraphModule(self, graph)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            x: low-pass image on the high-resolution grid, shape (N, 1, D, H, W), any size >= 1.

        Returns:
            Restored image, same shape.
        """
        if self.space_to_depth is None:
            change = self.features(x)
        else:
            change = self.fold(self.features(self.unfold(x)), (x.size(2), x.size(3), x.size(4)))
        return x + change if self.residual else change

    def features(self, x: Tensor) -> Tensor:
        """The dense network itself, without the residual: (N, c, D, H, W) -> (N, c, D, H, W)."""
        collected = self.conv0(x)
        current = collected
        for index in range(self.blocks):
            if index:
                current = self.get_submodule(f"comp{index - 1}")(collected)
            collected = torch.cat((collected, self.get_submodule(f"block{index}")(current)), dim=1)
        return self.recon(collected)

    def unfold(self, x: Tensor) -> Tensor:
        """Pixel-unshuffle: each factor-sized cell of voxels becomes the channels of one; padded at the far end."""
        # Under symbolic tracing there is no tensor to look at.
        if isinstance(x, Tensor) and (x.ndim != 5 or x.shape[1] != 1):
            raise GeometryError("space_to_depth takes one channel", got=tuple(x.shape), allowed="(N, 1, D, H, W)")
        return to_cells(x, list(self.multiple))

    def fold(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Pixel-shuffle, the inverse of :meth:`unfold`, cropped to `shape`."""
        return from_cells(x, list(self.multiple), [shape[0], shape[1], shape[2]])


def _factor(value: Sequence[int] | None) -> tuple[int, int, int] | None:
    if value is None:
        return None
    factor = tuple(value)
    if len(factor) != 3 or any(isinstance(f, bool) or not isinstance(f, int) or f < 1 for f in factor):
        raise ConfigError("space_to_depth is three whole numbers, one per axis", got=value, allowed=">= 1")
    return None if factor == (1, 1, 1) else (factor[0], factor[1], factor[2])
