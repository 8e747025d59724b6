"""List scans to load as named cases: one file, a folder of files, a DICOM series or a zip."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import sha256
from mdcsrn.io.dicom.sniff import is_dicom_file
from mdcsrn.io.folder import earlier_results, walk
from mdcsrn.io.formats import (
    READABLE,
    files_of_image,
    image_kind,
    image_stem,
    read_image,
    read_image_header,
)
from mdcsrn.io.image_type import REFUSED
from mdcsrn.io.names import DICOM_NAMES, is_picture_name, without_pictures_beside_volumes
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.scan import Scan
from mdcsrn.io.sidecar import scan_facts
from mdcsrn.io.unfetched_dicom import folders_of, unfetched_beside, unfetched_folders

if TYPE_CHECKING:
    from pydicom import Dataset

    from mdcsrn.io.dicom import SeriesFiles

PAIRED = (".hdr", ".hdr.gz", ".img", ".img.gz")


@dataclass(frozen=True, eq=False)
class Case:
    """One scan that was found, not yet read.

    Attributes:
        name: unique in its list; stem of the results, with ``/`` where it lay in a sub-folder.
        kind: see :class:`Scan`; ``folder`` for one that cannot be entered.
        path: the file; of a DICOM series, the folder or zip that holds it.
        series: the files of a DICOM series.
        error: why it cannot be read, where that is already known.
    """

    name: str
    kind: str
    path: Path
    series: SeriesFiles | None = None
    error: MdcsrnError | None = None


@dataclass(frozen=True, eq=False)
class Sources:
    """What was found.

    Attributes:
        cases: sorted by name.
        skipped: results of earlier runs that lie among the sources, left out.
    """

    cases: tuple[Case, ...]
    skipped: tuple[Path, ...] = ()


def find_cases(path: str | os.PathLike[str]) -> list[Case]:
    """The cases of :func:`find_sources`."""
    return list(find_sources(path).cases)


def find_sources(path: str | os.PathLike[str]) -> Sources:
    """Find every scan in a file, folder or zip; nothing but first bytes and DICOM headers is read.

    In a folder, DICOM is found by content, whatever a file's name; of the others, an image is one by the ending of its
    name. Links are followed, hidden files left out. Two files that would give the same result (``a.nii`` and
    ``a.nii.gz``) become one case with an error. A volume with a record of this software beside it, and the maps named
    there, are results of an earlier run and left out. Pictures beside volumes or series are previews and left out.

    Args:
        path: image file, DICOM file, zip of DICOM files, or folder (searched to its leaves).

    Returns:
        The cases, and what was left out.

    Raises:
        DataError: nothing there, no permission, or no scan in it.
    """
    source = Path(path)
    check_fetched(source)
    if not source.is_dir():
        return Sources(tuple(_cases_of_file(source)))
    found = walk(source)
    disguised = {file for file in found.images if is_dicom_file(file)}
    images = [file for file in found.images if file not in disguised]
    results = earlier_results(images)
    cases = [Case(place.relative_to(source).as_posix(), "folder", place, error=error) for place, error in found.refused]
    series = _dicom_cases([*found.others, *disguised], source)
    series += _unfetched_cases(found.others, source, series)
    scans = without_pictures_beside_volumes([file for file in images if file not in results])
    cases += _image_cases([file for file in scans if not (series and is_picture_name(file))], source) + series
    skipped = tuple(file for file in images if file in results)
    if not cases:
        only = f"only results of earlier runs ({len(skipped)})" if skipped else "no scan"
        raise DataError(
            f"{source} holds {only}",
            allowed=f"{READABLE}, DICOM files or zips of them, in any sub-folder",
            remedy="check the path",
        )
    return Sources(tuple(sorted(_unique(cases), key=lambda case: case.name)), skipped)


def load_case(case: Case, nonfinite: NonFinite = "refuse", allow_constant: bool = False) -> Scan:
    """Read a case.

    Args:
        case: from :func:`find_cases`.
        nonfinite: ``refuse`` or ``fill``, see :func:`mdcsrn.io.formats.read_image`.
        allow_constant: accept a volume whose voxels are all equal (a mask may be).

    Returns:
        The scan with its facts; oddities are in the volume's warnings.

    Raises:
        MdcsrnError: the case's own error, or what its reader says.
    """
    if case.error is not None:
        raise case.error
    if case.series is not None:
        return _load_series(case)
    volume = read_image(case.path, nonfinite, allow_constant)
    facts, problems = scan_facts(case.path)
    if facts.slice_axis is None and case.kind in ("nifti", "nifti-pair"):
        facts = dataclasses.replace(facts, slice_axis=read_image_header(case.path).slice_axis)
    files = files_of_image(case.path, case.kind)
    return Scan(
        volume=dataclasses.replace(volume, warnings=volume.warnings + problems),
        name=case.name,
        source=case.path,
        kind=case.kind,
        facts=facts,
        files=files,
        sha256=files_sha256(files),
    )


def files_sha256(files: Sequence[Path]) -> str:
    """SHA-256 of one file; of several, that of their hexadecimal hashes in the given order."""
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def _load_series(case: Case) -> Scan:
    from mdcsrn.io.dicom import read_series
    from mdcsrn.io.dicom.stack import check_volume

    assert case.series is not None
    series = read_series(case.series)
    check_volume(series.frames, series.volume.spacing[2], f"{case.path}, {case.series.name}")
    warnings = [*series.volume.warnings, *series.warnings]
    if any(_made_here(header) for header in series.headers):
        warnings.append("the series is itself a result of mdcsrn")
    return Scan(
        volume=dataclasses.replace(series.volume, warnings=tuple(dict.fromkeys(warnings))),
        name=case.name,
        source=case.path,
        kind="dicom",
        facts=series.facts,
        files=series.paths,
        sha256=series.sha256,
        dicom=series,
    )


def _made_here(header: Dataset) -> bool:
    """True where a DICOM header names this software among the equipment that made the image."""
    makers = header.get("ContributingEquipmentSequence") or []
    words = ("ContributionDescription", "ManufacturerModelName")  # the second of versions before 0.2
    return any(str(maker.get(word, "")).split(" ")[0] == "mdcsrn" for maker in makers for word in words)


def _cases_of_file(source: Path) -> list[Case]:
    kind = image_kind(source)
    if kind in ("dicom", "zip") or source.name.lower().endswith(DICOM_NAMES):
        name = source.name if source.suffix[1:].isdigit() else source.stem  # MR.1.3.12.2.1107 has no ending
        return _series_cases(source, name)
    return [Case(image_stem(source), kind, source)]


def _image_cases(images: Sequence[Path], root: Path) -> list[Case]:
    groups: dict[str, list[Path]] = {}
    for file in images:
        inside = file.relative_to(root)
        groups.setdefault((inside.parent / image_stem(inside)).as_posix(), []).append(file)
    return [_image_case(name, files) for name, files in groups.items()]


def _image_case(name: str, files: Sequence[Path]) -> Case:
    endings = [file.name[len(image_stem(file)) :].lower() for file in files]
    heads = [file for file, ending in zip(files, endings, strict=True) if ending in (".hdr", ".hdr.gz")]
    if heads and len(files) == 2 and all(ending in PAIRED for ending in endings):
        files = heads  # a pair is one scan
    path = files[0]
    if len(files) > 1:
        listed = ", ".join(file.name for file in files)
        error = DataError(
            f"several files would give one result: {path.parent / listed}",
            allowed="one file of each name",
            remedy="keep one of them, or rename one",
        )
        return Case(name, "duplicate", path, error=error)
    try:
        return Case(name, image_kind(path), path)
    except MdcsrnError as error:
        return Case(name, "unknown", path, error=error)


def _dicom_cases(others: Sequence[Path], root: Path) -> list[Case]:
    cases: list[Case] = []
    for file in others:
        if file.name.lower().endswith(".zip"):
            name = file.relative_to(root).with_suffix("").as_posix()
            try:
                cases += _series_cases(file, name)
            except MdcsrnError as error:
                cases.append(Case(name, "dicom", file, error=error))
    if any(map(is_dicom_file, others)):
        try:
            cases += _series_cases(root, "")
        except MdcsrnError as error:
            cases.append(Case(root.resolve().name, "dicom", root, error=error))
    return cases


def _series_cases(source: Path, prefix: str) -> list[Case]:
    """DICOM series of a file, zip or folder, named by `prefix`, the folder that holds them, and their number."""
    from mdcsrn.io.dicom import find_series

    check_fetched(source)
    found = _magnitudes(find_series(source))
    places = ["/".join(part for part in (prefix, series.folder) if part) for series in found]
    if prefix and len(found) == 1:
        places = [prefix]
    cases = []
    for series, place in zip(found, places, strict=True):
        name = place or source.resolve().name
        if places.count(place) > 1:
            name = f"{name}_{series.name}"
        cases.append(Case(name, "dicom", source, series=series, error=series.error or unfetched_beside(series)))
    return cases


def _magnitudes(found: Sequence[SeriesFiles]) -> list[SeriesFiles]:
    """Of a series that was split, the magnitude images where it has some; its phase images and the like are named."""
    kept = []
    for series in found:
        siblings = [other for other in found if series.identity.uid and other.identity == series.identity]
        others = [other for other in siblings if set(other.kinds) & set(REFUSED)]
        if not others or len(others) == len(siblings):
            kept.append(series)
        elif series not in others:
            listed = "; ".join(f"{len(other.frames)} images, {', '.join(other.kinds)}" for other in others)
            warning = f"left out of this series, not magnitude images: {listed}"
            kept.append(dataclasses.replace(series, warnings=(*series.warnings, warning)))
    return kept


def _unfetched_cases(others: Sequence[Path], root: Path, cases: Sequence[Case]) -> list[Case]:
    """A case with an error for each folder of DICOM files that were not fetched, where none of its files was."""
    there = {folder for case in cases if case.series is not None for folder in folders_of(case.series)}
    groups = unfetched_folders([file for file in others if file.parent not in there])
    names = {folder: folder.relative_to(root).as_posix().removeprefix(".") for folder in groups}
    return [
        Case(names[folder] or root.resolve().name, "dicom", folder, error=error) for folder, error in groups.items()
    ]


def _unique(cases: Sequence[Case]) -> list[Case]:
    """Number the cases that share a name, in their order."""
    taken: set[str] = set()
    result = []
    for case in cases:
        name, number = case.name, 1
        while name in taken:
            number += 1
            name = f"{case.name}-{number}"
        taken.add(name)
        result.append(case if name == case.name else dataclasses.replace(case, name=name))
    return result
