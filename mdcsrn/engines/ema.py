"""Exponential moving average of the generator, weights and BatchNorm buffers: what is validated and saved."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.errors import ConfigError


class WarmAverage:
    """Averaging rule with decay min(d, (1 + n) / (10 + n)) at update n, so that short runs are not stuck at the start.

    Args:
        decay: d, in [0, 1); 0 follows the network at once.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError("decay of the moving average", got=decay, allowed="[0, 1)")
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        """Move each averaged tensor towards the current one; whole numbers are copied."""
        n = int(updates)
        weight = 1 - min(self.decay, (1 + n) / (10 + n))
        for average, value in zip(averaged, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), weight)
            else:
                average.copy_(value)


def moving_average(network: nn.Module, decay: float = 0.999) -> AveragedModel:
    """Moving average of a network, its buffers included; ``.module`` is the averaged network.

    Args:
        network: the network that is trained.
        decay: see :class:`WarmAverage`.

    Returns:
        torch's AveragedModel in evaluation mode; call ``update_parameters(network)`` after each update.
    """
    average = AveragedModel(network, multi_avg_fn=WarmAverage(decay), use_buffers=True)
    return average.eval().requires_grad_(False)
