"""Several processes, one model: gradients and buffers are averaged by hand.

DistributedDataParallel hooks each parameter once per backward, which a gradient penalty (three critic passes, a double
backward) does not fit. One all-reduce of the flattened gradients does, on gloo and NCCL alike.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of processes, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 without torch.distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def start(backend: str | None = None) -> torch.device:
    """Join the processes that torchrun started, and choose this one's device.

    Args:
        backend: ``nccl`` or ``gloo``; None: NCCL where CUDA is there, gloo elsewhere.

    Returns:
        ``cuda:<local rank>`` or ``cpu``.
    """
    cuda = torch.cuda.is_available()
    if not dist.is_initialized():
        dist.init_process_group(backend or ("nccl" if cuda else "gloo"))
    if not cuda:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def share(count: int) -> range:
    """Items that this process validates: every item in one process, or in each where there are too few to share.

    Args:
        count: number of items.

    Returns:
        Their numbers; never empty, since a process without an item would not join the others' gathering.
    """
    return range(rank(), count, world_size()) if count >= world_size() else range(count)


def only_first_process_logs() -> None:
    """Leave progress messages to rank 0; warnings and errors come from every process."""
    if rank() > 0:
        logging.disable(logging.INFO)  # the root's level would not do: Ignite's loggers have their own


def stop() -> None:
    """Leave the process group, where there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def broadcast(module: nn.Module) -> None:
    """Give every process rank 0's weights and buffers."""
    if world_size() > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)


def same_choice(index: int) -> int:
    """Rank 0's `index`, for a choice by measurement that every process must make alike."""
    if world_size() == 1:
        return index
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    chosen = torch.tensor(index, device=device)
    dist.broadcast(chosen, 0)
    return int(chosen)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; a no-op in one process."""
    _average([p.grad for p in parameters if p.grad is not None])


def average_buffers(module: nn.Module) -> None:
    """Replace floating-point buffers (BatchNorm statistics) by their mean over the processes."""
    _average([b for b in module.buffers() if b.is_floating_point()])


def average_value(value: Tensor) -> Tensor:
    """Mean of a scalar over the processes; the same on every one, NaN where any has NaN."""
    value = value.detach().clone()
    _average([value])
    return value


def largest(value: int, device: torch.device) -> int:
    """Largest value of all processes."""
    if world_size() == 1:
        return value
    found = torch.tensor(value, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def wait() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        dist.barrier()


def _average(tensors: list[Tensor]) -> None:
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([t.detach().flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))
