"""Run a network in plain PyTorch on the processor: always available, the reference for every other backend."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mdcsrn.inference.backends.base import Backend, Job, Runner, Tensors, as_tuple, threads_of
from mdcsrn.networks.precision import autocast
from mdcsrn.processor import has_bfloat16


class EagerBackend(Backend):
    """Plain calls; for bfloat16 autocast: convolutions in bfloat16, the rest as they are.

    Args:
        channels_last: order of weights and images in memory; False is torch's default, and slower.
    """

    name = "eager"

    def __init__(self, channels_last: bool = True) -> None:
        self.channels_last = channels_last

    def available(self) -> str | None:
        """Always None."""
        return None

    def precisions(self) -> tuple[str, ...]:
        """Bfloat16 only where the processor multiplies it; emulated, it is slower than float32."""
        return ("bfloat16", "float32") if has_bfloat16() else ("float32",)

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        network = channels_last(module) if self.channels_last else copy.deepcopy(module).eval()
        order = last if self.channels_last else torch.Tensor.contiguous

        @torch.inference_mode()
        def run(inputs: Tensors) -> Tensors:
            with threads_of(job.threads), autocast("cpu", job.precision):
                result = as_tuple(network(*(order(tensor) for tensor in inputs)))
            return (result[0].float(), *result[1:])

        return run


def channels_last(module: nn.Module) -> nn.Module:
    """A copy of a network with its 3D weights in channels-last order."""
    network = copy.deepcopy(module).eval()
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def last(tensor: torch.Tensor) -> torch.Tensor:
    """A 5D tensor in channels-last order (`contiguous` would leave one channel as it is), any other as it is."""
    return tensor.to(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor
