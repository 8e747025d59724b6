"""mDCSRN slab by slab: the same function of a whole volume, computed along one axis with nothing computed twice.

Every 3x3x3 convolution keeps the last two planes of its input from the slab before, so its output lags one plane behind
its input. The 1x1x1 convolutions after the blocks are linear in the concatenation that they read, so each block adds
its share to the later ones' inputs instead of being carried along: 96 channels are alive where the plain network has
416. The state between two slabs is handed in and out, which makes this a pure function that any compiler can take.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.networks.mdcsrn import MDCSRN, DenseUnit


class SlabMDCSRN(nn.Module):
    """One step of an mDCSRN along the first spatial axis, without the global residual.

    With P new planes of the input, [t, t + P), `forward` returns for block i its share of the network's output at the
    planes [t - lag_i, t - lag_i + P); the sum of all shares is the output. Feed zeros after the last plane until the
    largest lag is through.

    Args:
        network: the network, in evaluation mode; its parameters are shared where they are not folded.
        planes: P, at least 4 (a block's lag must fit into a slab).
    """

    def __init__(self, network: MDCSRN, planes: int) -> None:
        super().__init__()
        self.planes, self.units = planes, network.units
        self.lags = tuple(1 + (index + 1) * network.units for index in range(network.blocks))
        if planes < max(2, network.units):
            raise ValueError(f"a slab of {planes} planes is shorter than a block's lag of {network.units}")
        self.conv0 = _without_padding(network.conv0)
        blocks = [network.get_submodule(f"block{index}") for index in range(network.blocks)]
        self.blocks = nn.ModuleList(nn.ModuleList(_SlabUnit(unit) for unit in block.children()) for block in blocks)
        self.shares = nn.ModuleList(_share_of(network, index) for index in range(network.blocks))
        self.growth, self.width, self.channels = network.growth, 2 * network.growth, network.conv0.in_channels
        self.eval()

    @property
    def context(self) -> int:
        """Planes before the slab that `valid` covers: the largest lag and two more."""
        return self.lags[-1] + 2

    def state_shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shapes of the state tensors, all zero before the first slab."""
        shapes = [(self.channels, 2)]
        for index, block in enumerate(self.blocks):
            shapes += [(self.width + unit * self.growth, 2) for unit in range(self.units)]
            later = (len(self.blocks) - 1 - index) * self.width
            if index and later:
                shapes.append((later, self.units))
        return [(1, channels, planes, height, width) for channels, planes in shapes]

    def forward(self, x: Tensor, valid: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            x: new planes, shape (1, c, P, H, W), zero outside the volume.
            valid: 1 at planes of the volume, 0 outside, for the planes [t - context, t + P), shape
                (1, 1, context + P, 1, 1): each convolution pads its input with zeros there.
            state: tensors of :meth:`state_shapes`, from the step before.

        Returns:
            One share for each block, shape (1, c, P, H, W), then the new state.
        """
        held, kept, shares = iter(state), [], []
        current, lag = self.conv0(_joined(next(held), x, kept)), 1
        carried = x[:, :0]  # inputs of the blocks after the next one, as far as known
        for index, (block, share) in enumerate(zip(self.blocks, self.shares, strict=True)):
            for unit in block:
                joined = _joined(next(held), current, kept)
                first = self.context - lag - 2
                grown = unit(joined, valid[:, :, first : first + self.planes + 2])
                current, lag = torch.cat((joined[:, :, 1:-1], grown), dim=1), lag + 1
            mixed = share(current)
            shares.append(mixed[:, : self.channels])
            pending = mixed[:, self.channels :]
            if carried.shape[1]:
                pending = pending + _joined(next(held), carried, kept)[:, :, : self.planes]
            current, carried = pending[:, : self.width], pending[:, self.width :]
        return (*shares, *kept)


class _SlabUnit(nn.Module):
    """A dense unit that takes two planes more than it gives; what lies outside the volume is zero *after* the ELU."""

    def __init__(self, unit: DenseUnit) -> None:
        super().__init__()
        self.norm, self.conv = unit.norm, _without_padding(unit.conv)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.conv(functional.elu(self.norm(x)) * valid)


def _joined(before: Tensor, new: Tensor, kept: list[Tensor]) -> Tensor:
    """Planes held from the step before and new ones; what the next step needs of them is added to `kept`."""
    joined = torch.cat((before, new), dim=2)
    kept.append(joined[:, :, -before.shape[2] :])
    return joined


def _without_padding(conv: nn.Conv3d) -> nn.Conv3d:
    """The same 3x3x3 convolution, padded within a plane but not across planes."""
    out, channels = conv.weight.shape[:2]
    slab = nn.Conv3d(channels, out, 3, padding=(0, 1, 1), bias=False)
    slab.weight = conv.weight
    return slab


def _share_of(network: MDCSRN, index: int) -> nn.Conv3d:
    """What block `index` adds to the reconstruction and to the inputs of all later blocks: one 1x1x1 convolution."""
    width, growth = 2 * network.growth, network.growth
    block = (2 + network.units) * growth
    readers = [network.recon] + [network.get_submodule(f"comp{later}") for later in range(index, network.blocks - 1)]
    weights = []
    for reader in readers:
        start = width + index * block
        weight = reader.weight[:, start : start + block].clone()
        if index == 0:  # the first block's input is conv0's output, which the concatenation holds twice
            weight[:, :width] += reader.weight[:, :width]
        weights.append(weight)
    share = nn.Conv3d(block, sum(len(weight) for weight in weights), 1, bias=False)
    share.weight = nn.Parameter(torch.cat(weights), requires_grad=False)
    return share
