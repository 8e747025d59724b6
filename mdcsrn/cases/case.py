"""One case from scan to files: read, predict, write volume, maps, labels, series and page, and the record last."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.cases.options import Options
from mdcsrn.errors import ConfigError, MdcsrnError

if TYPE_CHECKING:
    from mdcsrn.inference.models import Model
    from mdcsrn.inference.pipeline import Prediction, Prepared
    from mdcsrn.inference.suggest import Suggestion
    from mdcsrn.io.dicom import SeriesLabel
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

Progress = Callable[[float], None]  # share of the case that is done, 0 to 1


@dataclass(frozen=True)
class Job:
    """A case with the places of its results.

    Attributes:
        name: unique in its run.
        source: what the user gave, for messages and hashes.
        output: file of the volume.
        load: reads the scan, or raises what is wrong with it.
        fingerprint: hash of the source without its voxels being decoded, or None where only loading tells.
        mask: label map, or None.
        dicom_out: folder of a derived series, or None.
        label: number and description of that series; None: those that its source suggests.
        report: HTML file, or None.
        further: place of the further files by role (spread, invention, mean, mask); None: ``NAME_sr_ROLE.nii.gz``.
        inputs: files that are read beside `source` and `mask`: slices of a series, voxels of a pair, sidecars.
        chosen: ``volume`` and ``report``, as far as the user named the very file, which then may be replaced.
        error: why the case is refused before any work.
        describe: fields of BIDS for the JSON sidecar of a file, by its role (empty: the volume, whose sidecar is the
            record) and the volume; None: the record has its own, and further files have no sidecars.
    """

    name: str
    source: Path
    output: Path
    load: Callable[[], Scan]
    fingerprint: Callable[[], str] | None = None
    mask: Path | None = None
    dicom_out: Path | None = None
    label: SeriesLabel | None = None
    report: Path | None = None
    further: Callable[[str], Path] | None = None
    inputs: tuple[Path, ...] = ()
    chosen: tuple[str, ...] = ()
    error: MdcsrnError | None = None
    describe: Callable[[str, Volume], Mapping[str, Any]] | None = None

    def file(self, role: str) -> Path:
        """Place of a further file."""
        from mdcsrn.io import nifti_stem

        if self.further is not None:
            return self.further(role)
        stem = nifti_stem(self.output)
        return self.output.with_name(f"{stem}_{role}{self.output.name[len(stem) :]}")


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        job_name: of the case.
        status: ``done``, ``planned`` (dry run), ``skipped`` or ``failed``.
        source: of the case.
        output: file of the volume, None where there is none.
        seconds: wall time.
        error: why it failed; of a case that is done, what could not be made beside the volume.
        facts: plain values: the record of a result, or what a dry run found.
        lines: what to tell a person, one sentence each.
        suggestion: options that would do something, where nothing was done.
    """

    job_name: str
    status: str
    source: Path
    output: Path | None = None
    seconds: float = 0.0
    error: MdcsrnError | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    suggestion: str = ""


def settings_of(job: Job, options: Options) -> dict[str, Any]:
    """What has a say in this result, its label map and its DICOM series included."""
    from mdcsrn.files import sha256

    mask = None if job.mask is None or not job.mask.is_file() else sha256(job.mask)
    series = {} if job.dicom_out is None else options.series()
    return {**options.settings(), "mask_sha256": mask, **series}


def is_already_done(job: Job, options: Options, model: Model) -> bool:
    """True where the result is there, of this very source, under these settings, whole."""
    from mdcsrn.inference.record import is_done

    if not job.output.is_file():
        return False
    try:
        fingerprint = job.fingerprint() if job.fingerprint is not None else job.load().sha256
        return is_done(job.output, fingerprint, settings_of(job, options), model.sha256, job.report, job.dicom_out)
    except OSError:  # the run itself says what is wrong
        return False


def plan_case(job: Job, options: Options, model: Model) -> Outcome:
    """What would be done to a case, without doing it; a strict run refuses here too."""
    from mdcsrn.inference.estimate import estimate
    from mdcsrn.inference.pipeline import prepare
    from mdcsrn.inference.record import plain
    from mdcsrn.inference.suggest import suggest
    from mdcsrn.notices import refuse

    scan = _load(job)
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
    from mdcsrn.cases.byproducts import failure
    from mdcsrn.cases.results import places, write_result
    from mdcsrn.inference.suggest import suggest
    from mdcsrn.io.formats import read_image

    start = time.perf_counter()
    scan = _load(job)
    seconds = time.perf_counter() - start
    labels = None if job.mask is None else read_image(job.mask, allow_constant=True)
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
        progress: told of the work.

    Raises:
        MdcsrnError: see there.
    """
    from mdcsrn.inference.pipeline import predict

    return predict(
        scan.volume,
        options.task(),
        facts=scan.facts,
        model=model,
        backend=options.backend,
        precision=options.precision,
        device=options.device,
        max_memory=options.max_memory,
        region=options.region,
        uncertainty=options.uncertainty,
        maps=maps,
        strict=options.strict,
        progress=progress,
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
