"""Run a 2D network plane by plane over volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcsrn.errors import GeometryError


class PlaneWise(nn.Module):
    """Apply a 2D network to each plane along the first spatial axis: the depth is folded into the batch.

    Args:
        network: (N, C, H, W) -> (N, C', H', W').

    >>> import torch
    >>> PlaneWise(nn.Conv2d(1, 4, 3, padding=1))(torch.zeros(2, 1, 5, 8, 9)).shape
    torch.Size([2, 4, 5, 8, 9])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, C', D, H', W')."""
        if not torch.jit.is_scripting():  # TorchScript knows none of our errors
            check_volumes(x)
        planes = self.network(x.transpose(1, 2).flatten(0, 1))
        # Not unflatten, which ONNX cannot write.
        stacked = planes.reshape(x.size(0), x.size(2), planes.size(1), planes.size(2), planes.size(3))
        return stacked.transpose(1, 2)


def check_volumes(x: Tensor) -> None:
    """Raise GeometryError unless `x` is (N, C, D, H, W)."""
    if x.ndim != 5:
        raise GeometryError("planes are taken from a batch of volumes", got=tuple(x.shape), allowed="(N, C, D, H, W)")
