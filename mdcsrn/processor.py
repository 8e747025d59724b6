"""Describe this machine's processor: the number formats it multiplies, its threads, its speed."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable

import torch

# In the names of Linux and of torch; the ones that decide between number formats.
FEATURES = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16")


@functools.cache
def features() -> tuple[str, ...]:
    """Features of :data:`FEATURES` that this processor has; empty where torch cannot tell."""
    try:
        found = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # older torch, or a processor that it does not know
        return ()
    return tuple(name for name in FEATURES if found.get(name))


@functools.cache
def has_bfloat16() -> bool:
    """True where convolutions multiply bfloat16 rather than emulating it.

    The processor must be able to, and oneDNN must be allowed to: ``ONEDNN_MAX_CPU_ISA=AVX2`` pretends an older one.
    """
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
    except (AttributeError, RuntimeError):
        return False
    return not features() or any(name in features() for name in ("avx512_bf16", "amx_bf16"))


def usable_threads() -> int:
    """Cores that this process may run on; fewer where ``OMP_NUM_THREADS`` asks for it, which torch reads by itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list is of nested levels
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) > 0 else cores


def peak_gflops(precision: str, threads: int, seconds: float = 0.5) -> dict[str, float]:
    """Measured peak of this machine: the best of repeated products of large matrices and of wide 3D convolutions.

    Args:
        precision: ``float32`` or ``bfloat16``.
        threads: of torch.
        seconds: to spend on each, > 0.

    Returns:
        10^9 floating point operations per second (a multiply-add counts as two), under ``gemm`` and ``conv``.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = (torch.rand(1024, 1024).to(dtype) for _ in range(2))
        image = torch.rand(1, 64, 16, 48, 48).to(dtype).to(memory_format=torch.channels_last_3d)
        kernel = torch.rand(64, 64, 3, 3, 3).to(dtype).to(memory_format=torch.channels_last_3d)
        with torch.inference_mode():
            gemm = _best(lambda: left @ right, seconds)
            conv = _best(lambda: torch.nn.functional.conv3d(image, kernel, padding=1), seconds)
    finally:
        torch.set_num_threads(before)
    # Zero padding is counted as work, as it is for the network.
    return {
        "gemm": 2 * 1024**3 / gemm / 1e9,
        "conv": 2 * kernel.numel() * image[0, 0].numel() / conv / 1e9,
    }


def _best(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
