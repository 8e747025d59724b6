"""Measure the memory available on machine, container and device, and estimate what a slab takes."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from mdcsrn.networks.slab import SlabMDCSRN

GIB = 1 << 30
FREE_MEMORY_SHARE = 0.7  # of what is free: other programs live here too
MAX_PROCESS_BYTES = 6 * GIB  # of the process; more memory buys larger slabs, and those no time
MIN_NETWORK_BYTES = 2 * GIB  # of the network, where large volumes or the caller's own data have taken most of that
# Of what the caller allows: libraries load code and build kernels later, more on some processors than on others.
RESERVE_BYTES = 0.04 * GIB
VOLUMES = 28  # bytes a voxel: input, zero-filled input, result, their k-space crops and the file being written

# Memory of a slab: bytes for the network's code and reordered weights, how many times its `alive` channels it takes at
# the peak, and bytes of each value. A state is there several times over: handed in, handed out, inside, and as it is
# joined to new planes. Measured with the b4u4 network on 4 to 24 planes of 60x80 to 96x144: 0 to 0.3 GiB below this.
COPIES = {
    ("openvino", "bfloat16"): (0.06 * GIB, 3.5, 2),
    ("openvino", "float16"): (0.06 * GIB, 3.5, 2),
    ("openvino", "float32"): (0.06 * GIB, 3.5, 4),
}
# PyTorch's blocks of up to 32 MiB come from the C library's heap, whose gaps took up to 0.1 GiB more on small planes.
COPIES_OF_OTHERS = (0.25 * GIB, 8.0, 4)
STATE_COPIES = 7.0


def budget(voxels: int, max_memory: float | None = None, device: torch.device | None = None) -> float:
    """Bytes that the network's activations may take.

    Args:
        voxels: of the result.
        max_memory: GiB that the whole process may take; None: 70 % of what is free, and so much of it that the process
            stays within 6 GiB, or 2 GiB where that is more.
        device: where the activations are; on a GPU the volumes stay outside of it.

    Returns:
        Bytes, possibly too few for anything: the plan says so.
    """
    if device is not None and device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] * FREE_MEMORY_SHARE
        return free if max_memory is None else min(free, max_memory * GIB)
    give_back()
    volumes = VOLUMES * voxels
    if max_memory is not None:
        return max_memory * GIB - RESERVE_BYTES - resident() - volumes
    return min(
        available() * FREE_MEMORY_SHARE - volumes, max(MAX_PROCESS_BYTES - resident() - volumes, MIN_NETWORK_BYTES)
    )


def slab_bytes(slab: SlabMDCSRN, backend: str, precision: str, planes: int, area: int) -> float:
    """Peak memory of one step.

    Args:
        slab: the network, of any number of planes.
        backend: that runs it.
        precision: in which.
        planes: of a slab.
        area: voxels of a plane.
    """
    fixed, factor, width = COPIES.get((backend, precision), COPIES_OF_OTHERS)
    return fixed + area * width * (factor * slab.alive * planes + STATE_COPIES * slab.held)


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be taken without swapping: of the machine, of its containers or of a limit, whichever is least.

    Args:
        proc: where the system tells of itself and of this process.
        groups: where it tells of control groups, version 1 or 2.
    """
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (proc / "meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    if not found:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return max(min([*found, *_in_groups(proc, groups), *_under_limit(proc)]), 0)


def _in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """Bytes left in each control group that this process is in; file pages that can be dropped count as left."""
    names = {
        "": ("memory.max", "memory.current", "inactive_file"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        kind = "memory" if "memory" in controllers.split(",") else controllers
        if kind not in names:
            continue
        limit, usage, droppable = names[kind]
        inner = Path(path.lstrip("/"))
        for name in (inner, *inner.parents):  # an outer group's limit holds too; inside a container only "." is seen
            folder = groups / kind / name
            with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                stat = dict(pair.split() for pair in (folder / "memory.stat").read_text().splitlines())
                yield left + int(stat.get(droppable, 0))


def _under_limit(proc: Path) -> Iterator[int]:
    """Bytes of address space that the process may still take, where the shell or a batch system set a limit."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield limit - int((proc / "self" / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return what was freed to the system: the C library keeps it, and it would count as taken at the next volume."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int:
    """Bytes that this process holds now; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
