"""A BIDS dataset: which anatomical images it holds, and where their derivatives belong (BIDS 1.10)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mdcsrn
from mdcsrn.errors import DataError, MdcsrnError, OutputError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import atomic_write_text, read_text
from mdcsrn.io.names import is_standard_name, nifti_stem
from mdcsrn.io.scan import ScanFacts
from mdcsrn.io.sidecar import DESCRIPTION, parse_name, scan_facts

VERSION = "1.10.0"
SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")
# Entities of anatomical images and their derivatives, in the order that BIDS prescribes.
ORDER = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod",
    "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den",
    "label", "desc",
)  # fmt: skip
MAGNITUDE = (None, "mag")  # of the entity part; phase, real and imaginary images are no magnitudes
SOURCE = "raw"  # name of the source dataset in BIDS URIs


@dataclass(frozen=True, eq=False)
class BidsImage:
    """One anatomical image of a dataset.

    Attributes:
        path: the NIfTI file.
        entities: key to label in the order of the name, ``sub`` first.
        suffix: such as ``T1w``.
        facts: what its name and sidecars say.
        root: of the dataset.
        warnings: one sentence for each sidecar that cannot be read.
        error: why it cannot be used, where its name is not valid or not unique.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    facts: ScanFacts
    root: Path
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
    """Find the anatomical magnitude images of a dataset.

    Args:
        root: folder with ``dataset_description.json``.
        participants: labels, with or without ``sub-``; none: everyone.
        sessions: labels, with or without ``ses-``; none: all.
        suffixes: kinds of image.

    Returns:
        Images sorted by path; one whose name breaks the rules, or that is there as .nii and as .nii.gz, has its error.

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
    images = [_image(file, base, files) for file in files if parse_name(file).entities.get("part") in MAGNITUDE]
    unique = {image.name: image for image in images}
    if not unique:
        whom = f" of {', '.join('sub-' + label for label in subjects)}" if participants else ""
        raise DataError(
            f"{base} holds no anatomical image{whom}", allowed=", ".join(suffixes), remedy="check labels and suffix"
        )
    return list(unique.values())


def derivative_path(image: BidsImage, out_dir: str | os.PathLike[str], description: str = "sr") -> Path:
    """Where the derivative of an image belongs: same folders, entity ``desc`` added, .nii.gz.

    Args:
        image: from :func:`find_bids`.
        out_dir: root of the derived dataset.
        description: label of ``desc``, letters and digits.

    Raises:
        OutputError: a description with other characters.
    """
    if not re.fullmatch(r"[0-9A-Za-z]+", description):
        raise OutputError("a BIDS label holds letters and digits", got=description)
    entities = {**{key: label for key, label in image.entities.items() if key != "desc"}, "desc": description}
    name = "_".join([*(f"{key}-{label}" for key, label in entities.items()), image.suffix])
    return Path(out_dir) / image.path.parent.relative_to(image.root) / f"{name}.nii.gz"


def write_dataset_description(out_dir: str | os.PathLike[str], bids_dir: str | os.PathLike[str]) -> Path:
    """Write the ``dataset_description.json`` of a derived dataset; a second run writes the same.

    Args:
        out_dir: root of the derived dataset; made where it is missing.
        bids_dir: root of the source.

    Returns:
        The file.

    Raises:
        DataError: the source has no description.
        OutputError: `out_dir` is the source itself, holds another dataset, or cannot be written.
    """
    target, source = Path(out_dir), Path(bids_dir)
    raw = read_description(source)
    if target.resolve() == source.resolve():
        raise OutputError(
            f"{target} is the dataset itself", allowed="another folder", remedy="take BIDS_DIR/derivatives/mdcsrn"
        )
    file = target / DESCRIPTION
    if file.exists() and not _is_ours(file):
        raise OutputError(f"{target} holds another dataset", remedy="choose an empty folder")
    link = quote(Path(os.path.relpath(source.resolve(), target.resolve())).as_posix())
    doi = raw.get("DatasetDOI")
    content = {
        "Name": "mdcsrn super-resolution",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "mdcsrn",
                "Version": mdcsrn.__version__,
                "Description": "3D super-resolution that keeps the measured part of k-space",
            }
        ],
        "SourceDatasets": [{"DOI": doi} if isinstance(doi, str) and doi else {"URL": link}],
        "DatasetLinks": {SOURCE: link},
    }
    atomic_write_text(file, json.dumps(content, indent=2) + "\n")
    return file


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
    facts, problems = scan_facts(file, root)
    error = _name_error(file, root)
    twins = sorted(
        other.name for other in files if other.parent == file.parent and nifti_stem(other) == nifti_stem(file)
    )
    if error is None and len(twins) > 1:
        error = DataError(f"{file.parent} holds one image twice", got=", ".join(twins), remedy="keep one of them")
    return BidsImage(file, name.entities, name.suffix, facts, root, problems, error)


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


def _is_ours(file: Path) -> bool:
    try:
        content = json.loads(read_text(file))
        makers = content.get("GeneratedBy", [])
        return content.get("DatasetType") == "derivative" and any(maker.get("Name") == "mdcsrn" for maker in makers)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, DataError):
        return False
