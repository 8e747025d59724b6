"""Restore a scan: plan, network, consistency, maps; the Python twin of ``mdcsrn predict``.

from mdcsrn.inference import Task, predict
from mdcsrn.io import read_volume, write_volume

prediction = predict(read_volume("scan.nii.gz"), Task("factor", factor=(1, 2, 2)))
write_volume(prediction.volume, "scan_sr.nii.gz")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mdcsrn
from mdcsrn.inference.planning.axis_order import axis_order
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.inference.planning.prepare import check_region, network_input, prepare, region_of
from mdcsrn.inference.planning.settings import RunSettings
from mdcsrn.inference.planning.task import Task
from mdcsrn.inference.running.runner import VolumeRunner, runner_for
from mdcsrn.inference.uncertainty import ensemble, invention, symmetries
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.volume import Volume
from mdcsrn.kspace import Certificate
from mdcsrn.notices import Notice, refuse


@dataclass(frozen=True, eq=False)
class Prediction:
    """A restored volume and all that is known of it.

    Attributes:
        volume: restored, on the plan's grid, in the input's unit, float32, never clipped.
        low: the network's input on the same grid and in the same unit: the measured band, zero-filled.
        plan: what was decided.
        certificate: consistency of `volume`; None where it is off or nothing was done.
        raw_certificate: of the network's own result, before the measurement was put back.
        notices: warnings by name.
        maps: further volumes on the same grid: ``invention``, and with uncertainty ``mean`` and ``spread``.
        timings: seconds by stage.
        facts: software, weights, backend, precision, region and scale, as plain values.
    """

    volume: Volume
    low: Volume
    plan: Plan
    certificate: Certificate | None
    raw_certificate: Certificate | None
    notices: tuple[Notice, ...]
    maps: dict[str, Volume]
    timings: dict[str, float]
    facts: dict[str, Any]


def predict(
    volume: Volume,
    task: Task = Task(),  # noqa: B008 - frozen
    settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
    *,
    facts: ScanFacts = ScanFacts(),  # noqa: B008 - frozen
    model: Model | str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Restore the outer k-space of a scan.

    Args:
        volume: the scan, any unit and orientation.
        task: what is asked for; the default fills an empty outer band and does nothing where there is none.
        settings: how it is run.
        facts: what is known of the acquisition; it decides warnings and how slices are treated.
        model: weights: a file, or those that :func:`mdcsrn.inference.planning.models.find_model` found; None: the
            shipped ones.
        progress: called with the share of the work done, 0 to 1.

    Returns:
        The prediction. With a plan of kind ``nothing`` its volume is the input.

    Raises:
        ConfigError: a setting is out of range.
        CheckpointError: the weights are missing or damaged.
        DataError: the volume has no signal, or is certainly not a magnitude image.
        RefusedError: `strict`, and there is a warning.

    >>> import tempfile
    >>> import numpy as np
    >>> from mdcsrn.inference import RunSettings, Task, predict
    >>> from mdcsrn.io import Volume
    >>> from mdcsrn.networks import MDCSRN, save_weights
    >>> values = np.zeros((8, 12, 12), np.float32)
    >>> values[2:6, 3:9, 3:9] = 100.0
    >>> scan = Volume(values, np.diag([1.0, 2.0, 2.0, 1.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.pt", MDCSRN(blocks=1, units=1, growth=2))
    ...     task = Task("factor", factor=(1, 2, 2))
    ...     made = predict(scan, task, RunSettings("eager", "float32"), model=f"{folder}/small.pt")
    >>> made.volume.array.shape, made.volume.affine.diagonal().tolist()
    ((8, 24, 24), [1.0, 1.0, 1.0, 1.0])
    >>> made.certificate.relative_error < 1e-5
    True
    """
    check_region(settings.region)
    clock = _Clock()
    with clock.stage("plan"):
        found = model if isinstance(model, Model) else find_model(model=model)
        prepared = prepare(volume, task, facts=facts, model=found)
        if settings.strict:
            refuse(prepared.notices)
    plan = prepared.plan
    about = {"software": f"mdcsrn {mdcsrn.__version__}", "torch": torch.__version__, "weights": found.to_dict()}
    if plan.kind == "nothing":
        return Prediction(volume, volume, plan, None, None, prepared.notices, {}, clock.seconds, about)

    order = axis_order(plan, found.network)
    with torch.inference_mode():
        with clock.stage("zero-filling"):
            given = network_input(volume, plan)
        measured, scale, scaled = given.measured, given.scale, given.scaled
        with clock.stage("region"):
            inside = region_of(scaled, settings.region)
        runner = runner_for(found.network, settings, order)
        first, extra = _run(runner, scaled, inside, plan, measured / scale, settings.uncertainty, progress, clock)
        first, extra = first * scale, {name: values * scale for name, values in extra.items()}
        certificate = raw = None
        if plan.measurement is not None:
            with clock.stage("consistency"):
                raw = plan.measurement.certify(first, measured)
                first = plan.measurement.project(first, measured)
                certificate = plan.measurement.certify(first, measured)
        if settings.maps:
            with clock.stage("maps"):
                extra["invention"] = invention(first, plan)
    whole = replace(volume.replace(first.numpy(), plan.affine), dtype=np.dtype(np.float32))
    return Prediction(
        volume=whole,
        low=replace(whole, array=given.low.numpy()),
        plan=plan,
        certificate=certificate,
        raw_certificate=raw,
        notices=prepared.notices,
        maps={name: replace(whole, array=values.numpy()) for name, values in extra.items()},
        timings=clock.seconds,
        facts={**about, "region": settings.region, "scale": scale, **runner.facts},
    )


def _run(
    runner: VolumeRunner,
    low: Tensor,
    inside: Tensor,
    plan: Plan,
    measured: Tensor,
    uncertainty: bool,
    progress: Callable[[float], None] | None,
    clock: _Clock,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The network's own result, and with uncertainty the mean and the spread of the eight flips, all scaled."""
    members = symmetries(plan) if uncertainty else ()
    kept: list[Tensor] = []
    done = 0

    def report(share: float) -> None:
        if progress is not None:
            progress((done + share) / max(len(members), 1))

    def run(volume: Tensor, region: Tensor) -> Tensor:
        result = runner.run(volume, region, report)
        if not kept:
            kept.append(result.clone())  # the first member is the scan as it is
        return result

    def after(count: int) -> None:
        nonlocal done
        done = count

    with clock.stage("network"):
        if not members:
            return run(low, inside), {}
        y = measured if plan.measurement is not None else None
        several = ensemble(run, low, members, (inside,), plan.measurement, y, after)
    runner.facts["ensemble"] = several.count
    return kept[0], {"mean": several.mean, "spread": several.spread}


@dataclass
class _Clock:
    """Seconds of named stages."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
