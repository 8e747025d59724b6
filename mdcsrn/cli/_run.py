"""Run jobs in order, collect failures, print a summary."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.jobs.byproducts import check_needs
from mdcsrn.jobs.job import Job, Outcome
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.run import is_already_done, plan_case, run_case
from mdcsrn.notices import printable
from mdcsrn.stopping import Stopped, check

if TYPE_CHECKING:
    from mdcsrn.inference.planning.models import Model

Advance = Callable[[float, str], None]  # cases done, with a fraction for the one at work; its name
NAME_SHOWN = 40  # letters of a case's name in the bar
STYLES = {"done": "green", "failed": "red", "skipped": "blue", "planned": "blue"}  # on a terminal only


def run_jobs(jobs: Sequence[Job], options: Options, several: bool) -> None:
    """Do all cases and say what became of each.

    Args:
        jobs: what to do, in order.
        options: how.
        several: a folder was given: a table is printed, and a bad case does not stop the others.

    Raises:
        MdcsrnError: of a single case, its own error; of several, a DataError that counts the failures.
        Stopped: after Ctrl-C or a request to terminate; it says how many cases are left.
    """
    from mdcsrn.inference.planning.models import find_model

    outcomes: list[Outcome] = []
    try:
        with _bar(len(jobs), options) as advance:
            options.task()  # settings that contradict each other are told before anything is read
            check_needs(options)
            model = find_model(bundle=options.bundle, model=options.model)
            ordered = sorted(jobs, key=lambda job: job.error is None)  # what is refused is told before work starts
            for job in ordered:
                advance(len(outcomes), job.name)
                within = partial(_within, advance, len(outcomes), job.name)
                outcomes.append(_one(job, options, model, several, within))
                _tell(outcomes, len(jobs), options, several)
            advance(len(outcomes), "")
    except Stopped as stop:
        _show(outcomes, options, several)
        left = len(jobs) - len(outcomes)
        stop.text = f"interrupted: {left} of {len(jobs)} not done; run again with --resume to go on"
        raise
    places = {id(job): place for place, job in enumerate(jobs)}
    outcomes = [outcome for _, outcome in sorted(zip(ordered, outcomes, strict=True), key=lambda p: places[id(p[0])])]
    _show(outcomes, options, several)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failed and not several:
        raise failed[0]
    if failed:
        if options.quiet or (options.json and not _tells(options, several)):
            for outcome in outcomes:
                if outcome.error is not None:
                    click.echo(printable(f"failed: {outcome.job_name}: {outcome.error}"), err=True)
        partly = sum(outcome.status == "done" for outcome in outcomes if outcome.error is not None)
        note = f", {partly} of them with a volume" if partly else ""
        raise DataError(f"{len(failed)} of {len(jobs)} cases failed{note}", remedy="see the list; the others are done")


def _one(job: Job, options: Options, model: Model, several: bool, progress: Callable[[float], None]) -> Outcome:
    """A case, whatever becomes of it."""
    from mdcsrn.jobs.write import sweep_places

    start = time.perf_counter()
    try:
        check()  # a signal that a library has swallowed
        if job.error is not None:
            raise job.error
        if options.resume and not options.dry_run and is_already_done(job, options, model):
            sweep_places(job)
            outcome = Outcome(job.name, "skipped", job.source, job.output, lines=["done before"])
        elif options.dry_run:
            outcome = plan_case(job, options, model)
        else:
            outcome = run_case(job, options, model, progress)
    except Exception as error:
        ours = _as_ours(error, job, several)
        if ours is None:
            raise
        outcome = Outcome(job.name, "failed", job.source, error=ours, lines=[str(ours)])
    outcome.seconds = time.perf_counter() - start
    return outcome


def _as_ours(error: Exception, job: Job, several: bool) -> MdcsrnError | None:
    """The error to list; None: a defect of this software that is to be seen in full.

    Among several cases a defect is listed like the rest, since it must not cost the others their results.
    """
    if isinstance(error, MdcsrnError):
        return error
    if isinstance(error, MemoryError):
        return DataError(f"not enough memory for {job.source}", remedy="free some memory, or take a coarser grid")
    if several:
        what = f"unexpected {type(error).__name__} with {job.source}: {error}"
        return MdcsrnError(what, remedy="run this case alone, and report what it shows")
    return None


def _within(advance: Advance, before: int, name: str, share: float) -> None:
    advance(before + share, name)


def _tell(outcomes: Sequence[Outcome], count: int, options: Options, several: bool) -> None:
    """A line on stderr for the case that was just finished, where no bar shows it; a log can be followed by it."""
    if not _tells(options, several):
        return
    outcome = outcomes[-1]
    reason = outcome.error if outcome.error is not None else outcome.output
    words = f"[{len(outcomes)}/{count}] {outcome.status} {outcome.job_name} ({outcome.seconds:.1f} s): {reason}"
    click.echo(printable(words), err=True)


def _tells(options: Options, several: bool) -> bool:
    """True where each case has a line of its own on stderr."""
    return several and not (options.quiet or options.dry_run or sys.stderr.isatty())


def table(outcomes: Sequence[Outcome]) -> str:
    """One line a case: name, status, seconds, and why or what; a count at the end."""
    rows = [("case", "status", "seconds", "")]
    for outcome in outcomes:
        name, note = printable(outcome.job_name), printable(_note(outcome))
        rows.append((name, outcome.status, f"{outcome.seconds:.1f}", note))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for name, status, seconds, note in rows:
        shown = click.style(f"{status:<{widths[1]}}", fg=STYLES.get(status))  # click.echo drops it in a pipe
        lines.append(f"{name:<{widths[0]}}  {shown}  {seconds:>{widths[2]}}  {note}".rstrip())
    counts = Counter(outcome.status for outcome in outcomes)
    return "\n".join([*lines, ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))])


def as_json(outcomes: Sequence[Outcome]) -> str:
    """All cases as one JSON document: a list of objects."""
    listed = []
    for outcome in outcomes:
        values: dict[str, Any] = {
            "name": outcome.job_name,
            "status": outcome.status,
            "source": str(outcome.source),
            "output": None if outcome.output is None else str(outcome.output),
            "seconds": round(outcome.seconds, 3),
            "error": None,
        }
        if outcome.error is not None:
            values["error"] = {
                "kind": type(outcome.error).__name__, "exit_code": outcome.error.exit_code, "text": str(outcome.error),
            }  # fmt: skip
        listed.append({**values, "record": outcome.facts or None})
    return json.dumps(listed, indent=2, allow_nan=False)


def _note(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error)
    warnings = [w["name"] for w in outcome.facts.get("warnings", ())]
    parts = [outcome.lines[0]] if outcome.lines else []
    return "; ".join([*parts, *warnings, *([f"try {outcome.suggestion}"] if outcome.suggestion else [])])


def _show(outcomes: Sequence[Outcome], options: Options, several: bool) -> None:
    if options.json:
        click.echo(as_json(outcomes))
    elif options.quiet or not outcomes:
        return
    elif several:
        for outcome in outcomes if options.dry_run else ():
            click.echo("\n  ".join(printable(line) for line in (outcome.job_name, *outcome.lines)))
        click.echo(table(outcomes))
    else:
        for outcome in outcomes:
            if outcome.status != "failed":
                for line in outcome.lines:
                    click.echo(printable(line), err=line.startswith(("warning: ", "note: ")))


@contextlib.contextmanager
def _bar(count: int, options: Options) -> Iterator[Advance]:
    """A progress bar with the case and the time left, on stderr, where that is a terminal.

    Yields ``set(cases done, name of the case)``.
    """
    if options.quiet or options.dry_run or not sys.stderr.isatty():
        yield lambda done, name: None
        return
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=count, desc="predicting", bar_format=layout, file=sys.stderr, leave=False) as bar:

        def advance(done: float, name: str) -> None:
            number = f"{min(int(done) + 1, count)}/{count} " if count > 1 else ""
            words = f"{number}{_short(printable(name))}" if name else "predicting"
            bar.set_description_str(words, refresh=words != bar.desc)
            bar.update(done - bar.n)

        yield advance


def _short(name: str) -> str:
    return name if len(name) <= NAME_SHOWN else f"…{name[1 - NAME_SHOWN :]}"
