"""SRResDNet, the generator of SRResCycGAN in its authors' own code: interpolation, and a network that finds its error.

R. M. Umer, G. L. Foresti, C. Micheloni: Deep Generative Adversarial Residual Convolutional Networks for Real-World
Super-Resolution, CVPR Workshops 2020 (arXiv 2005.00953), with the projection of S. Lefkimmiatis: Universal Denoising
Networks, CVPR 2018 (arXiv 1711.07807).

Our deviations: one channel by default; interpolation onto the grid whose sample r j is the input's sample j; the last
convolution starts at zero, so that step 0 is bilinear interpolation; filters are not made zero-mean at each call, which
changes nothing where their weights are normalised; no projection unless asked for, since scans without a background
have no noise to measure; and a linear output, not clipped.

Annotations are not text (no ``from __future__ import annotations``): TorchScript reads them.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.networks.interpolation import LinearUpsample
from mdcsrn.networks.planewise import PlaneWise
from mdcsrn.networks.srrescycgan import check_cycle_arguments
from mdcsrn.networks.traits import WHOLE, Traits
from mdcsrn.networks.weight_norm import start_filters

# High-pass decomposition filter of the wavelet db7 (I. Daubechies, 1988).
DB7 = (
    -0.07785205408506236, 0.39653931948230575, -0.7291320908465551, 0.4697822874053586, 0.14390600392910627,
    -0.22403618499416572, -0.07130921926705004, 0.0806126091510659, 0.03802993693503463, -0.01657454163101562,
    -0.012550998556013784, 0.00042957797300470274, 0.0018016407039998328, 0.0003537138000010399,
)  # fmt: skip
Padding = Literal["reflect", "zeros"]
NORMAL_MAD = 0.6745  # median of |x| of a normal distribution of deviation 1


class NoiseLevel(nn.Module):
    """Deviation of the noise of planes: (N, C, H, W) -> (N, 1, 1, 1), the median of their finest diagonal wavelets.

    sigma = median |d| / 0.6745 (D. L. Donoho, I. M. Johnstone, 1994), averaged over the channels; no gradient.
    """

    kernel: Tensor
    pad: int
    spread: float

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(DB7).view(1, 1, -1, 1), persistent=False)
        self.pad, self.spread = len(DB7) // 2, NORMAL_MAD

    def forward(self, x: Tensor) -> Tensor:
        """Planes of more than 7 samples to a side; smaller ones are replicated at the border instead of mirrored."""
        mode = "reflect" if min(x.size(-2), x.size(-1)) > self.pad else "replicate"
        d = x.detach().reshape(x.size(0) * x.size(1), 1, x.size(2), x.size(3))
        d = functional.conv2d(functional.pad(d, [0, 0, self.pad, self.pad], mode), self.kernel, stride=[2, 1])
        d = functional.pad(d, [self.pad, self.pad, 0, 0], mode).transpose(2, 3)
        d = functional.conv2d(d, self.kernel, stride=[2, 1]).flatten(1).abs()
        # The lower median, as torch.median gives it, which ONNX cannot write.
        sigma = d.sort(dim=1).values.select(1, (d.size(1) - 1) // 2) / self.spread
        return sigma.view(x.size(0), x.size(1), 1, 1).mean(dim=1, keepdim=True)


def project_to_noise(x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
    """Scale planes down to the norm that noise has: epsilon = exp(alpha) sigma sqrt(C H W - 1), if theirs is larger.

    Args:
        x: planes, shape (N, C, H, W).
        sigma: deviation of the noise, shape (N, 1, 1, 1), >= 0.
        alpha: logarithm of the allowance, shape (1,).

    Returns:
        x epsilon / max(||x||, epsilon), same shape.

    >>> planes = torch.full((1, 1, 1, 5), 3.0)
    >>> round(project_to_noise(planes, torch.ones(1, 1, 1, 1), torch.zeros(1)).norm().item(), 4)
    2.0
    """
    count = torch.ones_like(x).sum(dim=(1, 2, 3), keepdim=True)  # of this very input, also where it is recorded
    epsilon = alpha.exp() * sigma * (count - 1).sqrt()
    energy = x.square().sum(dim=(1, 2, 3), keepdim=True)
    return x * (epsilon / torch.maximum(energy, epsilon.square()).clamp_min(1e-24).sqrt())


class NoiseBlock(nn.Module):
    """[PReLU, conv 3, PReLU, conv 3](x), with x added except in the first block."""

    def __init__(self, width: int, shortcut: bool, padding: Padding, weight_norm: bool) -> None:
        super().__init__()
        self.shortcut = shortcut
        layers: list[nn.Module] = []
        for _ in range(2):
            conv = _start(nn.Conv2d(width, width, 3, padding=1, padding_mode=padding))
            layers += [nn.PReLU(width, 0.1), start_filters(conv, None, weight_norm)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.layers(x) if self.shortcut else self.layers(x)


class NoiseLayers(nn.Module):
    """Refined planes -> what is wrong with them, both (N, C, H, W).

    Args:
        channels: of input and output.
        width: features.
        blocks: residual blocks.
        padding: ``reflect`` or ``zeros``.
        weight_norm: of every convolution.
        projection: scale the output down to the noise's norm.
    """

    def __init__(
        self, channels: int, width: int, blocks: int, padding: Padding, weight_norm: bool, projection: bool
    ) -> None:
        super().__init__()
        head = _start(nn.Conv2d(channels, width, 5, padding=2, padding_mode=padding))
        self.head = start_filters(head, None, weight_norm)
        self.body = nn.Sequential(*(NoiseBlock(width, index > 0, padding, weight_norm) for index in range(blocks)))
        self.tail = start_filters(nn.ConvTranspose2d(width, channels, 5, padding=2), 0.0, weight_norm)
        self.noise_level = NoiseLevel()
        self.alpha = nn.Parameter(torch.tensor([math.log(2)])) if projection else None

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        error = self.tail(self.body(self.head(x)))
        return error if self.alpha is None else project_to_noise(error, self.noise_level(x), self.alpha)


def _start(conv: nn.Conv2d) -> nn.Conv2d:
    """Normal weights of the authors' deviation, sqrt(2 / (9 x 64))."""
    if not conv.weight.is_meta:  # drawing on meta tensors imports the compiler
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (9 * 64)))
    return conv


class SRResDNet(nn.Module):
    """(N, C, D, H, W) -> (N, C, D, r H, r W): linear interpolation of acquired planes, minus its error.

    Convolution 5; blocks of PReLU and convolution 3, twice; transposed convolution 5 of stride 1; as published, the
    error's norm is limited to that of the noise in the plane (`projection=True`). Linear output, unbounded. For three
    channels: 380,356 parameters, one of which is the projection's.

    Args:
        scale: factor r of the last two axes: 2, 3 or 4.
        channels: of input and output, 1 for scans, 3 for colour.
        width: features, >= 1.
        blocks: residual blocks, >= 1.
        reflect: mirror the border in front of a convolution; False: zeros.
        weight_norm: of every convolution, see :func:`mdcsrn.networks.fold_weight_norm`.
        projection: limit the error's norm to exp(alpha) times that of the noise, which is measured in each plane;
            alpha is learned, and starts as log 2. Each result then depends on its whole plane. In a plane whose larger
            part is empty the noise measures 0, and the network can change nothing there.

    Raises:
        ConfigError: an argument is out of range.

    Intensities are those of training: the volume divided by its 99.9th percentile, no clipping.

    >>> import torch
    >>> network = SRResDNet(width=4, blocks=1)
    >>> network(torch.rand(1, 1, 2, 10, 12)).shape
    torch.Size([1, 1, 2, 40, 48])
    """

    __jit_unused_properties__ = ["architecture", "traits"]

    def __init__(
        self,
        scale: int = 4,
        channels: int = 1,
        width: int = 64,
        blocks: int = 5,
        reflect: bool = True,
        weight_norm: bool = True,
        projection: bool = False,
    ) -> None:
        super().__init__()
        check_cycle_arguments("SRResDNet", scale, {"channels": channels, "width": width, "blocks": blocks})
        self.scale, self.channels, self.width, self.blocks = scale, channels, width, blocks
        self.reflect, self.weight_norm, self.projection = bool(reflect), bool(weight_norm), bool(projection)
        padding: Padding = "reflect" if self.reflect else "zeros"
        self.interpolate = LinearUpsample(scale)
        self.layers = PlaneWise(NoiseLayers(channels, width, blocks, padding, self.weight_norm, self.projection))

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""
        return {
            "scale": self.scale,
            "channels": self.channels,
            "width": self.width,
            "blocks": self.blocks,
            "reflect": self.reflect,
            "weight_norm": self.weight_norm,
            "projection": self.projection,
        }

    @property
    def traits(self) -> Traits:
        """Planes of the acquired matrix, refined by `scale`: whole ones where their noise is measured."""
        margin = WHOLE if self.projection else 1 + -(-(4 + 2 * self.blocks) // self.scale)
        return Traits(
            scale=(1, self.scale, self.scale),
            input_grid="acquired",
            channels=self.channels,
            margin=(0, margin, margin),
            bytes_per_voxel=self.bytes_per_voxel,
            residual=True,
        )

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a float32 forward without gradients, per voxel of the input.

        On the result's grid a block's input, three sides of its layers and their mirrored borders are alive.
        """
        return 4.0 * self.scale**2 * (6 * self.width + 8 * self.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve acquired planes of at least 2 samples to a side: (N, C, D, H, W) -> (N, C, D, r H, r W)."""
        refined = self.interpolate(x)
        return refined - self.layers(refined)
