"""Write the root files of a derived BIDS dataset: description, sources and software (BIDS 1.11)."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

import mdcsrn
from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_text, read_text
from mdcsrn.io.bids import IGNORE, SOURCE, BidsImage, read_description
from mdcsrn.io.bids_derivative import DERIVED_SUFFIXES, MAPS, UNNAMED_ENTITIES, description_of
from mdcsrn.io.sidecar import DESCRIPTION

VERSION = "1.11.1"
US = "The mdcsrn authors"
READMES = ("README", "README.md", "README.rst", "README.txt")
DESCRIPTIONS = "descriptions.tsv"
VOLUME = "image with its outer k-space restored by a network, the measured part kept; unchanged where there was none"
CARRIED = ("License", "EthicsApprovals", "Funding", "Acknowledgements", "HowToAcknowledge", "ReferencesAndLinks")


def write_dataset_description(out_dir: str | os.PathLike[str], bids_dir: str | os.PathLike[str]) -> Path:
    """Write the ``dataset_description.json`` of a derived dataset; a second run writes the same.

    Args:
        out_dir: root of the derived dataset; made where it is missing.
        bids_dir: root of the source.

    Returns:
        The file.

    Raises:
        DataError: the source has no description.
        OutputError: `out_dir` is the source itself, lies among its images, holds another dataset, or cannot be written.
    """
    target, source = Path(out_dir), Path(bids_dir)
    raw = read_description(source)
    if target.resolve() == source.resolve():
        raise OutputError(
            f"{target} is the dataset itself", allowed="another folder", remedy="take BIDS_DIR/derivatives/mdcsrn"
        )
    inside = os.path.relpath(target.resolve(), source.resolve()).split(os.sep)
    if inside[0] != os.pardir and any(part.startswith("sub-") for part in inside):
        raise OutputError(
            f"{target} lies among the images of the dataset", allowed="another folder",
            remedy="take BIDS_DIR/derivatives/mdcsrn",
        )  # fmt: skip
    file = target / DESCRIPTION
    if file.exists() and not _is_ours(file):
        raise OutputError(f"{target} holds another dataset", remedy="choose an empty folder")
    link = quote(Path(os.path.relpath(source.resolve(), target.resolve())).as_posix())
    doi = raw.get("DatasetDOI")
    content = {
        "Name": "mdcsrn super-resolution",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "Authors": _authors(source, raw),
        **{key: raw[key] for key in CARRIED if _is_sound(key, raw.get(key))},
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


def write_companions(
    out_dir: str | os.PathLike[str], images: Sequence[BidsImage], roles: Iterable[str], pages: Path | None = None
) -> None:
    """Write what else stands at the root: a README, ``.bidsignore`` and the list of ``desc`` labels.

    What is there is kept and added to, since every participant may have a run of their own.

    Args:
        out_dir: root of the derived dataset; its description is there already.
        images: the sources of this run.
        roles: what each of them gets; see :func:`mdcsrn.io.bids_derivative.derivative_path`.
        pages: folder of the HTML pages; below `out_dir` it is one that BIDS does not know.

    Raises:
        DataError: a file that is there cannot be read.
        OutputError: a file cannot be written.
    """
    target = Path(out_dir)
    if not any((target / name).exists() for name in READMES):
        atomic_write_text(target / "README.md", README)
    unnamed = {image.suffix for image in images} - DERIVED_SUFFIXES
    _add_lines(target / IGNORE, [*IGNORED, *_own_folder(pages, target), *sorted(f"*_{suffix}.*" for suffix in unnamed)])
    labels = {f"desc-{description_of(image, role)}": ROLES[role] for role in roles for image in images}
    _add_descriptions(target / DESCRIPTIONS, labels)
    content = {
        "Description": "What the labels of the entity desc in the names of this dataset mean.",
        "desc_id": {"Description": "Entity and label, as in the names of files."},
        "description": {"Description": "What the files with this label hold."},
    }
    atomic_write_text((target / DESCRIPTIONS).with_suffix(".json"), json.dumps(content, indent=2) + "\n")


ROLES = {"": VOLUME, **MAPS}
IGNORED = (
    "# pages made with --report",
    "*.html",
    "# results of images for which BIDS has no derivative names yet",
    *(f"*_{key}-*" for key in UNNAMED_ENTITIES),
)
README = f"""# Super-resolved images

This dataset was made by mdcsrn {mdcsrn.__version__} from the dataset that `dataset_description.json` names. Each image
is a source image whose outer k-space, which the scanner did not measure, was restored by a neural network; what was
measured is kept. Details that a network restores are likely, not observed: the images are not for diagnosis.

- `*_desc-sr_T1w.nii.gz` (and other contrasts): the image. The JSON file beside it says what was done to which source
  with which weights; `mdcsrn verify IMAGE` checks image and record again.
- `*_desc-srspread_*`, `*_desc-srmean_*`, `*_desc-srinvention_*`: maps of uncertainty, where they were asked for.
- `*_desc-srT1w_dseg.nii.gz`: label maps carried to the new grid, where they were given.
- `*.html`: pages to look at, where they were asked for.

A source with a label of its own keeps it in front: `desc-preproc` becomes `desc-preprocSr`. `descriptions.tsv` lists
all labels. Participants and sessions are described in the source dataset.
"""


def _own_folder(pages: Path | None, target: Path) -> list[str]:
    """The line for a folder of pages at the root of the dataset; none where it lies elsewhere, or below a person's."""
    if pages is None or not pages.resolve().is_relative_to(target.resolve()):
        return []
    inside = pages.resolve().relative_to(target.resolve()).parts
    return [f"/{inside[0]}"] if inside and not inside[0].startswith("sub-") else []


def _authors(source: Path, raw: Mapping[str, Any]) -> list[str]:
    """Those of the source, by its description or its CITATION.cff, and of this software."""
    named = raw.get("Authors")
    authors = [name for name in named if isinstance(name, str) and name.strip()] if isinstance(named, list) else []
    authors = authors or _cited_authors(source / "CITATION.cff") or [f"The authors of {raw.get('Name') or source.name}"]
    return [*(name for name in authors if name != US), US]


def _cited_authors(file: Path) -> list[str]:
    """Authors of a citation file; none where it cannot be read, for it has no bearing on the images."""
    try:
        content = yaml.safe_load(read_text(file))
        people = content["authors"]
        names = [
            person.get("name") or " ".join(filter(None, (person.get("given-names"), person.get("family-names"))))
            for person in people
        ]
        return [str(name) for name in names if name]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []


def _is_sound(key: str, value: object) -> bool:
    """True for a value of the type that BIDS wants of a field that is carried over."""
    if key in ("License", "Acknowledgements", "HowToAcknowledge"):
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, list) and bool(value) and all(isinstance(entry, str) for entry in value)


def _add_lines(file: Path, lines: Iterable[str]) -> None:
    old = _lines(file)
    new = [line for line in lines if line not in old]
    if new:
        atomic_write_text(file, "\n".join([*old, *new]) + "\n")


def _add_descriptions(file: Path, labels: Mapping[str, str]) -> None:
    rows = [row for row in csv.reader(_lines(file), delimiter="\t") if row] or [["desc_id", "description"]]
    known = {row[0] for row in rows}
    new = [[label, text] for label, text in labels.items() if label not in known]
    if new:
        text = io.StringIO()
        csv.writer(text, delimiter="\t", lineterminator="\n").writerows([*rows, *new])
        atomic_write_text(file, text.getvalue())


def _lines(file: Path) -> list[str]:
    try:
        return read_text(file).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot read {file}", got=error.strerror, remedy="ask for the right to read it") from error


def _is_ours(file: Path) -> bool:
    try:
        content = json.loads(read_text(file))
        makers = content.get("GeneratedBy", [])
        return content.get("DatasetType") == "derivative" and any(maker.get("Name") == "mdcsrn" for maker in makers)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False
