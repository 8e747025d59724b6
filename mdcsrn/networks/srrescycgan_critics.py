"""Discriminators of SRResCycGAN: D_HR scores fine patches as a whole, D_LR scores acquired ones region by region.

Layers of the form that was published for fastMRI knees, 320^2 and 80^2 (see :mod:`mdcsrn.networks.srrescycgan`). Our
deviations: one channel by default; D_HR averages its features to 6x6 cells before the dense layers, which changes
nothing at 320^2 and lets it take any larger or smaller patch; fewer `convolutions` make it fit small ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks.planewise import PlaneWise, check_volumes
from mdcsrn.networks.subpixel import check_counts

SLOPE = 0.2  # of the LeakyReLU
CELLS = 6  # to a side, which the dense layers of D_HR look at: all that is left of 320^2
FACTORS = (1, 2, 2, 4, 4, 8, 8, 8, 8)  # channels of the normalised convolutions of D_HR over the first layer's
SMALLEST_LR_PATCH = 8


def _kernels(count: int) -> Iterator[tuple[int, int]]:
    """Edge and stride of the normalised convolutions of D_HR, in turn."""
    return ((4, 2) if index % 2 == 0 else (3, 1) for index in range(count))


class CycleDiscriminatorHR(nn.Module):
    """D_HR: (N, C, D, H, W) -> (N,), the mean of the planes' logits, unbounded, higher for what looks real.

    Convolution 3 and LeakyReLU; convolutions without padding of 4 (stride 2) and 3 in turn, each with instance
    normalisation and LeakyReLU; dense layer of 100, LeakyReLU; dense layer of 1. For three channels: 15,526,281
    parameters.

    Args:
        channels: of the patches.
        width: channels of the first layer, >= 1; the last has 8 times as many.
        convolutions: normalised ones, 1 to 9; each needs its share of the patch: 9 take 188 samples to a side at
            least, 7 take 92, 5 take 44, 3 take 20.

    Raises:
        ConfigError: an argument is out of range.

    >>> import torch
    >>> CycleDiscriminatorHR(width=2, convolutions=5)(torch.rand(2, 1, 3, 44, 64)).shape
    torch.Size([2])
    """

    __jit_unused_properties__ = ["architecture", "smallest_patch"]

    def __init__(self, channels: int = 1, width: int = 64, convolutions: int = 9) -> None:
        super().__init__()
        check_counts("CycleDiscriminatorHR", {"channels": channels, "width": width, "convolutions": convolutions})
        if convolutions > len(FACTORS):
            raise ConfigError("CycleDiscriminatorHR: convolutions", got=convolutions, allowed=f"1 to {len(FACTORS)}")
        self.channels, self.width, self.convolutions = channels, width, convolutions
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3), nn.LeakyReLU(SLOPE)]
        before = width
        for factor, (edge, stride) in zip(FACTORS, _kernels(convolutions), strict=False):
            after = factor * width
            layers += [nn.Conv2d(before, after, edge, stride), nn.InstanceNorm2d(after, affine=True)]
            layers.append(nn.LeakyReLU(SLOPE))
            before = after
        layers += [nn.AdaptiveAvgPool2d(CELLS), nn.Flatten(), nn.Linear(before * CELLS**2, 100)]
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(SLOPE), nn.Linear(100, 1))

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {"channels": self.channels, "width": self.width, "convolutions": self.convolutions}

    @property
    def smallest_patch(self) -> int:
        """Samples to a side that leave two to the last instance normalisation, which one alone would turn to zero."""
        size = 2
        for edge, stride in reversed(list(_kernels(self.convolutions))):
            size = (size - 1) * stride + edge
        return size + 2

    def forward(self, x: Tensor) -> Tensor:
        """Score each patch; raises GeometryError for one that is too small."""
        check_volumes(x)
        if min(x.shape[-2:]) < self.smallest_patch:
            raise GeometryError(
                "patch too small for the discriminator",
                got=tuple(x.shape[-2:]),
                allowed=f"at least {self.smallest_patch} to a side",
                remedy="set fewer convolutions",
            )
        planes = x.transpose(1, 2).flatten(0, 1)
        return self.layers(planes).reshape(x.size(0), x.size(2)).mean(dim=1)


class CycleDiscriminatorLR(nn.Module):
    """D_LR: (N, C, D, H, W) -> (N, 1, D, H / 4, W / 4), a logit for each region, unbounded, higher for what looks real.

    Convolutions 5: two of stride 2, two of stride 1; the first three with instance normalisation and LeakyReLU. For
    three channels: 1,036,545 parameters.

    Args:
        channels: of the patches.
        width: channels of the first layer, >= 1; the third has 4 times as many.

    Raises:
        ConfigError: an argument is out of range.

    >>> import torch
    >>> CycleDiscriminatorLR(width=2)(torch.rand(2, 1, 3, 80, 80)).shape
    torch.Size([2, 1, 3, 20, 20])
    """

    __jit_unused_properties__ = ["architecture"]

    def __init__(self, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        check_counts("CycleDiscriminatorLR", {"channels": channels, "width": width})
        self.channels, self.width = channels, width
        layers: list[nn.Module] = []
        before = channels
        for after, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers.append(nn.Conv2d(before, after, 5, stride, padding=2))
            layers += [nn.InstanceNorm2d(after, affine=True), nn.LeakyReLU(SLOPE)]
            before = after
        self.layers = PlaneWise(nn.Sequential(*layers, nn.Conv2d(before, 1, 5, padding=2)))

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {"channels": self.channels, "width": self.width}

    def forward(self, x: Tensor) -> Tensor:
        """Score each region; raises GeometryError for planes below 8 samples to a side."""
        if x.ndim == 5 and min(x.shape[-2:]) < SMALLEST_LR_PATCH:
            raise GeometryError(
                "patch too small for the discriminator",
                got=tuple(x.shape[-2:]),
                allowed=f"at least {SMALLEST_LR_PATCH} to a side",
            )
        return self.layers(x)
