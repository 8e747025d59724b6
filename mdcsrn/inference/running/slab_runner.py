"""Run a network over a whole volume, fast and within a memory budget, with the result of one whole-volume pass."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends import Choice, Runner, Tensors, candidates, select
from mdcsrn.inference.backends.kept import RUNNERS, lent
from mdcsrn.inference.running.calibration import sample_columns
from mdcsrn.inference.running.memory import budget, give_back, slab_bytes
from mdcsrn.inference.running.slab_route import Route, TooLittleMemory, plan_route
from mdcsrn.inference.running.streaming import stream
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN, least_planes

PROBE = 24  # voxels: edge of the cube on which a backend's error is measured
# What torch, oneDNN, OpenVINO and C++ say when the system gives them no memory.
REFUSALS = ("out of memory", "not enough memory", "can't alloc", "cannot alloc", "failed to allocate", "bad_alloc")

logger = logging.getLogger(__name__)


@dataclass
class SlabRunner:
    """Runs one network; the backend is chosen at the first volume.

    Attributes:
        network: in evaluation mode.
        backend: ``auto``, or a name of :data:`mdcsrn.inference.backends.NAMES`.
        precision: ``auto``, or one of :data:`mdcsrn.inference.backends.PRECISIONS`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory: GiB for the whole process; None: see :func:`mdcsrn.inference.running.memory.budget`.
        threads: of the processor; None: all that the process may use.
        planes: of a slab; None: planned.
        facts: what was done, as plain values, after :meth:`run`.
    """

    network: MDCSRN
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    max_memory: float | None = None
    threads: int | None = None
    planes: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    _choice: Choice | None = None
    _less: float = 0.0  # bytes of a slab for the next attempt

    def __post_init__(self) -> None:
        if self.max_memory is not None and not self.max_memory > 0:
            raise ConfigError("max_memory is in GiB", got=self.max_memory, allowed="> 0")

    def run(self, low: Tensor, region: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
        """Restore a volume inside a region.

        Args:
            low: network input, shape (D, H, W), float32, divided by its 99.9th percentile.
            region: boolean, same shape; outside it the result is `low`.
            progress: called with the share done, which never falls; at last with 1.

        Returns:
            Restored volume, same shape, float32, on the CPU.

        Raises:
            ConfigError: no backend is left, or the memory is too small for the smallest slab.
        """
        report = _rising(progress)
        if not bool(region.any()):
            report(1.0)
            return low.clone()
        with torch.inference_mode():
            change = self._attempts(low, region, report)
            whole = low + change if self.network.residual else change
            return torch.where(region, whole, low)

    def _attempts(self, low: Tensor, region: Tensor, progress: Callable[[float], None]) -> Tensor:
        """Run; where memory is refused, with smaller slabs, and at last on the CPU."""
        most = math.inf  # bytes of a slab
        while True:
            self._less = 0.0
            try:
                return self._pass(low, region, most, progress)
            except (MemoryError, RuntimeError, TooLittleMemory) as error:
                if not _out_of_memory(error):
                    raise
                if _drop_kept() and isinstance(error, TooLittleMemory):
                    continue  # what was kept of earlier volumes has made room
                on_gpu = self._on_gpu()
                planned = isinstance(error, TooLittleMemory)
                if planned and not on_gpu and most == math.inf:
                    raise  # the system refused nothing: the plan says what it needs
                smallest = planned or not self._less  # else the choice of a backend was refused its memory
                reason = _reason(error)
            # Outside of the except clause, so that the tensors of the failed pass are free.
            if not smallest:
                most = self._less
            elif on_gpu:
                self.device, self.backend, self._choice, most = "cpu", "auto", None, math.inf
            else:
                raise ConfigError("not enough memory for the smallest slabs", got=reason, remedy="free some memory")
            way = "on the CPU" if smallest else "in smaller slabs"
            logger.warning("memory was refused (%s): going on %s", reason, way)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _make_room(self, needed: float) -> None:
        """Drop what is kept of other slabs where it and `needed` bytes would take more than the process may."""
        if self.max_memory is not None and not self._on_gpu() and needed > budget(0, self.max_memory):
            _drop_kept()

    def _on_gpu(self) -> bool:
        """True where the pass that was refused its memory ran, or looked for a backend, on a GPU."""
        if self._choice is not None:
            return self._choice.backend.device.type == "cuda"
        return self.device != "cpu" and torch.cuda.is_available()

    def _pass(self, low: Tensor, region: Tensor, most: float, progress: Callable[[float], None]) -> Tensor:
        start = time.perf_counter()
        cells, inside = self._cells(low, region)
        choice = self._choice = self._choice or self._pick(cells, inside)
        reach = self.network.blocks * self.network.units + 1
        slab = SlabMDCSRN(self.network, least_planes(self.network))
        cost = partial(slab_bytes, slab, choice.backend.name, choice.precision)
        memory = min(budget(low.numel(), self.max_memory, choice.backend.device), most)
        route = plan_route(inside, reach, memory, cost, slab.planes, self.planes)
        self._less = (cost(route.planes, max(column.area for column in route.columns)) + cost(0, 0)) / 2
        compiled = 0.0

        def prepare(slab: SlabMDCSRN, example: Tensors, small: Tensors) -> Runner:
            nonlocal compiled
            begin = time.perf_counter()
            lease.close()  # one at a time: each holds its buffers
            self._make_room(cost(route.planes, math.prod(example[0].shape[-2:])))
            runner = lease.enter_context(lent(choice.backend, slab, example, choice.precision, self.threads, small))
            compiled += time.perf_counter() - begin
            return runner

        done, total = 0, route.computed(reach)

        def advance(voxels: int) -> None:
            nonlocal done
            done += voxels
            progress(done / total)

        with ExitStack() as lease:
            change = stream(cells, self.network, route, prepare, advance)
        if self.network.space_to_depth is not None:
            change = self.network.fold(change[None], low.shape)[0]
        self.facts = {
            **choice.to_dict(),
            "device": str(choice.backend.device),
            "threads": self.threads or torch.get_num_threads(),
            **_route_facts(route, total, cells),
            "region_share": round(float(region.float().mean()), 4),
            "compile_s": round(compiled, 3),
            "network_s": round(time.perf_counter() - start, 3),
        }
        return change[0]

    def _cells(self, low: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        """What the dense network reads, (c, D, H, W), and the region on the same grid."""
        if self.network.space_to_depth is None:
            return low[None], region
        factor = self.network.multiple
        inside = functional.max_pool3d(region[None, None].float(), factor, ceil_mode=True)[0, 0] > 0
        return self.network.unfold(low[None, None])[0], inside

    def _pick(self, cells: Tensor, inside: Tensor) -> Choice:
        """Measure the backends' errors on a piece from the middle of the region."""
        a, b, c = (
            slice(max(min(middle - PROBE // 2, size - PROBE), 0), max(middle + PROBE // 2, PROBE))
            for middle, size in zip(_centre(inside), inside.shape, strict=True)
        )
        sample = partial(sample_columns, cells=cells) if self.precision == "int8" else None
        options = candidates(self.backend, self.device, sample)
        piece = cells[None, :, a, b, c]
        # Of one shape for every volume: each new one would stay in PyTorch's memory of compiled operations.
        missing = [PROBE - n for n in reversed(piece.shape[2:])]
        probe = functional.pad(piece, [n for short in missing for n in (0, short)], mode="replicate").contiguous()
        return select(_Dense(self.network), (probe,), options, self.precision, threads=self.threads)


class _Dense(nn.Module):
    """The dense network without residual and space-to-depth: what the backends run."""

    by_weights = True  # see mdcsrn.inference.backends.kept

    def __init__(self, network: MDCSRN) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)


def _drop_kept() -> bool:
    """Drop the networks kept of earlier volumes and shapes, and give their memory back; True where there were any."""
    if not RUNNERS.clear():
        return False
    gc.collect()
    give_back()
    return True


def _rising(progress: Callable[[float], None] | None) -> Callable[[float], None]:
    """The same, without steps back: a pass that memory was refused for begins anew."""
    highest = 0.0

    def report(share: float) -> None:
        nonlocal highest
        highest = max(highest, share)
        if progress is not None:
            progress(highest)

    return report


def _centre(region: Tensor) -> list[int]:
    """Centre of mass."""
    sums = [region.sum(dim=[a for a in range(3) if a != axis]) for axis in range(3)]
    return [int((n * torch.arange(len(n))).sum() / n.sum()) for n in sums]


def _route_facts(route: Route, computed: int, cells: Tensor) -> dict[str, Any]:
    return {
        "axis": route.axis,
        "planes": route.planes,
        "columns": len(route.columns),
        "computed_share": round(computed / cells[0].numel(), 4),
    }


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, TooLittleMemory, torch.OutOfMemoryError)):
        return True
    return any(words in str(error).lower() for words in REFUSALS)


def _reason(error: BaseException) -> str:
    """The line of an error that speaks of memory; where none does, its first one, or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if any(words in line.lower() for words in REFUSALS)), lines[0])
