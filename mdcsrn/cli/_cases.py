"""One case from scan to files: read, predict, write volume, maps, labels, series and page, and the record last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.cli._options import Options
from mdcsrn.cli._staging import Staging, staging
from mdcsrn.errors import ConfigError, MdcsrnError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from mdcsrn.inference.models import Model
    from mdcsrn.inference.pipeline import Prediction, Prepared
    from mdcsrn.inference.record import Written
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
        report: HTML file, or None.
        sources: BIDS URIs of the source; None: its relative path.
    """

    name: str
    source: Path
    output: Path
    load: Callable[[], Scan]
    fingerprint: Callable[[], str] | None = None
    mask: Path | None = None
    dicom_out: Path | None = None
    report: Path | None = None
    sources: tuple[str, ...] | None = None


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        job_name: of the case.
        status: ``done``, ``planned`` (dry run), ``skipped`` or ``failed``.
        source: of the case.
        output: file of the volume, None where there is none.
        seconds: wall time.
        error: why it failed.
        facts: plain values: the record of a result, or what a dry run found.
        lines: what to tell a person, one sentence each.
    """

    job_name: str
    status: str
    source: Path
    output: Path | None = None
    seconds: float = 0.0
    error: MdcsrnError | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def settings_of(job: Job, options: Options) -> dict[str, Any]:
    """What has a say in this result, its label map included."""
    from mdcsrn.files import sha256

    mask = None if job.mask is None or not job.mask.is_file() else sha256(job.mask)
    return {**options.settings(), "mask_sha256": mask}


def wanted_files(job: Job, options: Options) -> list[str]:
    """Roles of the files beside the volume that a whole result has."""
    wanted = ["mask"] if job.mask is not None else []
    wanted += ["report"] if job.report is not None else []
    return [*wanted, *(["spread"] if options.uncertainty else [])]


def is_already_done(job: Job, options: Options, model: Model) -> bool:
    """True where the result is there, of this very source, under these settings, whole."""
    from mdcsrn.inference.record import is_done

    if not job.output.is_file():
        return False
    try:
        fingerprint = job.fingerprint() if job.fingerprint is not None else job.load().sha256
    except OSError:  # the run itself says what is wrong with the source
        return False
    wanted = wanted_files(job, options)
    if job.dicom_out is not None and not job.dicom_out.is_dir():
        return False
    return is_done(job.output, fingerprint, settings_of(job, options), model.sha256, wanted)


def plan_case(job: Job, options: Options, model: Model) -> Outcome:
    """What would be done to a case, without doing it; a strict run refuses here too."""
    from mdcsrn.inference.pipeline import prepare
    from mdcsrn.notices import refuse

    scan = job.load()
    prepared: Prepared = prepare(scan.volume, options.task(), facts=scan.facts, model=model)
    if options.strict:
        refuse(prepared.notices)
    raise NotImplementedError


def run_case(job: Job, options: Options, model: Model, progress: Progress | None = None) -> Outcome:
    """Do a case.

    Raises:
        MdcsrnError: the case cannot be done; nothing of it is left.
    """
    from mdcsrn.inference.pipeline import predict

    scan = job.load()
    if job.dicom_out is not None and scan.dicom is None:
        raise ConfigError(
            f"{job.source} is no DICOM series, so no series can be derived from it",
            got=scan.kind, remedy="leave out --dicom-out",
        )  # fmt: skip
    labels = None if job.mask is None else _labels(job.mask)
    with staging(job.output.parent) as stage:
        prediction = predict(
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
            strict=options.strict,
            progress=progress,
        )
        record = _write(job, options, model, scan, prediction, labels, stage)
    return Outcome(job.name, "done", job.source, job.output, facts=record, lines=describe(record))


def _write(
    job: Job, options: Options, model: Model, scan: Scan, prediction: Prediction, labels: Volume | None, stage: Staging
) -> dict[str, Any]:
    """Make every file in the staging folder, then move them to their place, the record last."""
    import numpy as np

    from mdcsrn.files import atomic_write_text, sha256
    from mdcsrn.inference.record import Written, relative, sidecar, sidecar_path, to_text
    from mdcsrn.io import nifti_stem, write_volume

    stem, suffix = nifti_stem(job.output), job.output.name[len(nifti_stem(job.output)) :]
    like = scan.files[0] if scan.kind == "nifti" and scan.files else None
    names: list[str] = []

    def put(volume: Volume, role: str, dtype: np.dtype) -> Written:
        name = f"{stem}_{role}{suffix}" if role else job.output.name
        write_volume(volume, stage.path(name), like=like, dtype=dtype)
        names.append(name)
        return Written(job.output.with_name(name), sha256(stage.path(name)))

    dtype = stored_dtype(scan.volume, options.dtype)
    stored, certificate = as_stored(prediction, scan.volume, dtype)
    output = put(stored, "", dtype)
    others = {role: put(volume, role, np.dtype(np.float32)) for role, volume in prediction.maps.items()}
    if labels is not None:
        from mdcsrn.inference.labels import carry_labels

        carried = carry_labels(labels, prediction.volume.affine, prediction.volume.shape)
        others["mask"] = put(carried, "mask", labels.dtype if labels.dtype.kind in "iu" else np.dtype(np.float32))
    extra: dict[str, Any] = {}
    if job.dicom_out is not None:
        extra["dicom"] = _write_series(job.dicom_out, prediction, scan, model)
        extra["dicom"]["folder"] = relative(job.dicom_out, job.output.parent)
    if job.report is not None:
        from mdcsrn.report.html import page_of_prediction, write_page

        write_page(job.report, page_of_prediction(prediction, scan.name))
        others["report"] = Written(job.report, sha256(job.report))
    record = sidecar(
        prediction, scan, output, weights_sha256=model.sha256, settings=settings_of(job, options), dtype=str(dtype),
        stored_certificate=certificate, others=others, sources=job.sources, extra=extra,
    )  # fmt: skip
    name = sidecar_path(job.output).name
    atomic_write_text(stage.path(name), to_text(record))
    stage.publish([*names, name])
    return record


def stored_dtype(volume: Volume, choice: str) -> np.dtype:
    """The type to store: float32, or the source's own integer type (a source of floats stays float32)."""
    import numpy as np

    keep = choice == "keep" and volume.dtype.kind in "iu"
    return volume.dtype.newbyteorder("=") if keep else np.dtype(np.float32)


def as_stored(prediction: Prediction, source: Volume, dtype: np.dtype) -> tuple[Volume, dict[str, Any] | None]:
    """The volume as the file will give it back, and the certificate of just that.

    Raises:
        OutputError: the integer type cannot hold a value.
    """
    import numpy as np

    certificate = prediction.certificate
    if dtype.kind == "f":
        return prediction.volume, None if certificate is None else certificate.to_dict()
    rounded = np.rint(prediction.volume.array)
    limits, low, high = np.iinfo(dtype), float(rounded.min()), float(rounded.max())
    if low < limits.min or high > limits.max:
        raise OutputError(
            f"the result does not fit the source's type {dtype}", got=f"{low:g} to {high:g}",
            allowed=f"{limits.min} to {limits.max}", remedy="leave out --dtype keep: float32 holds every value",
        )  # fmt: skip
    stored = dataclasses.replace(prediction.volume, array=rounded)
    measurement = prediction.plan.measurement
    if certificate is None or measurement is None:
        return stored, None
    import torch

    measured = prediction.plan.measured(torch.from_numpy(source.array))
    return stored, measurement.certify(torch.from_numpy(stored.array), measured).to_dict()


def _labels(path: Path) -> Volume:
    from mdcsrn.io.formats import read_image

    return read_image(path)


def _write_series(folder: Path, prediction: Prediction, scan: Scan, model: Model) -> dict[str, Any]:
    from mdcsrn.io.dicom import write_series

    assert scan.dicom is not None  # checked before anything was computed
    words = f"super-resolved with mdcsrn, weights {model.sha256[:12]}; research use"
    files = write_series(prediction.volume, scan.dicom, folder, words)
    return {"instances": len(files)}


def describe(record: dict[str, Any]) -> list[str]:
    """A finished case in plain words, from its record."""
    plan, certificate = record["plan"], record["certificate"]["after_rounding"]
    size, spacing = (" x ".join(f"{v:g}" for v in record[key]) for key in ("shape", "spacing_mm"))
    lines = [str(plan.get("decision", ""))]
    lines += [f"  {reason}" for reason in plan.get("reasons", ())]
    lines += [f"warning: {w['name']}: {w['text']}" for w in record["warnings"]]
    lines += [f"note: {text}" for text in record["source_warnings"]]
    if certificate is not None:
        share = 100 * certificate["bound_share"]
        lines.append(
            f"consistency: the measured {share:.3g} % of the samples agree to {certificate['relative_error']:.2g}"
        )
    lines.append(f"{record['output']}: {size} voxels of {spacing} mm, {record['dtype']}")
    return [line for line in lines if line]
