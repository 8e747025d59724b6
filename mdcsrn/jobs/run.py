"""Run one case from scan to files: read, predict, write volume, maps, labels, series and page, and the record last."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import ConfigError
from mdcsrn.jobs.job import Job, Outcome, Progress
from mdcsrn.jobs.options import Options

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.inference.planning.models import Model
    from mdcsrn.inference.planning.prepare import Prepared
    from mdcsrn.inference.planning.suggest import Suggestion
    from mdcsrn.io.scan import Scan


def settings_of(job: Job, options: Options) -> dict[str, Any]:
    """What has a say in this result, its label map and its DICOM series included."""
    from mdcsrn.files import sha256

    mask = None if job.mask is None or not job.mask.is_file() else sha256(job.mask)
    series = {} if job.dicom_out is None else options.series()
    return {**options.settings(), "mask_sha256": mask, **series}


def is_already_done(job: Job, options: Options, model: Model) -> bool:
    """True where the result is there, of this very source, under these settings, whole."""
    from mdcsrn.record.sidecar import is_done

    if not job.output.is_file():
        return False
    try:
        fingerprint = job.fingerprint() if job.fingerprint is not None else job.load().sha256
        return is_done(job.output, fingerprint, settings_of(job, options), model.sha256, job.report, job.dicom_out)
    except OSError:  # the run itself says what is wrong
        return False


def plan_case(job: Job, options: Options, model: Model) -> Outcome:
    """What would be done to a case, without doing it; a strict run refuses here too."""
    from mdcsrn.inference.planning.prepare import check_picture, prepare
    from mdcsrn.inference.planning.suggest import suggest
    from mdcsrn.inference.running.estimate import estimate
    from mdcsrn.jobs.write import stored_dtype
    from mdcsrn.notices import refuse
    from mdcsrn.record.sidecar import plain

    scan = _load(job)
    check_picture(scan.source, scan.kind, model)
    stored_dtype(scan.volume, options.dtype, job.output)
    prepared: Prepared = prepare(scan.volume, options.task(), facts=scan.facts, model=model)
    if options.strict:
        refuse(prepared.notices)
    plan, cost = prepared.plan, estimate(scan.volume, prepared, options.max_memory)
    facts = {
        "plan": plan.to_dict(),
        "estimate": None if cost is None else cost.to_dict(),
        "warnings": [{"name": n.name, "text": n.text} for n in prepared.notices],
        "weights_sha256": model.sha256,
        "acquisition": vars(scan.facts),
    }
    lines = [plan.decision, *(f"  {reason}" for reason in plan.reasons)]
    lines += [f"warning: {notice}" for notice in prepared.notices]
    if cost is not None:
        seconds = "" if cost.seconds is None else f"{cost.seconds:.0f} s and "
        lines.append(
            f"about {seconds}{cost.memory_gib:.1f} GiB with {cost.backend} {cost.precision}; "
            f"the head is {100 * cost.region_share:.0f} % of the voxels"
        )
    lines.append(f"would write {job.output}: {_grid(plan.shape, plan.spacing)}")
    found = suggest(plan, model.trained)
    lines += _next_step(job, found)
    return Outcome(
        job.name, "planned", job.source, job.output, facts=plain(facts), lines=lines,
        suggestion="" if found is None else found.option,
    )  # fmt: skip


def run_case(job: Job, options: Options, model: Model, progress: Progress | None = None) -> Outcome:
    """Do a case.

    Returns:
        The outcome; where the volume is there and a file beside it could not be made, it is done and has an error.

    Raises:
        MdcsrnError: the case cannot be done; nothing of it is left.
    """
    from mdcsrn.inference.planning.prepare import check_picture
    from mdcsrn.inference.planning.suggest import suggest
    from mdcsrn.io.formats import read_image
    from mdcsrn.jobs.byproducts import failure
    from mdcsrn.jobs.write import label_dtype, places, stored_dtype, write_result

    start = time.perf_counter()
    scan = _load(job)
    check_picture(scan.source, scan.kind, model)
    seconds = time.perf_counter() - start
    labels = None if job.mask is None else read_image(job.mask, allow_constant=True)
    stored_dtype(scan.volume, options.dtype, job.output)  # what the format cannot hold is refused before any work
    if labels is not None:
        label_dtype(labels, job.file("mask"))
    with places(job) as made:
        prediction = restore(scan, options, model, options.uncertainty or job.report is not None, progress)
        prediction = dataclasses.replace(prediction, timings={"read": round(seconds, 3), **prediction.timings})
        record = write_result(job, options, settings_of(job, options), model, scan, prediction, labels, made)
    found = suggest(prediction.plan, model.trained)
    return Outcome(
        job.name, "done", job.source, job.output, error=failure(job.output, made.failed), facts=record,
        lines=[*describe(record, job), *_next_step(job, found)], suggestion="" if found is None else found.option,
    )  # fmt: skip


def restore(
    scan: Scan, options: Options, model: Model, maps: bool = False, progress: Progress | None = None
) -> Prediction:
    """:func:`mdcsrn.inference.predict` with the options of the command line.

    Args:
        scan: what was read.
        options: of the run.
        model: the weights.
        maps: make the invention map.
        progress: called as the work proceeds.

    Raises:
        MdcsrnError: see there.
    """
    from mdcsrn.inference.pipeline import predict

    return predict(
        scan.volume, options.task(), options.run_settings(maps), facts=scan.facts, model=model, progress=progress
    )


def describe(record: dict[str, Any], job: Job) -> list[str]:
    """A finished case in plain words, from its record, with the path of every file."""
    plan, certificate = record["plan"], record["certificate"]["after_rounding"]
    lines = [plan["decision"], *(f"  {reason}" for reason in plan["reasons"])]
    lines += [f"warning: {w['name']}: {w['text']}" for w in record["warnings"]]
    if certificate is not None:
        share = 100 * certificate["bound_share"]
        lines.append(f"consistency: relative error {certificate['relative_error']:.2g} in the measured {share:.3g} %")
    lines.append(f"written: {job.output}, {_grid(record['shape'], record['spacing_mm'])}, {record['dtype']}")
    places = {role: _place(job, entry["path"]) for role, entry in record["files"].items()}
    if job.report is not None and "report" in places:
        places["report"] = job.report  # as the user named it
    lines += [f"written: {path}, {role}" for role, path in places.items() if not role.endswith("_sidecar")]
    if isinstance(record.get("dicom"), dict) and job.dicom_out is not None:
        lines.append(f"written: {job.dicom_out}, {_series_line(record['dicom'])}")
    return lines


def _place(job: Job, path: str) -> Path:
    """Where a further file lies, which a record names from the folder of the volume."""
    return Path(os.path.normpath(job.output.parent / path))


def _series_line(entry: dict[str, Any]) -> str:
    stored, certificate = entry["storage"], entry.get("certificate")
    share = "" if certificate is None else f", relative error {certificate['relative_error']:.2g} in what was measured"
    largest = f"{stored['largest_rounding_error']:.2g}"
    return f"DICOM series of {entry['instances']} images, slope {stored['slope']:g}, rounding up to {largest}{share}"


def _next_step(job: Job, found: Suggestion | None) -> list[str]:
    """What to try where there was nothing to do: a line for a person, or none."""
    if found is None:
        return []
    return [f"note: to refine its grid: mdcsrn predict {shlex.quote(str(job.source))} {found.option} ({found.why})"]


def _grid(shape: Sequence[int], spacing: Sequence[float]) -> str:
    return f"{'x'.join(map(str, shape))} voxels of {' x '.join(f'{edge:.4g}' for edge in spacing)} mm"


def _load(job: Job) -> Scan:
    if job.error is not None:
        raise job.error
    scan = job.load()
    if job.dicom_out is not None and scan.dicom is None:
        raise ConfigError(
            f"{job.source} is no DICOM series, so no series can be derived from it",
            got=scan.kind, remedy="leave out --dicom-out",
        )  # fmt: skip
    return scan
