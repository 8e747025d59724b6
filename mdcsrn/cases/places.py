"""Where results go: beside the input, into a file or into a folder, never onto an input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.cases.case import Job
from mdcsrn.cases.options import Options
from mdcsrn.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from mdcsrn.io.sources import Case

ENDING = "_sr.nii.gz"


def jobs_of(source: Path, cases: Sequence[Case], output: Path | None, options: Options) -> tuple[list[Job], bool]:
    """Give each case its places.

    A file, or a DICOM series, has its result beside it (``NAME_sr.nii.gz``), or in the file or folder `output`. A
    folder of files, and several series, need a folder `output`; sub-folders are kept below it.

    Args:
        source: what the user gave.
        cases: what was found there.
        output: ``-o``.
        options: for --mask, --dicom-out and --report, which are folders where there are several cases.

    Returns:
        The jobs, and whether they count as several (a folder's way of reporting).

    Raises:
        ConfigError: several cases and no folder for them.
        OutputError: a result would replace an input, or has no NIfTI name.
    """
    from mdcsrn.io.sources import load_case

    series = all(case.kind == "dicom" for case in cases)
    several = len(cases) > 1 or (source.is_dir() and not series)
    if several and output is None:
        raise ConfigError(
            f"{source} holds {len(cases)} cases, and results of a folder need one of their own",
            remedy="give -o FOLDER",
        )
    if several and output is not None and _names_file(output):
        raise ConfigError(f"{len(cases)} cases cannot go into one file", got=output, remedy="give -o FOLDER")
    taken = {case.path.resolve() for case in cases}
    jobs = []
    for case in cases:
        target = _target(source, case, output)
        if target.resolve() in taken:
            raise OutputError(f"the output {target} is an input", remedy="choose another name or folder")
        jobs.append(
            Job(
                name=case.name,
                source=case.path,
                output=target,
                load=partial(load_case, case, nonfinite=options.nonfinite),
                fingerprint=None if case.kind == "dicom" else partial(_fingerprint, case),
                mask=mask_of(case.name, options.mask, several),
                dicom_out=_below(options.dicom_out, case.name, several),
                report=_below(options.report, f"{case.name}_sr.html", several),
            )
        )
    return jobs, several


def _target(source: Path, case: Case, output: Path | None) -> Path:
    if output is None:
        # A series' folder or zip: beside it, not among its slices.
        return source.resolve().parent / (case.name.split("/")[-1] + ENDING)
    return output if _names_file(output) else output / (case.name + ENDING)


def _names_file(output: Path) -> bool:
    """True where `output` is meant as a file: a NIfTI name, or another ending of an image, which is refused."""
    from mdcsrn.io import is_standard_name
    from mdcsrn.io.formats import is_image_name

    if output.is_dir():
        return False
    if is_standard_name(output):
        return True
    if output.is_file() or is_image_name(output):
        raise OutputError(f"cannot write {output}: not a NIfTI name", allowed=".nii or .nii.gz, or a folder")
    return False


def _below(place: Path | None, name: str, several: bool) -> Path | None:
    return place if place is None or not several else place / name


def mask_of(name: str, mask: Path | None, several: bool) -> Path | None:
    """The label map of a case: the file given, or the one of the case's name in the folder given."""
    from mdcsrn.io.formats import SUFFIXES

    if mask is None or not (several or mask.is_dir()):
        return mask
    if not mask.is_dir():
        raise ConfigError(f"several cases need a folder of label maps, and {mask} is none", remedy="give a folder")
    found = [path for path in (mask / f"{name}{suffix}" for suffix in SUFFIXES) if path.is_file()]
    return found[0] if found else mask / f"{name}.nii.gz"  # reading it will say that it is missing


def _fingerprint(case: Case) -> str:
    """Hash of an image's files, as reading it would give."""
    from mdcsrn.io.formats import files_of_image
    from mdcsrn.io.sources import files_sha256

    return files_sha256(files_of_image(case.path, case.kind))
