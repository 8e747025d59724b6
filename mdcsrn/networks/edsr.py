"""EDSR, the enhanced deep residual network for single-image super-resolution, plane by plane or in three dimensions.

B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR
Workshops 2017 (arXiv 1707.02921).

Our deviations: one channel by default, and no subtraction of the mean colour; a global residual (`residual=True`, the
published network has none), so that step 0 is cubic interpolation; pixel-shuffles start without a checkerboard; and in
three dimensions no upsampler: the network then reads the zero-filled volume.
"""

from __future__ import annotations

from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.networks.planewise import PlaneWise
from mdcsrn.networks.subpixel import SubPixel, check_counts, check_grid_arguments, refining_traits, stages_of_two
from mdcsrn.networks.traits import Traits


class ResidualBlock(nn.Module):
    """x + s conv(ReLU(conv(x))), without normalisation."""

    def __init__(self, width: int, residual_scale: float, bias: bool, dims: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.conv1 = conv(width, width, 3, padding=1, bias=bias)
        self.conv2 = conv(width, width, 3, padding=1, bias=bias)
        self.relu = nn.ReLU()
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.residual_scale * self.conv2(self.relu(self.conv1(x)))


class EDSRLayers(nn.Module):
    """The layers of EDSR: (N, C, H, W) -> (N, C, r H, r W), or in three dimensions (N, C, D, H, W) -> the same.

    Args:
        scale: factor r.
        channels: of input and output.
        width: features.
        blocks: residual blocks.
        residual_scale: factor of a block's change.
        bias: of every convolution.
        dims: 2 or 3.
    """

    def __init__(
        self, scale: int, channels: int, width: int, blocks: int, residual_scale: float, bias: bool, dims: int
    ) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.head = conv(channels, width, 3, padding=1, bias=bias)
        self.body = nn.Sequential(
            *(ResidualBlock(width, residual_scale, bias, dims) for _ in range(blocks)),
            conv(width, width, 3, padding=1, bias=bias),
        )
        self.up = SubPixel(width, stages_of_two(scale), bias)
        self.tail = conv(width, channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Refine planes, or change volumes."""
        features = self.head(x)
        return self.tail(self.up(features + self.body(features)))


class EDSR(nn.Module):
    """(N, C, D, H, W) -> (N, C, D, r H, r W) from acquired planes; in three dimensions on the result's grid.

    3x3 convolution to `width` features; residual blocks; one more convolution and the sum with the first; sub-pixel
    upsampling; 3x3 convolution to the channels. Linear output, unbounded, not clipped. For three channels and x2 the
    default has 40,711,680 parameters without bias, 40,729,603 with; the small one of the paper is `width=64, blocks=16,
    residual_scale=1.0`.

    Args:
        scale: factor r of the last two axes: 2, 3, 4 or 8, or 1 for the result's grid. None: 2 in two dimensions, 1 in
            three, which have no upsampler.
        channels: of input and output, 1 for scans, 3 for colour.
        width: features, >= 1.
        blocks: residual blocks, >= 1.
        residual_scale: factor of each block's change, in (0, 1].
        bias: of every convolution.
        residual: add the cubic interpolation of the input (for scale 1 the input itself) to the output; the last
            convolution starts at zero, so that step 0 is that interpolation. False: as published.
        dims: 2 (plane by plane) or 3.

    Raises:
        ConfigError: an argument is out of range.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = EDSR(scale=2, width=8, blocks=2)
    >>> network(torch.rand(1, 1, 3, 10, 12)).shape
    torch.Size([1, 1, 3, 20, 24])
    >>> network.traits.scale, network.traits.input_grid, network.traits.margin
    ((1, 2, 2), 'acquired', (0, 8, 8))
    """

    __jit_unused_properties__ = ["architecture", "traits"]

    def __init__(
        self,
        scale: int | None = None,
        channels: int = 1,
        width: int = 256,
        blocks: int = 32,
        residual_scale: float = 0.1,
        bias: bool = True,
        residual: bool = True,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.scale = check_grid_arguments("EDSR", scale, dims, default=2)
        check_counts("EDSR", {"channels": channels, "width": width, "blocks": blocks})
        if not 0 < residual_scale <= 1:
            raise ConfigError("EDSR: residual_scale", got=residual_scale, allowed="(0, 1]")
        self.channels, self.width, self.blocks, self.dims = channels, width, blocks, dims
        self.residual_scale, self.bias, self.residual = float(residual_scale), bool(bias), bool(residual)
        layers = EDSRLayers(self.scale, channels, width, blocks, self.residual_scale, self.bias, dims)
        if self.residual:
            for parameter in layers.tail.parameters():
                nn.init.zeros_(parameter)
        self._margin = 2 * blocks + 2 + layers.up.reach(after=1)
        self.layers = PlaneWise(layers) if dims == 2 else layers
        self.interpolate = CubicUpsample(self.scale)

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "scale": self.scale,
            "channels": self.channels,
            "width": self.width,
            "blocks": self.blocks,
            "residual_scale": self.residual_scale,
            "bias": self.bias,
            "residual": self.residual,
            "dims": self.dims,
        }

    @property
    def traits(self) -> Traits:
        """Planes of the acquired matrix, refined by `scale`; or, for scale 1, the result's grid."""
        return refining_traits(self.scale, self.channels, self._margin, self.dims, self.bytes_per_voxel, self.residual)

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input.

        In a block the first features, its input, and three sides of its convolutions are alive; at the last
        pixel-shuffle its input, its output, and what the stage before it has made.
        """
        return 4.0 * max(5.0, 2.5 * self.scale**2) * self.width + 16 * self.channels * self.scale**2

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            x: acquired planes, shape (N, C, D, H, W), any size >= 1; for scale 1 zero-filled, on the result's grid.

        Returns:
            Restored image, shape (N, C, D, r H, r W).
        """
        change = self.layers(x)
        return self.interpolate(x) + change if self.residual else change
