"""Precision of a network's arithmetic by name: resolve ``auto`` on this machine, and open its autocast."""

from __future__ import annotations

import copy
import functools
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.notices import Notice
from mdcsrn.processor import has_bfloat16

AUTO = "auto"
Network = nn.Module | Callable[[Tensor], Tensor]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PROBE_EDGE_VOXELS = 32  # a larger patch takes longer and decides nothing else


def check_precision(precision: str) -> str:
    """Return ``auto`` or a known precision, or raise ConfigError."""
    if precision != AUTO and precision not in PRECISIONS:
        raise ConfigError("unknown precision", got=precision, allowed=", ".join((AUTO, *PRECISIONS)))
    return precision


def autocast(device_type: str, precision: str) -> torch.autocast:
    """Context in which convolutions run in `precision`; float32 leaves everything as it is.

    Args:
        device_type: ``cpu`` or ``cuda``.
        precision: ``float32`` or ``bfloat16``; ``auto`` goes through :func:`resolve_precision` first.
    """
    if precision not in PRECISIONS:
        raise ConfigError("unknown precision", got=precision, allowed=", ".join(PRECISIONS))
    dtype = PRECISIONS[precision]
    return torch.autocast(device_type, dtype, enabled=dtype != torch.float32)


def resolve_precision(precision: str, network: Network, patch: Tensor, training: bool = False) -> str:
    """The precision to compute in on this device.

    ``auto`` is bfloat16 where the device multiplies it and a timed step of this very network says that it is faster,
    else float32. Without such hardware bfloat16 is emulated, a hundred times slower: asked for by name it is kept, with
    the warning ``bfloat16-emulated``.

    Args:
        precision: ``auto``, ``float32`` or ``bfloat16``.
        network: (N, C, D, H, W) -> any tensor; it is not changed. For `training` a module, which is copied.
        patch: an input of the network, shape (N, C, D, H, W), on its device; its first 32^3 voxels are timed.
        training: a step is forward and backward, else forward alone.

    Returns:
        ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: an unknown precision.
    """
    check_precision(precision)
    native = _multiplies_bfloat16(patch.device.type)
    if precision == "bfloat16" and patch.device.type == "cpu" and not native:
        _warn_of_emulation()
    if precision != AUTO:
        return precision
    if not native or patch.device.type != "cpu":
        return "bfloat16" if native else "float32"
    edge = PROBE_EDGE_VOXELS
    small = patch[:1, :, :edge, :edge, :edge]
    seconds = {name: step_seconds(network, small, name, training) for name in PRECISIONS}
    return min(seconds, key=seconds.__getitem__)


def step_seconds(network: Network, patch: Tensor, precision: str, training: bool, repeats: int = 2) -> float:
    """Seconds of one step of `network`: the best of `repeats`, after one that compiles.

    Args:
        network: see :func:`resolve_precision`.
        patch: its input, all of which is computed.
        precision: ``float32`` or ``bfloat16``.
        training: forward and backward, else forward alone.
        repeats: counted steps, >= 1.
    """
    given = patch.detach().to(memory_format=torch.channels_last_3d)
    subject = copy.deepcopy(network).train() if training and isinstance(network, nn.Module) else network

    def step() -> None:
        with torch.set_grad_enabled(training), autocast(given.device.type, precision):
            output = subject(given)
        if training:
            output.float().abs().mean().backward()

    with torch.random.fork_rng(devices=[]):  # the run's own draws stay as they are
        return _best_seconds(step, repeats)


def _multiplies_bfloat16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and has_bfloat16()


@functools.cache  # once a process
def _warn_of_emulation() -> None:
    notice = Notice(
        "bfloat16-emulated",
        f"this processor has no bfloat16 arithmetic: a small convolution takes {_emulation_ratio():.0f} times as long "
        "as in float32; precision auto, or float32, avoids that",
    )
    warnings.warn(str(notice), stacklevel=3)


def _emulation_ratio() -> float:
    """How many times as long a small convolution takes in bfloat16 as in float32."""
    image, convolution = torch.rand(1, 16, 16, 16, 16), nn.Conv3d(16, 16, 3, padding=1, bias=False)
    seconds = {name: step_seconds(convolution, image, name, training=False) for name in PRECISIONS}
    return seconds["bfloat16"] / seconds["float32"]


def _best_seconds(call: Callable[[], None], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
