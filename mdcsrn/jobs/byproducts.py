"""Make maps, labels, page and DICOM series beside a volume; their failure never costs the volume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdcsrn.errors import MdcsrnError, root_error
from mdcsrn.jobs.options import Options
from mdcsrn.optional import need
from mdcsrn.targets import place_of, read_own_record

Failures = dict[str, MdcsrnError]
REPORT_NEEDS = ("jinja2", "matplotlib.figure")


def check_needs(options: Options) -> None:
    """Whether all that the options ask for can run here, before the first case.

    Raises:
        MissingDependencyError: an optional package is missing; the command that installs it is named.
        ConfigError: an unknown backend, device or precision, or one that does not fit the others.
    """
    if options.report is not None:
        need("--report", "report", *REPORT_NEEDS)
    if options.dicom_out is not None:
        need("--dicom-out", "dicom", "pydicom")
    if options.backend != "auto" or options.device != "auto" or options.precision != "auto":
        from mdcsrn.inference.backends import check_choice

        check_choice(options.backend, options.device, options.precision)


@contextlib.contextmanager
def attempt(role: str, failed: Failures) -> Iterator[None]:
    """Note what goes wrong with one file beside the volume, and continue."""
    try:
        yield
    except Exception as error:  # whatever it is, a finished volume is worth more
        ours = root_error(error)
        failed[role] = ours or MdcsrnError(f"unexpected {type(error).__name__}: {error}", remedy="report what it shows")


def failure(output: Path, failed: Mapping[str, MdcsrnError]) -> MdcsrnError | None:
    """The error of a case whose volume is there and something beside it is not; it has the exit code of the first."""
    if not failed:
        return None
    first = next(iter(failed.values()))
    reasons = "; ".join(f"{role}: {error.what}" for role, error in failed.items())
    return type(first)(
        f"{output} is written, but not its {', '.join(failed)}", got=reasons,
        remedy=f"{first.remedy or 'mend that'}; then run again with --resume",
    )  # fmt: skip


def earlier_files(record: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """Files that an earlier record of this place names and the new one does not, as far as they are still there.

    They stay known as ours, so that a later run may replace them.
    """
    content = read_own_record(record) or {}
    places = {place_of(record.parent / str(entry["path"])) for entry in now.values()}
    kept: dict[str, Any] = {}
    for key in ("earlier_files", "files"):
        entries = content.get(key)
        for role, entry in entries.items() if isinstance(entries, dict) else ():
            path = record.parent / str(entry.get("path")) if isinstance(entry, dict) else record
            if path.is_file() and path != record and place_of(path) not in places:
                kept[str(role)] = entry
    return kept
