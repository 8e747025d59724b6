"""Check every file that a run would write against the others, against the inputs and against the disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdcsrn.errors import MdcsrnError, OutputError
from mdcsrn.jobs.job import FLOAT_MAPS, Job
from mdcsrn.jobs.options import Options
from mdcsrn.targets import Inputs, excess, foreign, place_of, read_own_record, record_of_another

GENERATOR = b'<meta name="generator" content="mdcsrn'  # of our pages, near their beginning
START = 4096  # bytes of a page in which that stands


@dataclass(frozen=True)
class Output:
    """One file, or the folder of a DICOM series, that a case would write.

    Attributes:
        role: ``volume``, ``record``, ``report``, ``series``, ``mask`` or the name of a map.
        path: where.
    """

    role: str
    path: Path


def outputs_of(job: Job, options: Options) -> list[Output]:
    """All that a case would write, the volume first."""
    from mdcsrn.record.sidecar import sidecar_path

    found = [Output("volume", job.output), Output("record", sidecar_path(job.output))]
    roles = (*(FLOAT_MAPS if options.uncertainty else ()), *(("mask",) if job.mask is not None else ()))
    found += [Output(role, job.file(role)) for role in roles]
    if job.describe is not None:
        found += [Output(f"{role}_sidecar", sidecar_path(job.file(role))) for role in roles]
    if job.report is not None:
        found.append(Output("report", job.report))
    if job.dicom_out is not None:
        found.append(Output("series", job.dicom_out))
    return found


def checked(jobs: Sequence[Job], options: Options, several: bool = True) -> list[Job]:
    """Find the cases that cannot be written as they are, before any work starts.

    Refused are a place that two cases (or two files of one) share, a place that is an input of the run, a by-product
    whose place holds a file of someone else, and a name that is too long for the disk. A volume or page whose file the
    user named outright may replace what is there.

    Args:
        jobs: of the run.
        options: of the run.
        several: their names come from their inputs; else the user may give another one.

    Returns:
        The jobs in their order; one that is refused carries its error.
    """
    listed = [(job, outputs_of(job, options)) for job in jobs]
    inputs = Inputs(_inputs(jobs, options))
    clashes = _clashes(listed)
    result = []
    for index, (job, outputs) in enumerate(listed):
        error = job.error or _problem(job, outputs, inputs, options, several) or clashes.get(index)
        result.append(dataclasses.replace(job, error=error))
    return result


def _inputs(jobs: Iterable[Job], options: Options) -> Iterator[Path]:
    for job in jobs:
        yield job.source
        yield from job.inputs
        if job.mask is not None:
            yield job.mask
    if options.model is not None:
        yield Path(options.model)


def _problem(
    job: Job, outputs: Sequence[Output], inputs: Inputs, options: Options, several: bool
) -> MdcsrnError | None:
    for output in outputs:
        if inputs.holds(output.path) or (output.role == "series" and inputs.below(output.path)):
            return OutputError(f"the output {output.path} is an input", remedy="choose another name or folder")
    too_long = [(output, over) for output in outputs if (over := excess(output.path)) is not None]
    if too_long:
        output, (what, got, allowed, _) = too_long[0]
        most = max(over for _, (_, _, _, over) in too_long)
        return OutputError(
            f"the {output.role} of {job.source} is too long for the disk: {what}", got=f"{got} bytes",
            allowed=f"{allowed} bytes", remedy=_shorter(job, most, several),
        )  # fmt: skip
    folder = next((o.path for o in outputs if o.role != "series" and os.path.isdir(o.path)), None)
    if folder is not None:
        return OutputError(f"cannot write {folder}: it is a folder", remedy="choose another name or folder")
    return _foreign(job, outputs, options.resume)


def _shorter(job: Job, most: int, several: bool) -> str:
    if several:
        return f"rename {job.source.name}, at least {most} bytes shorter, or choose a folder with a shorter path"
    return f"choose a name or a folder at least {most} bytes shorter, such as -o result.nii.gz"


def _foreign(job: Job, outputs: Sequence[Output], resume: bool) -> MdcsrnError | None:
    """The error of a file that is there, was not made here, and would be replaced unasked.

    A volume without its record is taken for a result only where --resume says that a run is repeated, or where that run
    was killed in between. Nor is a record replaced whose volume is there in another format.
    """
    record = next(output.path for output in outputs if output.role == "record")
    there = [o for o in outputs if o.role not in ("series", *job.chosen) and os.path.lexists(o.path)]
    if not there:
        return None
    content = read_own_record(record)
    taken = record_of_another(record, content, job.output.name)
    if taken is not None:
        return taken
    known = content if content is not None else _record_of_killed(record)
    ours = {place_of(path) for path in _places(known, record.parent)}
    if known is not None or resume:
        ours.add(place_of(job.output))
    if content is not None:
        ours.add(place_of(record))
    for output in there:
        if place_of(output.path) in ours or (output.role == "report" and is_page(output.path)):
            continue
        remedy = "choose another name or folder with -o, or move that file"
        again = "; a result of an earlier run that lost its record: --resume" if output.role == "volume" else ""
        return foreign(output.path, remedy + again)
    return None


def _places(record: dict[str, Any] | None, folder: Path) -> list[Path]:
    """Further files of a record, and those that an earlier run of it left."""
    found = []
    for key in ("files", "earlier_files"):
        entries = (record or {}).get(key)
        if isinstance(entries, dict):
            found += [folder / str(entry.get("path")) for entry in entries.values() if isinstance(entry, dict)]
    return found


def _record_of_killed(record: Path) -> dict[str, Any] | None:
    """This record in the hidden folder of a run that was killed while it moved its files, some of which are there."""
    from mdcsrn.scratch import PREFIX

    found = (read_own_record(place / record.name) for place in record.parent.glob(f"{PREFIX}*"))
    return next((content for content in found if content is not None), None)


def is_page(path: Path) -> bool:
    """True for an HTML page of this software."""
    try:
        with open(path, "rb") as stream:
            return GENERATOR in stream.read(START)
    except OSError:
        return False


def _clashes(listed: Sequence[tuple[Job, Sequence[Output]]]) -> dict[int, MdcsrnError]:
    """The error of each case, by its number, that shares a place with another one or with itself."""
    errors: dict[int, MdcsrnError] = {}
    owners: dict[str, tuple[int, Output]] = {}
    series = {place_of(o.path): (i, o) for i, (_, outputs) in enumerate(listed) for o in outputs if o.role == "series"}
    for index, (_, outputs) in enumerate(listed):
        for output in outputs:
            place = place_of(output.path)
            other = owners.setdefault(place, (index, output))
            holder = next((series[str(p)] for p in Path(place).parents if str(p) in series), None)
            for number, twin in (entry for entry in (other, holder) if entry is not None and entry[1] is not output):
                for one, two in ((index, number), (number, index)):
                    errors.setdefault(one, _clash(output, twin, listed[one][0], listed[two][0]))
    return errors


def _clash(output: Output, twin: Output, job: Job, other: Job) -> MdcsrnError:
    whose = "two files" if job is other else f"{job.source} and {other.source}"
    where = output.path if place_of(output.path) == place_of(twin.path) else f"{output.path} inside {twin.path}"
    return OutputError(
        f"{whose} would write to one place: {where}", got=f"{output.role} and {twin.role}",
        remedy="rename one of them, or choose another folder",
    )  # fmt: skip
