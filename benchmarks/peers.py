"""Peers: what a method person would try instead of mDCSRN, on its terms, for the benchmark alone.

Each takes and returns one channel on the high-resolution grid (the zero-filled image in, the restored one out) and is
``input + network`` with a last convolution ``recon`` that starts at zero: like our network, each starts at the quality
of its input. Each says its `margin`, `multiple` and `bytes_per_voxel`, so that the package's exact tiler can run it.
Importing this module enters them into the package's catalogue, so that the same engine trains, saves and loads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets import SwinUNETR, UNet
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.networks import catalog


class Peer(nn.Module):
    """A network without its global residual in :meth:`change`, and what the tiler needs to know of it."""

    margin: tuple[int, int, int]  # voxels to each side that an output voxel depends on
    multiple: tuple[int, int, int] = (1, 1, 1)  # tile origins; sizes are padded up to it at the far end
    exact = True  # the margin is the receptive field; False: a stated margin, and tiles may differ at their edges
    bytes_per_voxel = 1024.0  # of a float32 forward; an upper estimate, from which tiles are planned

    def __init__(self, arguments: dict[str, object]) -> None:
        super().__init__()
        self.architecture = arguments  # plain values, stored beside the weights

    def change(self, x: Tensor) -> Tensor:
        """What is added to the input: (N, 1, D, H, W) -> same shape, sizes divisible by `multiple`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Restore (N, 1, D, H, W), any size."""
        depth, height, width = x.shape[-3:]
        a, b, c = self.multiple
        padded = functional.pad(x, (0, -width % c, 0, -height % b, 0, -depth % a))
        return x + self.change(padded)[..., :depth, :height, :width]


def conv(inside: int, outside: int, size: int = 3, bias: bool = True) -> nn.Conv3d:
    """A 3D convolution that keeps the size."""
    return nn.Conv3d(inside, outside, size, padding=size // 2, bias=bias)


def last(channels: int, size: int = 3) -> nn.Conv3d:
    """The last convolution, zero at first; ``mdcsrn.engines.parameter_groups`` knows it by the name ``recon``."""
    layer = conv(channels, 1, size)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def cube(edge: int) -> tuple[int, int, int]:
    """The same on all three axes."""
    return edge, edge, edge


class SRCNN3D(Peer):
    """SRCNN-3D: three convolutions of 9, 1 and 5 voxels.

    C.-H. Pham, A. Ducournau, R. Fablet, F. Rousseau: Brain MRI super-resolution using deep 3D convolutional networks,
    ISBI 2017. The published one has no global residual.
    """

    def __init__(self, first: int = 64, second: int = 32) -> None:
        super().__init__({"first": first, "second": second})
        self.head, self.map, self.recon = conv(1, first, 9), conv(first, second, 1), last(second, 5)
        self.margin = cube(6)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        return self.recon(torch.relu(self.map(torch.relu(self.head(x)))))


class ResidualBlock(nn.Module):
    """Two convolutions and a sum: with BatchNorm and PReLU as in SRResNet, or bare with a scale as in EDSR."""

    def __init__(self, channels: int, norm: bool, scale: float) -> None:
        super().__init__()
        parts: list[nn.Module] = [conv(channels, channels, bias=not norm)]
        parts += [nn.BatchNorm3d(channels), nn.PReLU()] if norm else [nn.ReLU()]
        parts += [conv(channels, channels, bias=not norm)]
        parts += [nn.BatchNorm3d(channels)] if norm else []
        self.body, self.scale = nn.Sequential(*parts), scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same shape."""
        return x + self.scale * self.body(x)


class SRResNet3D(Peer):
    """SRResNet in 3D, without its pixel shuffle since the input is on the high-resolution grid.

    C. Ledig et al.: Photo-realistic single image super-resolution using a generative adversarial network, CVPR 2017.
    """

    def __init__(self, blocks: int = 8, channels: int = 32) -> None:
        super().__init__({"blocks": blocks, "channels": channels})
        self.head = nn.Sequential(conv(1, channels, 9), nn.PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(channels, norm=True, scale=1.0) for _ in range(blocks)),
            conv(channels, channels, bias=False),
            nn.BatchNorm3d(channels),
        )
        self.recon = last(channels, 9)
        self.margin = cube(4 + 2 * blocks + 1 + 4)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        features = self.head(x)
        return self.recon(features + self.body(features))


class EDSR3D(Peer):
    """EDSR in 3D: residual blocks without normalisation, scaled by 0.1.

    B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee: Enhanced deep residual networks for single image super-resolution,
    CVPR Workshops 2017.
    """

    def __init__(self, blocks: int = 16, channels: int = 32, scale: float = 0.1) -> None:
        super().__init__({"blocks": blocks, "channels": channels, "scale": scale})
        self.head = conv(1, channels)
        self.body = nn.Sequential(
            *(ResidualBlock(channels, norm=False, scale=scale) for _ in range(blocks)), conv(channels, channels)
        )
        self.recon = last(channels)
        self.margin = cube(2 * blocks + 3)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        features = self.head(x)
        return self.recon(features + self.body(features))


class Dense5(nn.Module):
    """Five densely connected convolutions with LeakyReLU 0.2 and a sum scaled by 0.2."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(channels + i * growth, growth if i < 4 else channels) for i in range(5))
        for layer in self.convs:
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data *= 0.1  # as in ESRGAN: deep stacks without normalisation start small
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same shape."""
        features = x
        for layer in list(self.convs)[:-1]:
            features = torch.cat((features, functional.leaky_relu(layer(features), 0.2)), dim=1)
        return x + 0.2 * self.convs[-1](features)


class RRDB(nn.Module):
    """Residual in residual: three dense blocks and a sum scaled by 0.2."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(Dense5(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> same shape."""
        return x + 0.2 * self.dense(x)


class RRDBNet3D(Peer):
    """The generator of ESRGAN in 3D, without up-sampling; 2 blocks of 24 + 12 channels (published in 2D: 23, 64 + 32).

    X. Wang et al.: ESRGAN, ECCV Workshops 2018. The size is one of up to twice our work, which sees the same voxels.
    """

    bytes_per_voxel = 1536.0

    def __init__(self, blocks: int = 2, channels: int = 24, growth: int = 12) -> None:
        super().__init__({"blocks": blocks, "channels": channels, "growth": growth})
        self.head = conv(1, channels)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)), conv(channels, channels))
        self.refine = nn.Sequential(conv(channels, channels), nn.LeakyReLU(0.2))
        self.recon = last(channels)
        self.margin = cube(15 * blocks + 4)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        features = self.head(x)
        return self.recon(self.refine(features + self.body(features)))


class MonaiUNet(Peer):
    """MONAI's residual UNet; BatchNorm instead of its InstanceNorm, whose statistics would change with the tile.

    E. Kerfoot et al.: Left-ventricle quantification using residual U-Net, STACOM 2018.
    """

    bytes_per_voxel = 1536.0

    def __init__(self, channels: Sequence[int] = (64, 128, 256, 512), units: int = 2) -> None:
        super().__init__({"channels": list(channels), "units": units})
        levels = len(channels) - 1
        self.body = UNet(3, 1, channels[0], channels, (2,) * levels, num_res_units=units, norm="BATCH")
        self.recon = last(channels[0], 1)
        self.multiple = cube(2**levels)
        # Down at each level: a strided convolution, then units - 1 on the coarser grid; up: a transposed one, one more.
        reach = sum((2 * units - 1 + 2) * 2**level for level in range(levels)) + units * 2**levels
        self.margin = cube(math.ceil(reach / 2**levels) * 2**levels)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        return self.recon(self.body(x))


class MonaiSwinUNETR(Peer):
    """MONAI's SwinUNETR, feature size 24 (published: 48); BatchNorm in its convolutions, for the same reason as above.

    A. Hatamizadeh et al.: Swin UNETR, BrainLes 2021. Its attention windows lie on a grid that begins at the tile's
    corner, so no margin is exact: it should see a volume at once, and tiles overlap by 32 voxels where it cannot.
    """

    multiple = (32, 32, 32)
    margin = (32, 32, 32)
    exact = False
    bytes_per_voxel = 2560.0

    def __init__(self, feature_size: int = 24, depths: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__({"feature_size": feature_size, "depths": list(depths)})
        with torch.device("cpu"):  # it looks at a tensor's value while it is built, and a meta tensor has none
            self.body = SwinUNETR(1, feature_size, depths=depths, feature_size=feature_size, norm_name="batch")
        self.body.out = nn.Identity()  # recon takes its place
        self.recon = last(feature_size, 1)

    def change(self, x: Tensor) -> Tensor:
        """See :meth:`Peer.change`."""
        return self.recon(self.body(x))


PEERS: dict[str, type[Peer]] = {
    kind.__name__: kind for kind in (SRCNN3D, SRResNet3D, EDSR3D, RRDBNet3D, MonaiUNet, MonaiSwinUNETR)
}
catalog.NETWORKS.update(PEERS)
