"""Refine planes by sub-pixel convolution: a convolution makes r^2 values of each sample, a pixel-shuffle spreads them.

W. Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network, CVPR 2016. The start is that of A. Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017
(ICNR): the r^2 filters of a sample are equal, so that a flat image stays flat. MONAI has both (`SubpixelUpsample`,
`icnr_init`), but networks here depend on torch alone, and its average pool would move the samples by (r - 1) / 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mdcsrn.errors import ConfigError
from mdcsrn.networks.interpolation import MARGIN
from mdcsrn.networks.traits import Traits

SCALES = (1, 2, 3, 4, 8)


class SubPixel(nn.Sequential):
    """3x3 convolution `width` -> r^2 `width` and pixel-shuffle, stage after stage: (N, C, H, W) -> refined planes.

    Args:
        width: channels of input and output.
        factors: r of each stage; none leaves the planes as they are.
        bias: of the convolutions; it starts at zero.

    >>> import torch
    >>> stage = SubPixel(4, (2,))
    >>> flat = stage(torch.ones(1, 4, 5, 5))[0, :, 2:-2, 2:-2]
    >>> bool((flat == flat[:, :1, :1]).all())
    True
    """

    def __init__(self, width: int, factors: Sequence[int], bias: bool = True) -> None:
        stages: list[nn.Module] = []
        for factor in factors:
            conv = nn.Conv2d(width, width * factor**2, 3, padding=1, bias=bias)
            stages += [icnr_(conv, factor), nn.PixelShuffle(factor)]
        super().__init__(*stages)
        self.factors = tuple(factors)

    def reach(self, after: int) -> int:
        """Samples to each side that a result depends on.

        Args:
            after: results to each side that the layers after this one look at.
        """
        for factor in reversed(self.factors):
            after = -(-after // factor) + 1
        return after


def stages_of_two(scale: int) -> list[int]:
    """Factors of the stages that refine by `scale`: twos as far as they go.

    >>> stages_of_two(8), stages_of_two(3), stages_of_two(1)
    ([2, 2, 2], [3], [])
    """
    return {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]


def icnr_(conv: nn.Conv2d | nn.Conv3d, scale: int) -> nn.Module:
    """Start the filters that a pixel-shuffle puts side by side as equal ones; the bias starts at zero.

    Args:
        conv: its output channels are those of a pixel-shuffle by `scale`; changed in place.
        scale: factor r of the pixel-shuffle.

    Returns:
        The same convolution.
    """
    with torch.no_grad():
        conv.weight.copy_(conv.weight[:: scale**2].repeat_interleave(scale**2, dim=0))
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


def check_grid_arguments(name: str, scale: int | None, dims: int, default: int) -> int:
    """The factor of a network that refines planes, or 1 where it reads volumes of the result's grid.

    Args:
        name: of the network, for messages.
        scale: what was asked for; None: `default` for planes, 1 for volumes.
        dims: 2 or 3.
        default: factor for planes.

    Raises:
        ConfigError: `dims` or `scale` is not allowed; three dimensions have no upsampler.
    """
    if dims not in (2, 3) or isinstance(dims, bool):
        raise ConfigError(f"{name}: dims", got=dims, allowed="2 (planes) or 3 (volumes)")
    chosen = (default if dims == 2 else 1) if scale is None else scale
    if isinstance(chosen, bool) or chosen not in SCALES:
        raise ConfigError(f"{name}: scale", got=scale, allowed=", ".join(map(str, SCALES)))
    if dims == 3 and chosen != 1:
        raise ConfigError(
            f"{name} in three dimensions has no upsampler",
            got=f"scale {scale}",
            allowed="1: it reads the zero-filled volume",
            remedy="leave scale out, or take dims=2",
        )
    return chosen


def refining_traits(
    scale: int, channels: int, margin: int, dims: int, bytes_per_voxel: float, residual: bool
) -> Traits:
    """Traits of a network that refines planes of the acquired matrix, or for scale 1 reads the result's grid.

    Args:
        scale: factor r of the last two axes.
        channels: of input and output.
        margin: samples to each side that a result depends on, of the layers alone.
        dims: 2 (plane by plane: nothing across) or 3.
        bytes_per_voxel: as of :class:`mdcsrn.networks.Traits`.
        residual: the network adds to the interpolated input, which has a margin of its own.

    >>> refining_traits(2, 1, 8, 2, 1024.0, True).margin
    (0, 8, 8)
    """
    around = max(margin, MARGIN)
    return Traits(
        scale=(1, scale, scale),
        input_grid="result" if scale == 1 else "acquired",
        channels=channels,
        margin=(0 if dims == 2 else around, around, around),
        bytes_per_voxel=bytes_per_voxel,
        residual=residual,
    )


def check_counts(name: str, counts: dict[str, object]) -> None:
    """Raise ConfigError for a number of layers or channels that is not a whole number of at least 1."""
    for what, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}: {what} is a whole number", got=value, allowed=">= 1")
