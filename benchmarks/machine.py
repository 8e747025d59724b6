"""What a figure was measured on: processor, cores, memory and versions, to stand beside every figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

import mdcsrn
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.precision import resolve_precision

# glibc gives large blocks back to the system at once; keeping them, in huge pages, saves most page faults of training.
ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": "100000000000",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "1073741824",
}


def machine() -> dict[str, Any]:
    """Facts about this machine and its software, as plain values."""
    processor, memory = platform.processor() or platform.machine(), 0.0
    features = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = dict(line.split(":", 1) for line in lines if ":" in line)
        values = {key.strip(): value.strip() for key, value in named.items()}
        processor = values.get("model name", processor)
        flags = values.get("flags", "").split()
        features = " ".join(flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "processor": processor,
        "features": features,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "mdcsrn": mdcsrn.__version__,
    }


def resolved(precision: str) -> str:
    """``auto`` as the precision in which the shipped kind of network is faster here, so that figures state it."""
    network = MDCSRN(space_to_depth=(2, 2, 2)).eval()
    return resolve_precision(precision, network, torch.rand(1, 1, 32, 32, 32))


def allocator_environment() -> dict[str, str]:
    """This process's environment with the allocator settings above; what is set already stays."""
    return {**ALLOCATOR, **os.environ}
