"""Choose paths of results: beside the input, into a file or into a folder, never onto an input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.errors import ConfigError
from mdcsrn.jobs.job import Job
from mdcsrn.jobs.naming import names_volume, page_file, page_folder
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.outputs import checked

if TYPE_CHECKING:
    from mdcsrn.io.dicom import SeriesLabel
    from mdcsrn.io.sources import Case


def jobs_of(source: Path, cases: Sequence[Case], output: Path | None, options: Options) -> tuple[list[Job], bool]:
    """Give each case its places.

    A file, or a DICOM series, has its result beside it (``NAME_sr.nii.gz``, of a picture ``NAME_sr.png``), or in the
    file or folder `output`. A folder of files, and several series, need a folder `output`; sub-folders are kept below
    it. ``--report`` names its place in the same way.

    Args:
        source: what the user gave.
        cases: what was found there.
        output: ``-o``.
        options: for --mask, --dicom-out and --report, which are folders where there are several cases.

    Returns:
        The jobs, and whether they count as several (a folder's way of reporting). A job whose results would replace an
        input, each other's or someone else's files carries its error.

    Raises:
        ConfigError: several cases and no folder for them.
        OutputError: a result has no name of a format that is written, a page no HTML name.
    """
    from mdcsrn.io.sources import load_case

    series = all(case.kind == "dicom" for case in cases)
    several = len(cases) > 1 or (source.is_dir() and not series)
    if several and output is None:
        raise ConfigError(
            f"{source} holds {len(cases)} cases, and results of a folder need one of their own",
            remedy="give -o FOLDER",
        )
    file = output is not None and names_volume(output)
    if several and file:
        raise ConfigError(f"{len(cases)} cases cannot go into one file", got=output, remedy="give -o FOLDER")
    pages = page_folder(options.report) if options.report is not None and several else None
    jobs = []
    labels = _labels(cases, options)
    for case in cases:
        page = f"{case.name}_sr.html"
        report = None
        if options.report is not None:
            report = page_file(options.report, page.split("/")[-1]) if pages is None else pages / page
        jobs.append(
            Job(
                name=case.name,
                source=case.path,
                output=_target(source, case, output, file),
                load=partial(load_case, case, nonfinite=options.nonfinite),
                fingerprint=None if case.kind == "dicom" else partial(_fingerprint, case),
                mask=mask_of(case.name, options.mask, several),
                dicom_out=_series_place(case, cases, options.dicom_out, several),
                label=labels.get(case.name),
                report=report,
                inputs=_files_of(case),
                chosen=(*(["volume"] if file else []), *(["report"] if report == options.report else [])),
            )
        )
    return checked(jobs, options, several), several


def _labels(cases: Sequence[Case], options: Options) -> dict[str, SeriesLabel]:
    """Number and description of each derived series by the name of its case, distinct within a study."""
    found = {case.name: case.series.identity for case in cases if case.series is not None}
    if options.dicom_out is None or not found:
        return {}
    from mdcsrn.io.dicom import labels_of

    labels = labels_of(list(found.values()), options.series_number, options.series_description)
    return dict(zip(found, labels, strict=True))


def _target(source: Path, case: Case, output: Path | None, file: bool) -> Path:
    from mdcsrn.io.pictures import result_suffix

    ending = f"_sr{result_suffix(case.kind)}"
    if output is None:
        # A series' folder or zip: beside it, not among its slices.
        return source.resolve().parent / (case.name.split("/")[-1] + ending)
    return Path(output) if file else Path(output) / (case.name + ending)


def _series_place(case: Case, cases: Sequence[Case], dicom_out: Path | None, several: bool) -> Path | None:
    """Folder of a derived series; one that would hold the folder of another case gets a name of its own."""
    if dicom_out is None or not several:
        return dicom_out
    holds_another = any(other.name.startswith(f"{case.name}/") for other in cases)
    return dicom_out / (f"{case.name}_series" if holds_another else case.name)


def _files_of(case: Case) -> tuple[Path, ...]:
    """Files of a case beside its path, and the JSON beside it; none where they cannot be told before it is read."""
    from mdcsrn.errors import MdcsrnError
    from mdcsrn.io.formats import files_of_image, image_stem

    if case.series is not None:
        return tuple(file.path for file in case.series.files)
    if case.error is not None:
        return ()
    try:
        files = files_of_image(case.path, case.kind)
    except MdcsrnError:  # reading it will say what is wrong
        files = ()
    return (*files, case.path.with_name(f"{image_stem(case.path)}.json"))


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
