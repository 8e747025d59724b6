"""How much memory there is to plan with: of the machine, of the container, of the device."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from mdcsrn.networks.slab import SlabMDCSRN

GIB = 1 << 30
SHARE = 0.7  # of what is free: other programs live here too
MOST = 6 * GIB  # more memory buys larger slabs, and those no time
VOLUMES = 28  # bytes a voxel: input, zero-filled input, result, their k-space crops and the file being written

# Memory of a slab: how many times its `alive` channels it takes at the peak, and bytes of each value; measured with
# benchmarks/inference.py. A state is there several times over: handed in, handed out, and inside.
COPIES = {("openvino", "bfloat16"): (3.5, 2), ("openvino", "float16"): (3.5, 2), ("openvino", "float32"): (3.5, 4)}
COPIES_OF_OTHERS = (8.0, 4)
STATE_COPIES = 5.0


def budget(voxels: int, max_memory: float | None = None, device: torch.device | None = None) -> float:
    """Bytes that the network's activations may take.

    Args:
        voxels: of the result.
        max_memory: GiB that the whole process may take; None: 70 % of what is free, 6 GiB at most.
        device: where the activations are; on a GPU the volumes stay outside of it.

    Returns:
        Bytes, possibly too few for anything: the plan says so.
    """
    if device is not None and device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] * SHARE
        return free if max_memory is None else min(free, max_memory * GIB)
    whole = min(available() * SHARE + resident(), MOST) if max_memory is None else max_memory * GIB
    return whole - resident() - VOLUMES * voxels


def slab_bytes(slab: SlabMDCSRN, backend: str, precision: str, planes: int, area: int) -> float:
    """Peak memory of one step.

    Args:
        slab: the network, of any number of planes.
        backend: that runs it.
        precision: in which.
        planes: of a slab.
        area: voxels of a plane.
    """
    factor, width = COPIES.get((backend, precision), COPIES_OF_OTHERS)
    return area * width * (factor * slab.alive * planes + STATE_COPIES * slab.held)


def available() -> int:
    """Bytes that can be taken without swapping: of the machine, or of the container where that is less."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    if not found:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return max(min(found), 0)


def resident() -> int:
    """Bytes that this process holds now; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
