"""Read a BIDS dataset: its anatomical images, and what their names and sidecars say of them (BIDS 1.11)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import read_text
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.names import is_standard_name, nifti_stem
from mdcsrn.io.sidecar import DESCRIPTION, facts_of, parse_name, read_metadata

SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")
# Entities in the order that the schema of BIDS 1.11 prescribes.
ORDER = (
    "sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk",
    "atlas", "seg", "scale", "res", "den", "label", "desc",
)  # fmt: skip
MAGNITUDE = (None, "mag")  # of the entity part; phase, real and imaginary images are no magnitudes
SOURCE = "raw"  # name of the source dataset in BIDS URIs
IGNORE = ".bidsignore"


@dataclass(frozen=True, eq=False)
class BidsImage:
    """One anatomical image of a dataset.

    Attributes:
        path: the NIfTI file.
        entities: key to label in the order of the name, ``sub`` first.
        suffix: such as ``T1w``.
        facts: what its name and sidecars say.
        root: of the dataset.
        metadata: of its JSON sidecars, inherited ones included.
        warnings: one sentence for each sidecar that cannot be read.
        error: why it cannot be used, where its name is not valid or not unique.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    facts: ScanFacts
    root: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: MdcsrnError | None = None

    @property
    def name(self) -> str:
        """Path below the root without its ending: unique in the dataset."""
        return (self.path.parent.relative_to(self.root) / nifti_stem(self.path)).as_posix()

    @property
    def uri(self) -> str:
        """BIDS URI of the image as seen from its derivative, for the field ``Sources``."""
        return f"bids:{SOURCE}:{self.path.relative_to(self.root).as_posix()}"


def find_bids(
    root: str | os.PathLike[str],
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = SUFFIXES,
) -> list[BidsImage]:
    """Find the anatomical magnitude images of a dataset; files that its ``.bidsignore`` names are none of them.

    Args:
        root: folder with ``dataset_description.json``.
        participants: labels, with or without ``sub-``; none: everyone.
        sessions: labels, with or without ``ses-``; none: all.
        suffixes: kinds of image.

    Returns:
        Images sorted by path. One has its error whose name breaks the rules, that is there as .nii and as .nii.gz, or
        whose name differs from another's in upper and lower case alone: a derivative of both would be one file.

    Raises:
        DataError: no dataset, a participant or a session that it has not, or no such image.
    """
    base = Path(root)
    read_description(base)
    subjects = _chosen(base, "sub", participants, [base])
    folders = list(subjects.values())
    if sessions:
        _chosen(base, "ses", sessions, folders)
    wanted = {_label("ses", session) for session in sessions}
    places = []
    for subject in folders:
        inside = [entry for entry in _entries(subject) if entry.is_dir() and entry.name.startswith("ses-")]
        places += [entry for entry in inside if not wanted or entry.name.removeprefix("ses-") in wanted]
        if not wanted:
            places.append(subject)
    files = [file for place in places if (place / "anat").is_dir() for file in _entries(place / "anat")]
    files = sorted(file for file in files if is_standard_name(file) and parse_name(file).suffix in suffixes)
    ignored = _ignored(base, files)
    files = [file for file in files if file not in ignored]
    images = [_image(file, base, files) for file in files if parse_name(file).entities.get("part") in MAGNITUDE]
    unique = {image.name: image for image in images}
    if not unique:
        whom = f" of {', '.join('sub-' + label for label in subjects)}" if participants else ""
        left_out = f" that its {IGNORE} does not leave out" if ignored else ""
        raise DataError(
            f"{base} holds no anatomical image{whom}{left_out}",
            allowed=", ".join(suffixes),
            remedy="check labels and suffix; BIDS knows NIfTI alone: pictures go through `mdcsrn predict FOLDER`",
        )
    return _apart(list(unique.values()))


def read_description(root: str | os.PathLike[str]) -> dict[str, Any]:
    """Content of a dataset's ``dataset_description.json``.

    Raises:
        DataError: no such folder or file, or no JSON mapping.
    """
    base = Path(root)
    check_fetched(base)
    if not base.is_dir():
        raise DataError(f"no such folder: {base}", remedy="check the path")
    try:
        content = json.loads(read_text(base / DESCRIPTION))
    except FileNotFoundError as error:
        raise DataError(
            f"{base} is no BIDS dataset: it has no {DESCRIPTION}",
            remedy="give the dataset's root, or use `mdcsrn predict FOLDER` for a plain folder",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {base / DESCRIPTION}", got=str(error).splitlines()[0]) from error
    if not isinstance(content, dict):
        raise DataError(f"{base / DESCRIPTION} holds no mapping", got=type(content).__name__)
    return content


def _image(file: Path, root: Path, files: Iterable[Path]) -> BidsImage:
    name = parse_name(file)
    metadata, problems = read_metadata(file, root)
    error = _name_error(file, root)
    twins = sorted(
        other.name for other in files if other.parent == file.parent and nifti_stem(other) == nifti_stem(file)
    )
    if error is None and len(twins) > 1:
        error = DataError(f"{file.parent} holds one image twice", got=", ".join(twins), remedy="keep one of them")
    return BidsImage(file, name.entities, name.suffix, facts_of(file, metadata), root, metadata, problems, error)


def _apart(images: list[BidsImage]) -> list[BidsImage]:
    """Give an error to images whose names are one name on a disk that knows no upper and lower case."""
    names: dict[str, list[str]] = {}
    for image in images:
        names.setdefault(image.name.casefold(), []).append(image.path.name)
    return [
        replace(
            image,
            error=DataError(
                f"{image.path.parent} holds names that differ in upper and lower case alone",
                got=", ".join(same), remedy="rename one of them",
            ),
        )
        if image.error is None and len(same := names[image.name.casefold()]) > 1
        else image
        for image in images
    ]  # fmt: skip


def _ignored(root: Path, files: Iterable[Path]) -> set[Path]:
    """Those of the files that the dataset's ``.bidsignore`` leaves out; its patterns are those of git."""
    try:
        lines = read_text(root / IGNORE).splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise DataError(
            f"cannot read {root / IGNORE}", got=error.strerror, remedy="ask for the right to read it"
        ) from error
    spec = GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))
    return {file for file in files if spec.match_file(file.relative_to(root).as_posix())}


def _is_pattern(line: str) -> bool:
    """False for a line that git could not make sense of either, such as a lone "!": it matches nothing."""
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _name_error(file: Path, root: Path) -> DataError | None:
    """What is wrong with a name by the rules of BIDS, or None."""
    entities = parse_name(file).entities
    keys = list(entities)
    for key in ("sub", "ses"):
        folder = next((p for p in file.relative_to(root).parts[:-1] if p.startswith(f"{key}-")), None)
        if entities.get(key) != (folder.removeprefix(f"{key}-") if folder else None):
            return _bad(file, f"its {key}- is not that of its folder")
    if any(key not in ORDER for key in keys):
        return _bad(file, f"unknown entity {next(key for key in keys if key not in ORDER)}-")
    if keys != sorted(keys, key=ORDER.index):
        return _bad(file, "its entities are out of order")
    return None


def _bad(file: Path, what: str) -> DataError:
    return DataError(
        f"{file} is no valid BIDS name: {what}", allowed="sub-01[_ses-02][_acq-x]_T1w.nii.gz", remedy="rename it"
    )


def _label(key: str, word: str) -> str:
    return word.removeprefix(f"{key}-")


def _chosen(root: Path, key: str, labels: Sequence[str], folders: Iterable[Path]) -> dict[str, Path]:
    """Folders ``key-label`` by label, in the given folders; those asked for, or all."""
    there: dict[str, Path] = {}
    for folder in folders:
        named = [entry for entry in _entries(folder) if entry.name.startswith(f"{key}-") and entry.is_dir()]
        there |= {entry.name.removeprefix(f"{key}-"): entry for entry in named}
    wanted = [_label(key, label) for label in labels]
    missing = [f"{key}-{label}" for label in wanted if label not in there]
    if missing or not there:
        listed = [f"{key}-{label}" for label in there]
        short = ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
        raise DataError(
            f"{root} has no {', '.join(missing) or f'{key}- folder'}",
            allowed=short or None,
            remedy="check the labels",
        )
    return {label: there[label] for label in (wanted or there)}


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot open the folder {folder}", got=error.strerror, remedy="ask for the right to read it"
        ) from error
