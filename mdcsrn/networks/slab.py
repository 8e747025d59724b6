"""Run mDCSRN slab by slab: the same function of a whole volume, computed along one axis, nothing computed twice.

Every 3x3x3 convolution keeps the last two planes of its input from the slab before, so its output lags one plane behind
its input. The 1x1x1 convolutions after the blocks are linear in the concatenation that they read, so each block adds
its share to the later ones' inputs instead of being carried along: 96 channels are alive where the plain network has
416. The state between two slabs is handed in and out, which makes this a pure function that any compiler can take.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.networks.mdcsrn import MDCSRN


def least_planes(network: MDCSRN) -> int:
    """Smallest number of planes of a slab."""
    return max(2, network.units)


class SlabMDCSRN(nn.Module):
    """One step of an mDCSRN along the first spatial axis, without the global residual.

    With P new planes of the input, [t, t + P), `forward` returns for block i its share of the network's output at the
    planes [t - lags[i], t - lags[i] + P); the sum of all shares is the output. After the last plane, zeros are fed
    until the largest lag is through. What comes out for planes outside the volume means nothing.

    Args:
        network: the network, in evaluation mode; nothing of it is changed.
        planes: P, at least the network's units (what a block lags behind must fit into a slab), and 2.
        axis: spatial axis of the network's volumes that comes first here, 0 to 2; the other two keep their order.
    """

    by_weights = True  # see mdcsrn.inference.backends.kept

    def __init__(self, network: MDCSRN, planes: int, axis: int = 0) -> None:
        super().__init__()
        if planes < least_planes(network):
            raise ConfigError("a slab must hold what a block lags behind", got=planes, allowed=least_planes(network))
        self.planes, self.units, self.axis = planes, network.units, axis
        self.lags = tuple(1 + (index + 1) * network.units for index in range(network.blocks))
        self.conv0 = _across(network.conv0, axis)
        blocks = [network.get_submodule(f"block{index}") for index in range(network.blocks)]
        self.blocks = nn.ModuleList(
            nn.ModuleList(_SlabUnit(unit, axis) for unit in block.children()) for block in blocks
        )
        self.shares = nn.ModuleList(_shares_of(network, index) for index in range(network.blocks))
        self.growth, self.width, self.channels = network.growth, 2 * network.growth, network.conv0.in_channels
        self.eval()

    @property
    def context(self) -> int:
        """Planes before the slab that `valid` covers: the largest lag and two more."""
        return self.lags[-1] + 2

    @property
    def alive(self) -> int:
        """Channels of a block's result and of what is made of it: the measure of a slab's memory, per voxel."""
        return self.width + self.units * self.growth + sum(p.shape[0] for p in self.shares[0].parameters())

    @property
    def held(self) -> int:
        """Channels times planes of the state: the measure of its memory, per voxel of a plane."""
        return sum(shape[1] * shape[2] for shape in self.state_shapes(1, 1))

    def state_shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shapes of the state tensors, all zero before the first slab."""
        shapes = [(self.channels, 2)]
        for block in range(len(self.blocks)):
            shapes += [
                (self.width if index == 0 else self.growth, self.units + 1 - index) for index in range(self.units + 1)
            ]
            later = len(self.blocks) - 1 - block
            if block:
                shapes += [(self.width, self.units)] * later
        return [(1, channels, planes, height, width) for channels, planes in shapes]

    def forward(self, x: Tensor, valid: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            x: new planes, shape (1, c, P, H, W), zero outside the volume.
            valid: 1 at planes of the volume, 0 outside, for the planes [t - context, t + P), shape
                (1, 1, context + P, 1, 1): each convolution pads its input with zeros there.
            state: tensors of :meth:`state_shapes`, from the step before.

        Returns:
            The shares of all blocks, shape (1, blocks * c, P, H, W), then the new state.
        """
        planes = x.shape[2]  # not the attribute: what records the operations then holds for any number of planes
        held = iter(state)
        kept: list[Tensor] = []
        shares: list[Tensor] = []
        current, lag = self.conv0(_joined(next(held), x, kept)), 1
        carried: list[Tensor] = []  # inputs of the blocks after the next one, as far as known
        for block, readers in zip(self.blocks, self.shares, strict=True):
            # All joined features of a block begin at the same plane, so a unit takes the same planes of each.
            features = [_joined(next(held), current, kept)]
            for index, unit in enumerate(block.children()):
                first, inside = self.units - 1 - index, self.context - lag - 2
                read = torch.cat([feature[:, :, first : first + planes + 2] for feature in features], dim=1)
                grown, lag = unit(read, valid[:, :, inside : inside + planes + 2]), lag + 1
                features.append(_joined(next(held), grown, kept))
            whole = torch.cat([feature[:, :, 1 : 1 + planes] for feature in features], dim=1)
            share, *pending = [reader(whole) for reader in readers.children()]
            shares.append(share)
            if carried:
                late = [_joined(next(held), before, kept)[:, :, :planes] for before in carried]
                pending = [now + before for now, before in zip(pending, late, strict=True)]
            if pending:
                current, *carried = pending
        return (torch.cat(shares, dim=1), *kept)


class _SlabUnit(nn.Module):
    """A dense unit that takes two planes more than it gives; what lies outside the volume is zero *after* the ELU."""

    def __init__(self, unit: nn.Module, axis: int) -> None:
        super().__init__()
        self.norm = unit.get_submodule("norm")
        self.conv = _across(unit.get_submodule("conv"), axis)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.conv(functional.elu(self.norm(x)) * valid)


def _joined(before: Tensor, new: Tensor, kept: list[Tensor]) -> Tensor:
    """Planes held from the step before and new ones; what the next step needs of them is added to `kept`."""
    joined = torch.cat((before, new), dim=2)
    kept.append(joined[:, :, -before.shape[2] :])
    return joined


def _across(conv: nn.Module, axis: int) -> nn.Conv3d:
    """The same 3x3x3 convolution with `axis` first, padded within a plane but not across planes."""
    weight = conv.get_parameter("weight").detach()
    out, channels = weight.shape[:2]
    slab = nn.Conv3d(channels, out, 3, padding=(0, 1, 1), bias=False)
    slab.weight = nn.Parameter(weight.movedim(2 + axis, 2).contiguous(), requires_grad=False)
    return slab


def _shares_of(network: MDCSRN, index: int) -> nn.ModuleList:
    """What block `index` adds to the reconstruction and to the input of each later block, as 1x1x1 convolutions.

    One convolution for all of them would be sliced by channels, for which compilers leave the channels-last layout.
    """
    width, block = 2 * network.growth, (2 + network.units) * network.growth
    start = width + index * block
    shares = nn.ModuleList()
    for name in ["recon"] + [f"comp{later}" for later in range(index, network.blocks - 1)]:
        read = network.get_parameter(f"{name}.weight").detach()
        weight = read[:, start : start + block].clone()
        if index == 0:  # the first block's input is conv0's output, which the concatenation holds twice
            weight[:, :width] += read[:, :width]
        share = nn.Conv3d(block, len(weight), 1, bias=False)
        share.weight = nn.Parameter(weight, requires_grad=False)
        shares.append(share)
    return shares
