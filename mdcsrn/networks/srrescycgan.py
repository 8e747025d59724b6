"""Generators of SRResCycGAN: G_HR refines acquired planes by r, G_LR makes acquired planes of fine ones.

After R. M. Umer, C. Micheloni: Deep Cyclic Generative Adversarial Residual Convolutional Networks for Real Image
Super-Resolution, ECCV Workshops 2020 (arXiv 2009.03693), in the form that was published for fastMRI knees at x4, 80^2
to 320^2: a transposed convolution and instance normalisation where the authors' own network
(:mod:`mdcsrn.networks.srresdnet`) has bilinear interpolation and weight normalisation.

Our deviations: one channel by default; also x2 and x3; a residual on both ways (`residual=True`, the published networks
have none): at step 0 G_HR is cubic interpolation and G_LR its low-passing counterpart, so that detail above the
acquired band costs no cycle (where G_LR kept every r-th sample instead, the cycle loss held G_HR at the interpolation);
and a linear output (`clamp=True` is the published one).
"""

from __future__ import annotations

from torch import Tensor, nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks.interpolation import CubicDownsample, CubicUpsample
from mdcsrn.networks.planewise import PlaneWise
from mdcsrn.networks.subpixel import check_counts
from mdcsrn.networks.traits import WHOLE, Traits

SLOPE = 0.2  # of the LeakyReLU
# Strides of the two convolutions that make acquired planes, by the factor r.
STRIDES = {2: (2, 1), 3: (3, 1), 4: (2, 2)}


def check_cycle_arguments(name: str, scale: int, counts: dict[str, object]) -> None:
    """Raise ConfigError for a factor other than 2, 3, 4, or a number below 1."""
    if isinstance(scale, bool) or scale not in STRIDES:
        raise ConfigError(f"{name}: scale", got=scale, allowed=", ".join(map(str, STRIDES)))
    check_counts(name, counts)


def zero_start(conv: nn.Conv2d) -> nn.Conv2d:
    """Let a convolution start at zero; changed in place and returned."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class RefiningBlock(nn.Sequential):
    """x + [PReLU, conv 3, IN, PReLU, conv 3, IN](x), convolutions without bias."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(2):
            conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
            layers += [nn.PReLU(width), conv, nn.InstanceNorm2d(width, affine=True)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        change = x
        for layer in self:
            change = layer(change)
        return x + change


class RefiningLayers(nn.Module):
    """The layers of G_HR: (N, C, H, W) -> (N, C, r H, r W).

    Args:
        scale: factor r.
        channels: of input and output.
        width: features.
        blocks: residual blocks.
        start_at_zero: of the last convolution.
    """

    def __init__(self, scale: int, channels: int, width: int, blocks: int, start_at_zero: bool) -> None:
        super().__init__()
        padding = (6 - scale) // 2  # of 5 taps: (m - 1) r - 2 p + 5 + o = m r
        extra = 2 * padding - (5 - scale)
        self.up = nn.ConvTranspose2d(channels, width, 5, scale, padding, extra)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2),
            *(RefiningBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, width, 5, padding=2),
            nn.Conv2d(width, width, 5, padding=2),
        )
        self.tail = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        if start_at_zero:
            zero_start(self.tail)

    def forward(self, x: Tensor) -> Tensor:
        """Refine planes: what the body finds is subtracted, as noise is."""
        features = self.up(x)
        return self.tail(features - self.body(features))


class CycleGeneratorHR(nn.Module):
    """G_HR: (N, C, D, H, W) -> (N, C, D, r H, r W) from acquired planes.

    Transposed convolution 5 of stride r; convolution 5; residual blocks with PReLU and instance normalisation; two
    convolutions 5; the difference to the transposed convolution; convolution 3 without bias. Linear output, unbounded.
    For three channels and x4: 684,544 parameters. Instance normalisation makes each result depend on its whole plane.

    Args:
        scale: factor r of the last two axes: 2, 3 or 4.
        channels: of input and output, 1 for scans, 3 for colour.
        width: features, >= 1.
        blocks: residual blocks, >= 1.
        residual: add the cubic interpolation of the input to the output; the last convolution starts at zero, so that
            step 0 is that interpolation. False: as published.
        clamp: clip the output to [0, 1], as published; what is clipped has no gradient.

    Raises:
        ConfigError: an argument is out of range.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = CycleGeneratorHR(width=4, blocks=1)
    >>> network(torch.rand(1, 1, 2, 10, 12)).shape
    torch.Size([1, 1, 2, 40, 48])
    >>> network.traits.scale, network.traits.margin
    ((1, 4, 4), (0, None, None))
    """

    __jit_unused_properties__ = ["architecture", "traits"]

    def __init__(
        self,
        scale: int = 4,
        channels: int = 1,
        width: int = 64,
        blocks: int = 5,
        residual: bool = True,
        clamp: bool = False,
    ) -> None:
        super().__init__()
        check_cycle_arguments("CycleGeneratorHR", scale, {"channels": channels, "width": width, "blocks": blocks})
        self.scale, self.channels, self.width, self.blocks = scale, channels, width, blocks
        self.residual, self.clamp = bool(residual), bool(clamp)
        self.layers = PlaneWise(RefiningLayers(scale, channels, width, blocks, self.residual))
        self.interpolate = CubicUpsample(scale)

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "scale": self.scale,
            "channels": self.channels,
            "width": self.width,
            "blocks": self.blocks,
            "residual": self.residual,
            "clamp": self.clamp,
        }

    @property
    def traits(self) -> Traits:
        """Whole planes of the acquired matrix, refined by `scale`."""
        return Traits(
            scale=(1, self.scale, self.scale),
            input_grid="acquired",
            channels=self.channels,
            margin=(0, WHOLE, WHOLE),
            bytes_per_voxel=self.bytes_per_voxel,
            residual=self.residual,
        )

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input.

        On the result's grid the first features, a block's input, and three sides of its layers are alive.
        """
        return 4.0 * self.scale**2 * (5 * self.width + 4 * self.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve acquired planes: (N, C, D, H, W) -> (N, C, D, r H, r W)."""
        result = self.layers(x)
        if self.residual:
            result = self.interpolate(x) + result
        return result.clamp(0.0, 1.0) if self.clamp else result


class DegradingBlock(nn.Sequential):
    """LReLU(x + [conv 3, IN, LReLU, conv 3, IN](x)), as the published block ends."""

    def __init__(self, width: int) -> None:
        super().__init__(*normalised(width, width, 3, 1), *normalised(width, width, 3, 1)[:-1])
        self.last = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.last(x + self[4](self[3](self[2](self[1](self[0](x))))))


def normalised(before: int, after: int, edge: int, stride: int) -> list[nn.Module]:
    """Convolution with bias, affine instance normalisation, LeakyReLU."""
    conv = nn.Conv2d(before, after, edge, stride, padding=edge // 2)
    return [conv, nn.InstanceNorm2d(after, affine=True), nn.LeakyReLU(SLOPE)]


class CycleGeneratorLR(nn.Module):
    """G_LR: (N, C, D, r H, r W) -> (N, C, D, H, W), acquired planes of fine ones: what a worse scanner shows.

    Convolution 7; two of stride 2 (for x4); residual blocks; two convolutions, all with instance normalisation and
    LeakyReLU; convolution 7. Linear output, unbounded. For three channels: 611,907 parameters. It restores nothing, and
    so has no traits.

    Args:
        scale: factor r of the last two axes: 2, 3 or 4; sizes are multiples of it.
        channels: of input and output.
        width: features, >= 1.
        blocks: residual blocks, >= 1.
        residual: add the low-passed input at every r-th sample, from the first on (:class:`CubicDownsample`); the last
            convolution starts at zero, so that step 0 is those samples. False: as published.
        clamp: clip the output to [0, 1], as published.

    Raises:
        ConfigError: an argument is out of range.

    >>> import torch
    >>> CycleGeneratorLR(width=4, blocks=1)(torch.rand(1, 1, 2, 40, 48)).shape
    torch.Size([1, 1, 2, 10, 12])
    """

    __jit_unused_properties__ = ["architecture"]

    def __init__(
        self,
        scale: int = 4,
        channels: int = 1,
        width: int = 64,
        blocks: int = 6,
        residual: bool = True,
        clamp: bool = False,
    ) -> None:
        super().__init__()
        check_cycle_arguments("CycleGeneratorLR", scale, {"channels": channels, "width": width, "blocks": blocks})
        self.scale, self.channels, self.width, self.blocks = scale, channels, width, blocks
        self.residual, self.clamp = bool(residual), bool(clamp)
        first, second = STRIDES[scale]
        tail = nn.Conv2d(width, channels, 7, padding=3)
        layers = nn.Sequential(
            *normalised(channels, width, 7, 1),
            *normalised(width, width, 3, first),
            *normalised(width, width, 3, second),
            *(DegradingBlock(width) for _ in range(blocks)),
            *normalised(width, width, 3, 1),
            *normalised(width, width, 3, 1),
            zero_start(tail) if self.residual else tail,
        )
        self.layers = PlaneWise(layers)
        self.thin = CubicDownsample(scale)

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "scale": self.scale,
            "channels": self.channels,
            "width": self.width,
            "blocks": self.blocks,
            "residual": self.residual,
            "clamp": self.clamp,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Make acquired planes; raises GeometryError for sizes that `scale` does not divide."""
        if x.ndim == 5 and (x.shape[-1] % self.scale or x.shape[-2] % self.scale):
            allowed = f"multiples of {self.scale}"
            raise GeometryError("planes are degraded by a divisor of their sizes", got=tuple(x.shape), allowed=allowed)
        result = self.layers(x)
        if self.residual:
            result = self.thin(x) + result
        return result.clamp(0.0, 1.0) if self.clamp else result
