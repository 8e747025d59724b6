"""A network that a trainer updates, with its optimiser, scheduler and clipping norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mdcsrn.engines import distributed
from mdcsrn.networks.weights import fill_network, network_state

GENERATOR, CRITIC = "generator", "critic"  # names of parts in TensorBoard and in checkpoints


@dataclass
class Part:
    """One network of a training run.

    Attributes:
        network: a network of the catalogue; its constructor arguments are stored in checkpoints.
        optimizer: of the network's parameters and no others.
        scheduler: learning-rate scheduler of `optimizer`, stepped at every iteration of the run, or None.
        max_gradient_norm: gradients are clipped to this 2-norm; None: not clipped.
    """

    network: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None = None
    max_gradient_norm: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Network with its constructor arguments, optimiser, and scheduler where there is one."""
        return {
            "network": network_state(self.network),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        """Take back what :meth:`state_dict` gave.

        Args:
            state: the part's entry of a training checkpoint.
            source: path of the checkpoint, for error messages.

        Raises:
            CheckpointError: the state belongs to another network.
        """
        fill_network(self.network, state["network"], source)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    def update(self) -> None:
        """One step of the optimiser; BatchNorm statistics become the mean over the processes."""
        self.optimizer.step()
        distributed.average_buffers(self.network)

    def gradient_norm(self) -> float:
        """Average the gradients over the processes and clip them; returns their 2-norm before clipping."""
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        distributed.average_gradients(parameters)
        limit = float("inf") if self.max_gradient_norm is None else self.max_gradient_norm
        return float(nn.utils.clip_grad_norm_(parameters, limit))


def place(network: nn.Module, device: str | torch.device, memory_format: torch.memory_format) -> None:
    """Move a network to the device and its convolutions to the memory format, with rank 0's values everywhere.

    In place: optimisers keep their parameters.

    Args:
        network: any network.
        device: where to train.
        memory_format: layout of the weights of 3D convolutions; those of 2D ones get its counterpart.
    """
    network.to(device)
    flat = torch.channels_last if memory_format is torch.channels_last_3d else memory_format
    formats = {nn.Conv3d: memory_format, nn.Conv2d: flat}
    for module in network.modules():  # Module.to(memory_format) refuses the 4-axis LayerNorm of two critics
        for kind, layout in formats.items():
            if isinstance(module, kind):
                # not contiguous(): it leaves one input channel as it is, and activations follow the strides of conv0
                module.weight.data = module.weight.data.to(memory_format=layout)
    distributed.broadcast(network)
