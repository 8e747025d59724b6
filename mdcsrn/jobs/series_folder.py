"""Replace the folder of a derived DICOM series by rename: a kill at any moment blocks no later run.

A folder cannot replace another one in one step. The old series is renamed aside, the new one in, and the record that
vouches for it follows. Between these steps no record says whose series lies there; a note in the hidden folder does,
until a later run has put its own series and record in place.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_text
from mdcsrn.jobs.staging import Staging, unwritable
from mdcsrn.record.sidecar import read_sidecar, relative, series_change, series_sha256, sidecar_path
from mdcsrn.scratch import KEPT, PREFIX, discard

SERIES = "series"  # name of the new one in its hidden folder
ASIDE = "aside"  # and of the old one
ATTEMPTS = 10


def check_series_place(folder: Path, output: Path) -> None:
    """Refuse a folder unless it is empty, or holds the series of an earlier run of this result, as that run left it.

    Args:
        folder: for the series.
        output: file of the volume, beside which the record lies.

    Raises:
        OutputError: something else lies there.
    """
    if _is_free(folder):
        return
    with contextlib.suppress(DataError, OSError):
        record = read_sidecar(sidecar_path(output))
        if _is_of(record, folder, output) and not series_change(record, output):
            return
    if folder.is_dir() and any(series_sha256(folder) in note["series"] for _, note in _notes(folder, output)):
        return
    raise OutputError(
        f"cannot write a DICOM series to {folder}: there is something already", allowed="a new or empty folder",
        remedy="choose another folder, or empty this one",
    )  # fmt: skip


def announce(made: Staging, folder: Path, output: Path) -> None:
    """Note which series may lie in `folder` from now on, before the old record goes.

    Raises:
        OutputError: the note cannot be written.
    """
    there = [] if _is_free(folder) else [series_sha256(folder)]
    note = {**_whose(folder, output), "series": [*there, series_sha256(made.path(SERIES))]}
    atomic_write_text(made.path(KEPT), json.dumps(note) + "\n")


def replace_series(made: Staging, folder: Path) -> None:
    """Put the new series in the place of the old one.

    Raises:
        OutputError: it cannot be moved; the old series is back in its place.
    """
    aside = made.path(ASIDE)
    try:
        for attempt in range(ATTEMPTS):
            if folder.exists():
                os.replace(folder, aside.with_name(f"{ASIDE}-{attempt}"))
            try:
                os.replace(made.path(SERIES), folder)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == ATTEMPTS - 1:
                    _put_back(made, folder)
                    raise
    except OSError as error:
        raise unwritable(folder, error) from error


def settle(made: Staging | None, folder: Path, output: Path) -> None:
    """Remove the notes about a series, this run's and those of killed ones: the record vouches for it now."""
    if made is not None:
        made.path(KEPT).unlink(missing_ok=True)
    for hidden, _ in _notes(folder, output):
        if made is None or hidden != made.folder:
            discard(hidden)


def _put_back(made: Staging, folder: Path) -> None:
    for aside in sorted(made.folder.glob(f"{ASIDE}-*")):
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.replace(aside, folder)
            return


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _is_of(record: dict[str, Any], folder: Path, output: Path) -> bool:
    return isinstance(record.get("dicom"), dict) and record["dicom"].get("path") == relative(folder, output.parent)


def _whose(folder: Path, output: Path) -> dict[str, str]:
    return {"folder": folder.name, "output": relative(output, folder.parent)}


def _notes(folder: Path, output: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Hidden folders beside `folder` that hold a note about it and this result, and the notes."""
    for path in sorted(folder.parent.glob(f"{PREFIX}*/{KEPT}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(path.read_text(encoding="utf-8"))
            if all(note[key] == value for key, value in _whose(folder, output).items()) and list(note["series"]):
                yield path.parent, note
