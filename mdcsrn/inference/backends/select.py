"""Select the fastest backend whose error against float32 is small enough, timed on a piece of the volume itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, MissingDependencyError
from mdcsrn.inference.backends.base import Backend, Tensors, as_tuple
from mdcsrn.inference.backends.eager import EagerBackend
from mdcsrn.inference.backends.kept import lent

TOLERANCE_DB = 55.0

# Fastest first, as `mdcsrn benchmark` measures them. Left out: torch.compile, which compiles for longer than it saves
# on one volume; ONNX Runtime, float32 alone and half as fast as OpenVINO's; eight bits, 1.4 times as fast as bfloat16
# but 10 s of calibration for each volume, and 49 to 57 dB from float32 where the whole change is 44 dB.
PREFERENCE = (
    ("cuda", "bfloat16"),
    ("openvino", "bfloat16"),
    ("openvino", "float16"),
    ("eager", "bfloat16"),
    ("cuda", "float32"),
    ("openvino", "float32"),
    ("eager", "float32"),
)


@dataclass(frozen=True)
class Attempt:
    """One combination that was looked at.

    Attributes:
        backend: its name.
        precision: see :data:`mdcsrn.inference.backends.base.PRECISIONS`.
        psnr_db: of its result against float32 on the probe; None where it was not run.
        reason: why it was not taken; empty for the one that was.
        seconds: that it took to compile and run the probe.
    """

    backend: str
    precision: str
    psnr_db: float | None
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The backend taken, its precision, and all that was tried on the way there, in order."""

    backend: Backend
    precision: str
    attempts: tuple[Attempt, ...]

    @property
    def psnr_db(self) -> float:
        """Of the choice against float32 on the probe; infinite for the reference itself."""
        value = self.attempts[-1].psnr_db
        return math.inf if value is None else value

    def to_dict(self) -> dict[str, object]:
        """Plain values for a record."""
        return {
            "backend": self.backend.name,
            "precision": self.precision,
            "probe_psnr_db": None if math.isinf(self.psnr_db) else round(self.psnr_db, 2),
            "tried": [f"{a.backend} {a.precision}: {a.reason}" for a in self.attempts[:-1]],
        }


def select(
    module: nn.Module,
    probe: Tensors,
    candidates: Sequence[Backend],
    precision: str = "auto",
    tolerance_db: float = TOLERANCE_DB,
    data_range: float = 1.0,
    threads: int | None = None,
    judge: Callable[[Tensor], Tensor] | None = None,
) -> Choice:
    """Choose how to run a network.

    Args:
        module: network in evaluation mode; its first result is judged.
        probe: its arguments, a small piece of the volume that is to be run, intensities as in training.
        candidates: backends allowed. One alone is one that the user named: combinations that :data:`PREFERENCE` leaves
            out are then tried too, slowest last, and its absence is an error.
        precision: ``auto``, or the only one allowed: the user's own choice, which is not judged by `tolerance_db`.
        tolerance_db: least PSNR against eager float32, dB.
        data_range: peak of that PSNR; 1.0 where a volume is scaled to its 99.9th percentile.
        threads: see :meth:`mdcsrn.inference.backends.base.Backend.compile`.
        judge: turns the network's first result into the image whose error counts; None: the result itself.

    Returns:
        The first of the order that is there and close enough; nothing is timed, so the same machine chooses the same.

    Raises:
        MissingDependencyError: the one backend named cannot run here.
        ConfigError: no combination is left.
    """
    by_name = {backend.name: backend for backend in candidates}
    absent = {name: reason for name, backend in by_name.items() if (reason := backend.available()) is not None}
    if len(by_name) == len(absent) == 1:
        name, reason = next(iter(absent.items()))
        raise MissingDependencyError(f"the backend {name} cannot run here", got=reason, remedy="choose another one")
    attempts = [Attempt(name, "any", None, reason) for name, reason in absent.items()]
    image = judge or (lambda result: result)
    with torch.inference_mode():
        reference = image(as_tuple(module(*probe))[0].float().cpu())
    for name, tried in _order([backend for name, backend in by_name.items() if name not in absent], precision):
        attempt = _try(by_name[name], tried, module, probe, reference, image, data_range, threads)
        if precision == "auto" and attempt.psnr_db is not None and not attempt.psnr_db >= tolerance_db:
            got = f"{attempt.psnr_db:.1f} dB to float32, less than {tolerance_db:g}"
            attempts.append(Attempt(name, tried, attempt.psnr_db, got, attempt.seconds))
            continue
        return Choice(by_name[name], tried, (*attempts, attempt))
    raise ConfigError(
        "no backend is left to run the network",
        got=f"precision {precision}; " + "; ".join(f"{a.backend} {a.precision}: {a.reason}" for a in attempts),
        allowed="; ".join(f"{n}: {', '.join(b.precisions())}" for n, b in by_name.items() if n not in absent),
    )


def _order(backends: Sequence[Backend], precision: str) -> list[tuple[str, str]]:
    offered = [(backend.name, able) for backend in backends for able in backend.precisions()]
    wanted = [pair for pair in offered if precision in ("auto", pair[1])]
    known = [pair for pair in PREFERENCE if pair in wanted]
    named = precision != "auto" or len(backends) == 1
    return known + [pair for pair in wanted if named and pair not in known]


def _try(
    backend: Backend,
    precision: str,
    module: nn.Module,
    probe: Tensors,
    reference: Tensor,
    image: Callable[[Tensor], Tensor],
    data_range: float,
    threads: int | None,
) -> Attempt:
    start = time.perf_counter()
    if isinstance(backend, EagerBackend) and precision == "float32":
        return Attempt(backend.name, precision, None, "")  # the reference itself
    with lent(backend, module, probe, precision, threads, small=probe) as run:
        result = image(run(probe)[0].cpu())
    return Attempt(backend.name, precision, psnr(result, reference, data_range), "", time.perf_counter() - start)


def psnr(result: Tensor, reference: Tensor, data_range: float) -> float:
    """10 log10(data_range^2 / mean squared difference), dB; infinite for equal tensors, NaN for non-finite ones."""
    error = (result.double() - reference.double()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error) if math.isfinite(error) else math.nan
