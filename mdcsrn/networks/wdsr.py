"""WDSR-A, super-resolution with wide activations, plane by plane or in three dimensions.

J. Yu, Y. Fan, J. Yang, N. Xu, Z. Wang, X. Wang, T. Huang: Wide Activation for Efficient and Accurate Image
Super-Resolution, 2018 (arXiv 1808.08718); start values as in the authors' code of 2019.

Our deviations: one channel by default, and no subtraction of the mean colour; a global residual (`residual=True`, the
published network has none beside its 5x5 skip), so that step 0 is cubic interpolation; pixel-shuffles start without a
checkerboard; in three dimensions no upsampler: the network then reads the zero-filled volume. The input is never
changed in place.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.networks.planewise import PlaneWise
from mdcsrn.networks.subpixel import check_counts, check_grid_arguments, icnr_, refining_traits
from mdcsrn.networks.traits import Traits
from mdcsrn.networks.weight_norm import start_filters


class Filters:
    """Convolutions of one kind: planes or volumes, with bias and weight normalisation or without."""

    def __init__(self, dims: int, bias: bool, weight_norm: bool) -> None:
        self.conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.bias, self.weight_norm = bias, weight_norm

    def __call__(self, before: int, after: int, edge: int, start: float, scale: int = 1) -> nn.Module:
        """A convolution of `edge` samples to a side whose filters have the norm `start`, equal within r^d cells."""
        conv = self.conv(before, after, edge, padding=edge // 2, bias=self.bias)
        if scale > 1:
            icnr_(conv, scale)
        return start_filters(conv, start, self.weight_norm)


class WideBlock(nn.Module):
    """x + conv(ReLU(conv(x))) with `expansion` times as many features inside."""

    def __init__(self, filters: Filters, width: int, expansion: int, start: float) -> None:
        super().__init__()
        self.wide = filters(width, expansion * width, 3, start=2.0)
        self.narrow = filters(expansion * width, width, 3, start=start)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.narrow(self.relu(self.wide(x)))


class WDSRLayers(nn.Module):
    """The layers of WDSR-A: (N, C, H, W) -> (N, C, r H, r W), or in three dimensions (N, C, D, H, W) -> the same.

    Args:
        filters: makes the convolutions.
        scale: factor r.
        channels: of input and output.
        width: features between blocks.
        expansion: features inside of a block over `width`.
        blocks: residual blocks.
        output: norm of the filters that make the output at the start.
    """

    def __init__(
        self, filters: Filters, scale: int, channels: int, width: int, expansion: int, blocks: int, output: float
    ) -> None:
        super().__init__()
        start, values = 1 / math.sqrt(blocks), channels * scale**2
        self.head = filters(channels, width, 3, start=1.0)
        self.body = nn.Sequential(*(WideBlock(filters, width, expansion, start) for _ in range(blocks)))
        self.tail = filters(width, values, 3, output, scale)
        self.skip = filters(channels, values, 5, output, scale)
        self.shuffle = nn.PixelShuffle(scale) if scale > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Refine planes, or change volumes."""
        return self.shuffle(self.tail(self.body(self.head(x))) + self.skip(x))


class WDSR(nn.Module):
    """(N, C, D, H, W) -> (N, C, D, r H, r W) from acquired planes; in three dimensions on the result's grid.

    3x3 convolution to `width` features; blocks that widen them by `expansion` before the ReLU; 3x3 convolution to r^2
    values, a 5x5 convolution of the input added; pixel-shuffle. Linear output, unbounded, not clipped. For three
    channels and x4 the default has 3,571,824 parameters, 3,557,232 without bias and weight normalisation; the small one
    of the paper is `width=32, expansion=4, blocks=16`. It trains at a rate ten times that of EDSR (1e-3).

    Args:
        scale: factor r of the last two axes: 2, 3, 4 or 8, or 1 for the result's grid. None: 4 in two dimensions, 1 in
            three, which have no upsampler.
        channels: of input and output, 1 for scans, 3 for colour.
        width: features between blocks, >= 1.
        expansion: features inside of a block over `width`, >= 1.
        blocks: residual blocks, >= 1.
        bias: of every convolution.
        weight_norm: of every convolution, see :func:`mdcsrn.networks.fold_weight_norm`. The filters start with norm 2
            where a block widens and 1 / sqrt(blocks) where it narrows, with or without.
        residual: add the cubic interpolation of the input (for scale 1 the input itself) to the output; the two
            convolutions that make the output start at zero, so that step 0 is that interpolation. False: as published.
        dims: 2 (plane by plane) or 3.

    Raises:
        ConfigError: an argument is out of range.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = WDSR(scale=3, width=8, expansion=2, blocks=2)
    >>> network(torch.rand(1, 1, 3, 10, 12)).shape
    torch.Size([1, 1, 3, 30, 36])
    >>> network.traits.scale, network.traits.input_grid, network.traits.margin
    ((1, 3, 3), 'acquired', (0, 6, 6))
    """

    __jit_unused_properties__ = ["architecture", "traits"]

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        scale: int | None = None,
        channels: int = 1,
        width: int = 32,
        expansion: int = 6,
        blocks: int = 32,
        bias: bool = True,
        weight_norm: bool = True,
        residual: bool = True,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.scale = check_grid_arguments("WDSR", scale, dims, default=4)
        check_counts("WDSR", {"channels": channels, "width": width, "expansion": expansion, "blocks": blocks})
        self.channels, self.width, self.expansion, self.blocks, self.dims = channels, width, expansion, blocks, dims
        self.bias, self.weight_norm, self.residual = bool(bias), bool(weight_norm), bool(residual)
        filters, output = Filters(dims, self.bias, self.weight_norm), 0.0 if self.residual else 1.0
        layers = WDSRLayers(filters, self.scale, channels, width, expansion, blocks, output)
        self.layers = PlaneWise(layers) if dims == 2 else layers
        self.interpolate = CubicUpsample(self.scale)

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "scale": self.scale,
            "channels": self.channels,
            "width": self.width,
            "expansion": self.expansion,
            "blocks": self.blocks,
            "bias": self.bias,
            "weight_norm": self.weight_norm,
            "residual": self.residual,
            "dims": self.dims,
        }

    @property
    def traits(self) -> Traits:
        """Planes of the acquired matrix, refined by `scale`; or, for scale 1, the result's grid."""
        return refining_traits(
            self.scale, self.channels, 2 + 2 * self.blocks, self.dims, self.bytes_per_voxel, self.residual
        )

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input.

        In a block its input, its change and both sides of the ReLU are alive; around the pixel-shuffle a few results.
        """
        return 4.0 * (3 + 2 * self.expansion) * self.width + 24 * self.channels * self.scale**2

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            x: acquired planes, shape (N, C, D, H, W), any size >= 1; for scale 1 zero-filled, on the result's grid.

        Returns:
            Restored image, shape (N, C, D, r H, r W).
        """
        change = self.layers(x)
        return self.interpolate(x) + change if self.residual else change
