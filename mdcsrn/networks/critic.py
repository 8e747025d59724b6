"""Critics that score 3D patches for WGAN-GP, one sample at a time, as a gradient penalty needs.

`original` is the critic of the published mDCSRN-GAN, `pointwise` the same with 1x1x1 convolutions. Their normalisation
is a LayerNorm over all axes, and the published activation LeakyReLU(1) is the identity; here the slope is 0.2 unless
asked otherwise. The 1x1x1 stride-2 convolutions of `pointwise` look directly at 1,331 of 64^3 voxels only, so `light`,
the default, brings every voxel of a 2x2x2 cell into the channels before each 1x1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError

PRESETS = ("light", "pointwise", "original")
MIN_PATCH_VOXELS = 16


class Critic(nn.Module):
    """Scores patches: (N, C, D, H, W) -> (N,), unbounded, higher for what looks real.

    Args:
        preset: ``light`` (1.0 M parameters, any patch of at least 16 voxels to a side), ``pointwise`` (17,628,929) or
            ``original`` (31,155,777), the last two for cubic patches of `patch_size` alone.
        in_channels: 1, or 2 where the low-resolution patch is given as a condition.
        base_channels: channels of the first layer; None: 32 for ``light``, 64 for the others.
        negative_slope: of the LeakyReLU, in [0, 1]; 1.0 is the identity of the published code.
        patch_size: edge of the patch in voxels, a multiple of 16; it fixes the LayerNorm of the last two presets.

    >>> import torch
    >>> Critic(base_channels=4)(torch.rand(2, 1, 16, 20, 24)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        preset: str = "light",
        in_channels: int = 1,
        base_channels: int | None = None,
        negative_slope: float = 0.2,
        patch_size: int = 64,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ConfigError("unknown critic preset", got=preset, allowed=", ".join(PRESETS))
        if in_channels < 1 or not 0 <= negative_slope <= 1:
            raise ConfigError("critic: in_channels >= 1, negative_slope in [0, 1]", got=(in_channels, negative_slope))
        if preset != "light" and (patch_size < MIN_PATCH_VOXELS or patch_size % 16):
            raise ConfigError("critic: patch_size", got=patch_size, allowed="a multiple of 16, at least 16")
        self.preset, self.in_channels, self.negative_slope, self.patch_size = (
            preset,
            in_channels,
            negative_slope,
            patch_size,
        )
        self.base_channels = base_channels or (32 if preset == "light" else 64)
        base = self.base_channels
        layers: list[nn.Module] = [nn.Conv3d(in_channels, base, 3, padding=1), nn.LeakyReLU(negative_slope)]
        size, before = patch_size, base
        for after, stride in zip((1, 2, 2, 4, 4, 8, 8), (2, 1, 2, 1, 2, 1, 2), strict=True):
            size //= stride
            layers += [self._convolution(before, after * base, stride), self._normalisation(after * base, size)]
            layers.append(nn.LeakyReLU(negative_slope))
            before = after * base
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(before, 1024, 1), nn.LeakyReLU(negative_slope), nn.Conv3d(1024, 1, 1)
        )

    def _convolution(self, before: int, after: int, stride: int) -> nn.Module:
        if self.preset == "original":
            return nn.Conv3d(before, after, 3, stride, padding=1)
        if self.preset == "pointwise":
            return nn.Conv3d(before, after, 1, stride, bias=False)
        return PointwiseDown(before, after) if stride == 2 else nn.Conv3d(before, after, 1, bias=False)

    def _normalisation(self, channels: int, size: int) -> nn.Module:
        if self.preset == "light":
            return nn.GroupNorm(1, channels)
        return nn.LayerNorm([channels, size, size, size])

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "preset": self.preset,
            "in_channels": self.in_channels,
            "base_channels": self.base_channels,
            "negative_slope": self.negative_slope,
            "patch_size": self.patch_size,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Score each patch; raises GeometryError for a patch that the preset cannot take."""
        self._check_size(x.shape)
        return self.head(self.body(x)).flatten()

    def _check_size(self, shape: Sequence[int]) -> None:
        size = tuple(shape[-3:])
        if self.preset != "light" and size != (self.patch_size,) * 3:
            raise GeometryError(
                f"the '{self.preset}' critic has one patch size",
                got=size,
                allowed=(self.patch_size,) * 3,
                remedy="set patch_size, or use the preset 'light'",
            )
        if min(size) < MIN_PATCH_VOXELS:
            raise GeometryError(
                "patch too small for the critic", got=size, allowed=f"at least {MIN_PATCH_VOXELS} per axis"
            )


class PointwiseDown(nn.Module):
    """Halve the grid: 2x2x2 space-to-depth (odd sizes padded, nothing dropped), then a 1x1x1 convolution without bias.

    The two are one 2x2x2 convolution of stride 2, and are run as such.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, D, H, W) -> (N, after, ceil(D/2), ceil(H/2), ceil(W/2))."""
        depth, height, width = x.shape[-3:]
        if depth % 2 or height % 2 or width % 2:
            x = functional.pad(x, (0, width % 2, 0, height % 2, 0, depth % 2))
        return self.conv(x)
