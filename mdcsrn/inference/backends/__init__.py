"""Ways to run a network: eager and compiled PyTorch, OpenVINO, ONNX Runtime, CUDA, and the choice between them."""

from __future__ import annotations

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends.base import PRECISIONS, Backend, Calibrate, Runner, Tensors
from mdcsrn.inference.backends.compiled import CompileBackend
from mdcsrn.inference.backends.cuda import CudaBackend
from mdcsrn.inference.backends.eager import EagerBackend
from mdcsrn.inference.backends.onnxruntime import OnnxRuntimeBackend
from mdcsrn.inference.backends.openvino import OpenVinoBackend
from mdcsrn.inference.backends.pick import TOLERANCE_DB, Attempt, Choice, pick

NAMES = ("cuda", "openvino", "compile", "eager", "onnxruntime")

__all__ = [
    "NAMES",
    "PRECISIONS",
    "TOLERANCE_DB",
    "Attempt",
    "Backend",
    "Calibrate",
    "Choice",
    "Runner",
    "Tensors",
    "backend",
    "candidates",
    "pick",
]


def backend(name: str, calibrate: Calibrate | None = None) -> Backend:
    """A backend by its name.

    Args:
        name: one of :data:`NAMES`.
        calibrate: gives arguments of a network from real scans; with it OpenVINO offers 8-bit arithmetic.

    Raises:
        ConfigError: unknown name.
    """
    if name == "openvino":
        return OpenVinoBackend(calibrate)
    makers = {
        "cuda": CudaBackend,
        "compile": CompileBackend,
        "eager": EagerBackend,
        "onnxruntime": OnnxRuntimeBackend,
    }
    if name not in makers:
        raise ConfigError("unknown backend", got=name, allowed=", ".join(NAMES))
    return makers[name]()


def candidates(name: str = "auto", device: str = "auto", calibrate: Calibrate | None = None) -> list[Backend]:
    """Backends that the user's settings allow, for :func:`pick`.

    Args:
        name: ``auto`` or one of :data:`NAMES`.
        device: ``auto``, ``cpu`` or ``cuda`` (``cuda:1``).
        calibrate: see :func:`backend`.

    Raises:
        ConfigError: unknown, or a backend that does not run on that device.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError("unknown device", got=device, allowed="auto, cpu, cuda, cuda:1")
    names: tuple[str, ...] = NAMES if name == "auto" else (name,)
    if kind != "auto":
        names = tuple(one for one in names if (one == "cuda") == (kind == "cuda"))
    if not names:
        raise ConfigError("the backend does not run on that device", got=f"{name} on {device}", allowed="auto")
    return [CudaBackend(int(index)) if one == "cuda" and index else backend(one, calibrate) for one in names]
