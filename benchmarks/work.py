"""What a network costs, counted: parameters and floating-point operations per voxel of the high-resolution grid."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

EDGE = 64  # voxels: a multiple of every peer's factor, so that nothing is padded but SwinUNETR's windows


def parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(value.numel() for value in network.parameters())


def flops_per_voxel(network: nn.Module, edge: int = EDGE) -> float:
    """Operations of one forward pass over a cube, convolutions and matrix products alone, a multiply-add as two.

    Counted by torch without computing anything (meta tensors).

    Args:
        network: (1, 1, edge, edge, edge) -> same shape.
        edge: of the cube, voxels.

    Returns:
        FLOP per voxel.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shadow(torch.empty(1, 1, edge, edge, edge, device="meta"))
    return counter.get_total_flops() / edge**3


def convolution_flops_per_voxel(network: nn.Module, edge: int = EDGE) -> float:
    """The convolutions' share of :func:`flops_per_voxel` by arithmetic: 2 x weights x positions, layer by layer."""
    shadow = copy.deepcopy(network).to("meta").eval()
    total = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output
        total += 2 * layer.weight.numel() * positions[0, 0].numel()

    for layer in shadow.modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        shadow(torch.empty(1, 1, edge, edge, edge, device="meta"))
    return total / edge**3
