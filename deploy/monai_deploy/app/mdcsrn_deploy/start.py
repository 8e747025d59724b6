"""What the process needs before Holoscan is imported: the CUDA runtime library, and a larger stack.

Holoscan links libcudart.so.13 even where there is no GPU. The package nvidia-cuda-runtime brings that library in a
place where no loader looks, so it is loaded here by its path; what links it afterwards finds it by its name. An image
that has a CUDA runtime of its own does without the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
from pathlib import Path

CUDA_RUNTIME = "libcudart.so.13"
STACK = 32 << 20  # bytes: Holoscan asks for that much and warns of less


def prepare() -> None:
    """Load the CUDA runtime and raise the soft limit of the stack; Holoscan's own chatter starts at warnings."""
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "WARN")
    library = cuda_runtime()
    if library is not None:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    enough = hard == resource.RLIM_INFINITY or hard >= STACK
    if soft != resource.RLIM_INFINITY and soft < STACK and enough:
        with contextlib.suppress(OSError, ValueError):  # Holoscan then warns
            resource.setrlimit(resource.RLIMIT_STACK, (STACK, hard))


def cuda_runtime() -> Path | None:
    """Path of the library in the package nvidia-cuda-runtime; None where that is not installed."""
    found = importlib.util.find_spec("nvidia")
    places = found.submodule_search_locations if found is not None else None
    libraries = [path for place in places or () for path in sorted(Path(place).glob(f"*/lib/{CUDA_RUNTIME}"))]
    return libraries[0] if libraries else None
