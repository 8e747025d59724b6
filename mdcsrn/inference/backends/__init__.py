"""Run a network by eager or compiled PyTorch, OpenVINO, ONNX Runtime or CUDA, and choose between them."""

from __future__ import annotations

from mdcsrn.errors import ConfigError, MissingDependencyError
from mdcsrn.inference.backends.base import PRECISIONS, Backend, Calibrate, Runner, Tensors
from mdcsrn.inference.backends.compiled import CompileBackend
from mdcsrn.inference.backends.cuda import CudaBackend
from mdcsrn.inference.backends.eager import EagerBackend
from mdcsrn.inference.backends.onnxruntime import OnnxRuntimeBackend
from mdcsrn.inference.backends.openvino import OpenVinoBackend
from mdcsrn.inference.backends.select import TOLERANCE_DB, Attempt, Choice, select
from mdcsrn.optional import need

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
    "check_choice",
    "select",
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
    """Backends that the user's settings allow, for :func:`select`.

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


def check_choice(name: str = "auto", device: str = "auto", precision: str = "auto") -> None:
    """Refuse a choice of the user that cannot run here, before anything is computed.

    Args:
        name: as for :func:`candidates`, as is `device`.
        device: see there.
        precision: ``auto`` or one of :data:`PRECISIONS`.

    Raises:
        ConfigError: unknown, or the three do not go together.
        MissingDependencyError: the one backend named cannot run here.
    """
    found = candidates(name, device, calibrate=lambda module: ())  # with it, 8-bit arithmetic is offered
    if name == "onnxruntime":
        need("the backend onnxruntime", "fast", "onnx", "onnxruntime")
    if precision == "int8" and name in ("auto", "openvino"):
        need("--precision int8", "int8", "nncf")
    if precision not in ("auto", *PRECISIONS):
        raise ConfigError("unknown precision", got=precision, allowed=", ".join(("auto", *PRECISIONS)))
    absent = {one.name: reason for one in found if (reason := one.available()) is not None}
    if len(found) == len(absent) == 1:
        ((name, reason),) = absent.items()
        raise MissingDependencyError(f"the backend {name} cannot run here", got=reason, remedy="choose another one")
    offered = {one.name: one.precisions() for one in found if one.name not in absent}
    if precision != "auto" and not any(precision in able for able in offered.values()):
        lacking = "".join(f"; {one}: {reason}" for one, reason in absent.items())
        raise ConfigError(
            "no backend is left to run the network", got=f"precision {precision}{lacking}",
            allowed="; ".join(f"{one}: {', '.join(able)}" for one, able in offered.items()),
        )  # fmt: skip
