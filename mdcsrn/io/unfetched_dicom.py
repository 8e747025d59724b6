"""Detect DICOM files that a dataset names but does not hold, which would leave a series short of slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.errors import DataError
from mdcsrn.fetched import unfetched
from mdcsrn.io.names import may_be_dicom_name

if TYPE_CHECKING:
    from mdcsrn.io.dicom import SeriesFiles


def folders_of(series: SeriesFiles) -> list[Path]:
    """Folders that hold the files of a series; none for one in a zip."""
    return sorted({frame.file.path.parent for frame in series.frames if frame.file.member is None})


def unfetched_beside(series: SeriesFiles) -> DataError | None:
    """The error of a series beside whose files lie others that may belong to it and were not fetched."""
    files = [file for folder in folders_of(series) for file in sorted(folder.iterdir())]
    return next(iter(unfetched_folders(files).values()), None)


def unfetched_folders(files: Sequence[Path]) -> dict[Path, DataError]:
    """Folders with files that were not fetched and may be DICOM by their names, and the error of each."""
    found: dict[Path, list[DataError]] = {}
    for file in files:
        if may_be_dicom_name(file):
            error = unfetched(file) if file.is_symlink() or not file.is_dir() else None
            if error is not None:
                found.setdefault(file.parent, []).append(error)
    return {folder: _one(folder, errors) for folder, errors in found.items()}


def _one(folder: Path, errors: Sequence[DataError]) -> DataError:
    if len(errors) == 1:
        return errors[0]
    return DataError(
        f"{len(errors)} files in {folder} were not fetched",
        got=f"the first: {errors[0].what}",
        remedy=f"{errors[0].remedy}, and the others likewise (these commands take a folder too)",
    )
