"""SRGAN for scans: a residual generator with one pixel-shuffle, and the discriminator that it is trained against.

After C. Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017
(arXiv 1609.04802), in the form that was published for MRI at x3: seven blocks, LeakyReLU throughout, and dropout in the
discriminator.

Our deviations: one pixel-shuffle by r, which starts without a checkerboard, where the published x3 network has three by
2; a linear output, since tanh bends what was measured (`tanh=True` is the published one); a global residual
(`residual=True`, the published network has none), so that step 0 is cubic interpolation; one channel by default. The
discriminator averages its features to 4x4 cells before the dense layers and so takes any patch size; its dropout is
off unless asked for (published: 0.5).
"""

from __future__ import annotations

from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.networks.planewise import PlaneWise, check_volumes
from mdcsrn.networks.subpixel import SubPixel, check_counts, check_grid_arguments, refining_traits
from mdcsrn.networks.traits import Traits

CELLS = 4  # to a side, which the discriminator's dense layers look at


class NormalisedBlock(nn.Module):
    """x + [conv, BN, LReLU, conv, BN, LReLU](x)."""

    def __init__(self, width: int, slope: float, dims: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        layers: list[nn.Module] = []
        for _ in range(2):  # the normalisation has a bias
            layers += [conv(width, width, 3, padding=1, bias=False), norm(width), nn.LeakyReLU(slope)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.layers(x)


class SRGANLayers(nn.Module):
    """The layers of the generator: (N, C, H, W) -> (N, C, r H, r W), or (N, C, D, H, W) -> the same.

    Args:
        scale: factor r.
        channels: of input and output.
        width: features.
        blocks: residual blocks.
        slope: of the LeakyReLU.
        tanh: at the end.
        dims: 2 or 3.
    """

    def __init__(self, scale: int, channels: int, width: int, blocks: int, slope: float, tanh: bool, dims: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.head = nn.Sequential(conv(channels, width, 3, padding=1), nn.LeakyReLU(slope))
        self.body = nn.Sequential(
            *(NormalisedBlock(width, slope, dims) for _ in range(blocks)),
            conv(width, width, 3, padding=1),
            nn.LeakyReLU(slope),
        )
        self.up = SubPixel(width, [scale] if scale > 1 else [])
        self.activation = nn.LeakyReLU(slope)
        self.tail = conv(width, channels, 3, padding=1)
        self.bound = nn.Tanh() if tanh else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Refine planes, or change volumes."""
        features = self.head(x)
        return self.bound(self.tail(self.activation(self.up(features + self.body(features)))))


class SRGANGenerator(nn.Module):
    """(N, C, D, H, W) -> (N, C, D, r H, r W) from acquired planes; in three dimensions on the result's grid.

    Convolution and LeakyReLU; blocks of two convolutions with batch normalisation and LeakyReLU; one more convolution
    and the sum with the first; convolution, pixel-shuffle by r, LeakyReLU; convolution. All are 3x3. Linear output,
    unbounded, not clipped.

    Args:
        scale: factor r of the last two axes: 2, 3, 4 or 8, or 1 for the result's grid. None: 3 in two dimensions, 1 in
            three, which have no upsampler.
        channels: of input and output, 1 for scans, 3 for colour.
        width: features, >= 1.
        blocks: residual blocks, >= 1.
        negative_slope: of the LeakyReLU, in [0, 1].
        residual: add the cubic interpolation of the input (for scale 1 the input itself) to the output; the last
            convolution starts at zero, so that step 0 is that interpolation. False: as published.
        tanh: bound the output to (-1, 1), as published for images in [-1, 1]; without a residual alone.
        dims: 2 (plane by plane) or 3.

    Raises:
        ConfigError: an argument is out of range.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = SRGANGenerator(scale=3, width=8, blocks=2)
    >>> network(torch.rand(1, 1, 2, 10, 12)).shape
    torch.Size([1, 1, 2, 30, 36])
    >>> network.traits.scale, network.traits.margin
    ((1, 3, 3), (0, 8, 8))
    """

    __jit_unused_properties__ = ["architecture", "traits"]

    def __init__(
        self,
        scale: int | None = None,
        channels: int = 1,
        width: int = 64,
        blocks: int = 7,
        negative_slope: float = 0.2,
        residual: bool = True,
        tanh: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.scale = check_grid_arguments("SRGANGenerator", scale, dims, default=3)
        check_counts("SRGANGenerator", {"channels": channels, "width": width, "blocks": blocks})
        if not 0 <= negative_slope <= 1:
            raise ConfigError("SRGANGenerator: negative_slope", got=negative_slope, allowed="0 to 1")
        if tanh and residual:
            raise ConfigError("tanh would bound the change alone", got="tanh, residual", remedy="residual=False")
        self.channels, self.width, self.blocks, self.dims = channels, width, blocks, dims
        self.negative_slope, self.residual, self.tanh = float(negative_slope), bool(residual), bool(tanh)
        layers = SRGANLayers(self.scale, channels, width, blocks, self.negative_slope, self.tanh, dims)
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
            "negative_slope": self.negative_slope,
            "residual": self.residual,
            "tanh": self.tanh,
            "dims": self.dims,
        }

    @property
    def traits(self) -> Traits:
        """Planes of the acquired matrix, refined by `scale`; or, for scale 1, the result's grid."""
        return refining_traits(self.scale, self.channels, self._margin, self.dims, self.bytes_per_voxel, self.residual)

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input.

        In a block the first features, its input, and three sides of its layers are alive; at the end the
        input and output of the pixel-shuffle, or the two sides of the LeakyReLU after it.
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


class SRGANDiscriminator(nn.Module):
    """Scores patches: (N, C, D, H, W) -> (N,), the mean of its planes' logits, unbounded, higher for what looks real.

    Convolution, dropout, LeakyReLU; three of convolution, batch normalisation, dropout; three of convolution, dropout,
    LeakyReLU, the first of them with batch normalisation; 4x4 cells; dense layer of 1024, LeakyReLU; dense layer of 1.
    Every second convolution halves the plane. Batch normalisation makes scores depend on the batch: train it with cross
    entropy (:class:`mdcsrn.losses.CrossEntropyAdversary`), not with a gradient penalty.

    Args:
        channels: of the patches; twice as many where the low-resolution patch is given as a condition.
        width: channels of the first layer, >= 1; the last has 8 times as many.
        dropout: share of values that are dropped in training, in [0, 1); 0.5 as published.
        negative_slope: of the LeakyReLU, in [0, 1].

    Raises:
        ConfigError: an argument is out of range.

    >>> import torch
    >>> SRGANDiscriminator(width=4)(torch.rand(2, 1, 3, 30, 37)).shape
    torch.Size([2])
    """

    __jit_unused_properties__ = ["architecture"]

    def __init__(self, channels: int = 1, width: int = 64, dropout: float = 0.0, negative_slope: float = 0.2) -> None:
        super().__init__()
        check_counts("SRGANDiscriminator", {"channels": channels, "width": width})
        if not 0 <= dropout < 1 or not 0 <= negative_slope <= 1:
            raise ConfigError(
                "SRGANDiscriminator: dropout in [0, 1), negative_slope in [0, 1]", got=(dropout, negative_slope)
            )
        self.channels, self.width = channels, width
        self.dropout, self.negative_slope = float(dropout), float(negative_slope)
        layers: list[nn.Module] = []
        before = channels
        for index, (factor, stride) in enumerate(zip((1, 1, 2, 2, 4, 4, 8), (1, 2, 1, 2, 1, 2, 1), strict=True)):
            normalised = 1 <= index <= 4
            layers.append(nn.Conv2d(before, factor * width, 3, stride, padding=1, bias=not normalised))
            layers += [nn.BatchNorm2d(factor * width)] if normalised else []
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [nn.LeakyReLU(negative_slope)] if index == 0 or index >= 4 else []
            before = factor * width
        layers += [nn.AdaptiveAvgPool2d(CELLS), nn.Flatten(), nn.Linear(before * CELLS**2, 1024)]
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(negative_slope), nn.Linear(1024, 1))

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "channels": self.channels,
            "width": self.width,
            "dropout": self.dropout,
            "negative_slope": self.negative_slope,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Score each patch, of any size; raises GeometryError for what is no batch of volumes."""
        check_volumes(x)
        planes = x.transpose(1, 2).flatten(0, 1)
        return self.layers(planes).reshape(x.size(0), x.size(2)).mean(dim=1)
