"""Measure speed, memory and error of a network here, each in a process of its own, so that memory is its own."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mdcsrn.errors import MdcsrnError
from mdcsrn.inference.backends import Backend, backend
from mdcsrn.inference.backends.eager import EagerBackend
from mdcsrn.inference.backends.select import Attempt, Choice
from mdcsrn.inference.running.calibration import sample_columns
from mdcsrn.networks import MDCSRN, fold_weight_norm, load_weights
from mdcsrn.processor import peak_gflops, usable_threads
from mdcsrn.stopping import held

WINDOW, OVERLAP = 64, 0.25  # of the baseline: MONAI's sliding window


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        kind: ``baseline`` (eager float32 under MONAI's sliding window), ``engine``, or ``peak``: GFLOP/s of the
            machine by precision, see :func:`mdcsrn.processor.peak_gflops`.
        volume: ``.npy`` file, float32 (D, H, W), divided by its 99.9th percentile.
        weights: file of weights.
        threads: of the processor.
        backend: of the engine, ``auto`` for its own choice.
        precision: of the engine.
        region: ``all`` or ``head``.
        channels_last: False measures the eager backend in torch's default order.
        windows: of the baseline, from which its time is scaled; None: all.
        result: ``.npy`` file to write the result to.
        max_memory: GiB, see :class:`mdcsrn.inference.running.slab_runner.SlabRunner`.
    """

    kind: str
    volume: str = ""
    weights: str = ""
    threads: int = 1
    backend: str = "auto"
    precision: str = "auto"
    region: str = "all"
    channels_last: bool = True
    windows: int | None = None
    result: str | None = None
    max_memory: float | None = None


def measure(job: Job) -> dict[str, Any]:
    """Run a job in this process.

    Returns:
        Plain values; ``seconds`` for the whole volume, start and compiling apart where that is known.
    """
    torch.set_num_threads(job.threads)
    if job.kind == "peak":
        return {precision: peak_gflops(precision, job.threads) for precision in EagerBackend().precisions()}
    network = fold_weight_norm(load_weights(job.weights))
    volume = torch.from_numpy(np.load(job.volume))
    if job.kind == "baseline":
        return _baseline(network, volume, job)
    return _engine(network, volume, job)


def measure_apart(job: Job, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a job in a new process.

    Args:
        job: what to measure.
        environment: variables of that process on top of this one's.

    Returns:
        What :func:`measure` returned, with ``wall_s`` and ``peak_gib`` of the process; ``error`` alone where it failed.
    """
    command = [sys.executable, "-m", "mdcsrn.benchmark.measure", json.dumps(asdict(job))]
    done = watch(command, {**os.environ, "OMP_NUM_THREADS": str(job.threads), **(environment or {})})
    if done["code"] != 0:
        lines = done["stderr"].strip().splitlines()
        return {"error": lines[-1] if lines else f"ended with status {done['code']}"}
    facts: dict[str, Any] = json.loads(done["stdout"].strip().splitlines()[-1])
    return {**facts, "wall_s": done["wall_s"], "peak_gib": done["peak_gib"]}


def watch(command: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command and note how long it took and the most memory it held.

    Returns:
        ``code``, ``stdout``, ``stderr``, ``wall_s``, and ``peak_gib``, which is None where the system does not say.
    """
    start, peak = time.perf_counter(), 0
    process: subprocess.Popen[str] | None = None
    try:
        with held():  # else a signal may come when the process is there and this variable is not
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
        while True:
            # The kernel's own high-water mark: it is the process's alone, and it never falls.
            try:
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
                found = re.search(r"VmHWM:\s+(\d+) kB", status)
                peak = int(found[1]) if found else peak
            except OSError:
                pass
            try:
                stdout, stderr = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                continue
    except BaseException:  # an interruption: nobody would read what the process still finds out
        if process is not None:
            process.kill()
            process.communicate()
        raise
    return {
        "code": process.returncode,
        "stdout": stdout,
        "stderr": stderr,
        "wall_s": time.perf_counter() - start,
        "peak_gib": peak / (1 << 20) if peak else None,
    }


def flops_per_voxel(network: nn.Module) -> float:
    """Floating point operations of the convolutions for one voxel of the image, a multiply-add counting as two."""
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv3d))
    return 2.0 * weights / math.prod(getattr(network, "multiple", (1,)))


def windows_of(shape: tuple[int, ...]) -> int:
    """Patches of MONAI's sliding window over a volume (245 for 256 x 320 x 320)."""
    step = int(WINDOW * (1 - OVERLAP))
    return math.prod(math.ceil(max(size - WINDOW, 0) / step) + 1 for size in shape)


@torch.inference_mode()
def _baseline(network: nn.Module, volume: Tensor, job: Job) -> dict[str, Any]:
    from monai.inferers.utils import sliding_window_inference

    total = windows_of(tuple(volume.shape))
    run = total if job.windows is None else min(job.windows, total)
    if run < total:  # a row of windows along the longest axis, at full height and width of a window
        step, axis = int(WINDOW * (1 - OVERLAP)), int(np.argmax(volume.shape))
        run = min(run, windows_of((volume.shape[axis],)))
        edges = [min(WINDOW, size) for size in volume.shape]
        edges[axis] = min(WINDOW + (run - 1) * step, volume.shape[axis])
        starts = [(size - edge) // 2 for size, edge in zip(volume.shape, edges, strict=True)]
        volume = volume[tuple(slice(s, s + e) for s, e in zip(starts, edges, strict=True))]
    start = time.perf_counter()
    result = sliding_window_inference(
        volume[None, None].contiguous(), (WINDOW,) * 3, 1, network, overlap=OVERLAP, mode="gaussian"
    )
    seconds = time.perf_counter() - start
    assert isinstance(result, Tensor)
    if job.result is not None and run == total:
        np.save(job.result, result[0, 0].numpy())
    return {"seconds": seconds * total / run, "windows": total, "windows_run": run}


def _engine(network: nn.Module, volume: Tensor, job: Job) -> dict[str, Any]:
    from mdcsrn.inference.planning.head_region import head_region
    from mdcsrn.inference.planning.settings import RunSettings
    from mdcsrn.inference.running.runner import VolumeRunner, runner_for
    from mdcsrn.inference.running.slab_runner import SlabRunner

    engine: VolumeRunner
    settings: dict[str, Any] = {"max_memory": job.max_memory, "threads": job.threads}
    if not isinstance(network, MDCSRN):
        engine = runner_for(network, RunSettings(job.backend, job.precision, max_memory=job.max_memory))
    elif job.backend == "auto":
        engine = SlabRunner(network, precision=job.precision, **settings)
    else:
        chosen: Backend = backend(job.backend)
        if job.precision == "int8":
            cells = volume[None] if network.space_to_depth is None else network.unfold(volume[None, None])[0]
            chosen = backend(job.backend, partial(sample_columns, cells=cells))
        elif isinstance(chosen, EagerBackend):
            chosen = EagerBackend(job.channels_last)
        attempt = Attempt(chosen.name, job.precision, None, "")
        engine = SlabRunner(network, _choice=Choice(chosen, job.precision, (attempt,)), **settings)
    start = time.perf_counter()
    inside = head_region(volume) if job.region == "head" else torch.ones(volume.shape, dtype=torch.bool)
    result = engine.run(volume, inside)
    whole = time.perf_counter() - start
    if job.result is not None:
        np.save(job.result, result.numpy())
    compiled = float(engine.facts.get("compile_s", 0.0))
    seconds = whole - compiled
    work = volume.numel() * float(engine.facts.get("computed_share", 1.0)) * flops_per_voxel(network)
    return {"seconds": seconds, "compile_s": compiled, "gflops": work / seconds / 1e9, **engine.facts}


def synthetic_head(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """A head-like volume: an ellipsoid of folded tissue in a bright shell, air around it.

    Args:
        shape: (D, H, W).
        seed: of the folds.

    Returns:
        float32, low-passed to half of the last two axes' band as the network reads it, 99.9th percentile 1.
    """
    from mdcsrn.kspace import DegradationSpec, degrade
    from mdcsrn.kspace.intensity import intensity_scale

    generator = torch.Generator().manual_seed(seed)
    axes = [
        torch.linspace(-1, 1, size).reshape([-1 if a == i else 1 for a in range(3)]) for i, size in enumerate(shape)
    ]
    radius = ((axes[0] / 0.72) ** 2 + (axes[1] / 0.82) ** 2 + (axes[2] / 0.66) ** 2).sqrt()
    folds = torch.zeros(shape)
    for _ in range(6):
        direction = 25 * torch.randn(3, generator=generator)
        folds += torch.sin(sum((d * a for d, a in zip(direction, axes, strict=True)), start=torch.zeros(shape)))
    tissue = torch.where(folds > 0, 0.8, 0.5)
    head = torch.where(radius < 0.88, tissue, torch.where(radius < 0.93, 0.15, 1.0)) * (radius < 1)
    low = degrade(head, DegradationSpec(reduction=(1, 2, 2)))
    return (low / intensity_scale(low)).float()


def machine() -> dict[str, Any]:
    """What a figure was measured on, as plain values."""
    from mdcsrn.processor import features

    name = "unknown processor"
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        name = found[1] if found else name
    return {
        "processor": name,
        "features": list(features()),
        "cores": usable_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
    except MdcsrnError as error:
        sys.exit(str(error))
