"""Datalists: the split of a study's files as a JSON file in MONAI's style, with a hash of the split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdcsrn.data.split import SubjectsTable, assign, check_disjoint, subject_of
from mdcsrn.data.subjects import Named, name_subjects
from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import atomic_write_text, read_text
from mdcsrn.io.formats import READABLE, is_image_name, without_partners
from mdcsrn.io.names import without_pictures_beside_volumes

PATHS = ("image", "low", "mask")
SECTIONS = ("training", "validation", "evaluation", "test")


@dataclass(frozen=True)
class SplitRule:
    """How files become subjects, and subjects a split.

    Attributes:
        fractions: share of each section.
        seed: chooses who goes where.
        regex: names the subject in a path; None: :func:`mdcsrn.data.subjects.infer_subjects`.
        table: fixes subjects, persons or the whole split; None: the rules above.
    """

    fractions: Mapping[str, float]
    seed: int = 0
    regex: str | None = None
    table: SubjectsTable | None = None

    @property
    def words(self) -> str:
        """The rule in words, for the datalist."""
        who = f"expression {self.regex}" if self.regex else "inferred from the paths"
        if self.table is None:
            return f"subject: {who}; persons ordered by SHA-256 of seed and name"
        if self.table.has_split:
            return f"the split column of {self.table.path.name}"
        return f"persons of {self.table.path.name} (else {who}) ordered by SHA-256 of seed and name"


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Image files below a folder, links followed, hidden ones left out; of a pair, its header.

    Pictures (PNG, JPEG) count where there is no volume: beside volumes they are previews.

    Returns:
        Sorted paths below (and beginning with) `folder`.

    Raises:
        DataError: no such folder, or it holds no image file.
    """
    root = Path(folder)
    check_fetched(root)
    if not root.is_dir():
        raise DataError(f"no such folder: {root}", remedy="check the path")
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place) / name for name in names if is_image_name(name)]
    if not found:
        raise DataError(
            f"{root} holds no NIfTI file, nor one of another format", allowed=f"{READABLE}, in any sub-folder"
        )
    return without_partners(without_pictures_beside_volumes(sorted(found)))


def build_datalist(
    images: Sequence[Path],
    folder: Path,
    output_folder: Path,
    rule: SplitRule,
    name: str = "",
    replaced: Mapping[Path, Path] | None = None,
    named: Named | None = None,
) -> tuple[dict[str, Any], list[Path]]:
    """Split files by person into a datalist.

    Args:
        images: files below `folder`.
        folder: what was searched; subjects are named from the paths relative to it.
        output_folder: where the JSON will be; images below it are written relative to it, others absolute.
        rule: subjects and split.
        name: of the study.
        replaced: files to be listed in the place of some images; the original still names the subject.
        named: who is on each scan, of these images or more; None: by the rule.

    Returns:
        The datalist, and the files that a table puts in no section.

    Raises:
        DataError: a person in two sections, nothing says who is on a scan, or no file is left for training.
    """
    entries, left_out = [], []
    named = named or name_subjects(images, folder, rule.regex, rule.table)
    for image in images:
        row = named.rows.get(image)
        if row is None and rule.table is not None and rule.table.has_split:
            left_out.append(image)
            continue
        entry = {"image": _written((replaced or {}).get(image, image), output_folder), "subject": named.names[image]}
        if row and row.person:
            entry["person"] = row.person
        entries.append((entry, row.section if row else None, image))
    fixed = rule.table is not None and rule.table.has_split
    drawn = {} if fixed else assign((_unit(entry) for entry, _, _ in entries), rule.fractions, rule.seed)
    sections: dict[str, list[dict[str, str]]] = {key: [] for key in SECTIONS if fixed or key in rule.fractions}
    for entry, word, image in entries:
        section = word if fixed else drawn[_unit(entry)]
        if section in sections:
            sections[section].append(entry)
        else:
            left_out.append(image)
    if fixed and not sections["evaluation"]:
        del sections["evaluation"]
    check_disjoint(sections, name or str(folder))
    if not sections["training"]:
        raise DataError(f"no file of {folder} is left for training", got=f"{len(images)} files found")
    content: dict[str, Any] = {
        "name": name or folder.resolve().name,
        **sections,
        "split": {"seed": rule.seed, "fractions": dict(rule.fractions), "rule": rule.words},
    }
    if fixed:
        del content["split"]["seed"], content["split"]["fractions"]  # they had no say
    content["sha256"] = datalist_sha256(content)
    return content, left_out


def datalist_sha256(content: Mapping[str, Any]) -> str:
    """Hash of a split: sections with their subjects, persons and file names; where the files lie does not matter."""
    split = {
        section: sorted(
            [str(entry.get("subject", "")), str(entry.get("person", "")), Path(str(entry["image"])).name]
            for entry in map(_entry, content[section])
        )
        for section in SECTIONS
        if content.get(section)
    }
    return hashlib.sha256(json.dumps(split, sort_keys=True).encode()).hexdigest()


def write_datalist(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a datalist as JSON in one step."""
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")
    return Path(path)


def load_datalist(
    path: str | os.PathLike[str], section: str, base_dir: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Entries of one section, checked, with absolute image paths: what a MONAI dataset takes.

    Args:
        path: the JSON file.
        section: training, validation, evaluation or test.
        base_dir: where relative paths begin; None or empty: the JSON's own folder.

    Returns:
        Dictionaries with `image`, `subject` and whatever else the file holds for them; the paths under
        `low`, the degraded partner of a pair, and `mask` are absolute too.

    Raises:
        DataError: JSON missing or broken, section unknown or empty, an image missing, a subject or person in two
            sections, or a split that no longer fits its hash.
    """
    source = Path(path)
    content = _read_json(source)
    if section not in content:
        present = [key for key in SECTIONS if key in content]
        raise DataError(f"{source} has no section {section!r}", allowed=", ".join(present) or "none is in the file")
    if not content[section]:
        raise DataError(f"the section {section!r} of {source} is empty", remedy="add subjects, or split anew")
    base = Path(base_dir) if base_dir else source.parent
    sections = {key: [_entry(entry, source, key) for entry in content[key]] for key in SECTIONS if key in content}
    for entries in sections.values():
        for entry in entries:
            entry.setdefault("subject", subject_of(Path(entry["image"])))
    check_disjoint(sections, str(source))
    if "sha256" in content and content["sha256"] != datalist_sha256(content):
        raise DataError(
            f"the split in {source} is no longer the one that its sha256 names",
            got=content["sha256"],
            remedy="make the datalist again, or delete its key sha256 if the change is meant",
        )
    for entry in sections[section]:
        for key in (key for key in PATHS if key in entry):
            image = Path(os.path.abspath(base / str(entry[key])))
            if not image.is_file():
                raise DataError(
                    f"{source}, section {section!r}: no such image: {image}", remedy="check base folder and file"
                )
            entry[key] = str(image)
    return sections[section]


def repeats(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """How often each entry is drawn in one pass of training: its key ``repeat``, a whole number >= 1, default 1.

    Raises:
        DataError: a value is something else; the image is named.
    """
    counts = [entry.get("repeat", 1) for entry in entries]
    for entry, count in zip(entries, counts, strict=True):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise DataError(f"{entry['image']}: repeat is a whole number", got=count, allowed=">= 1")
    return counts


def _read_json(source: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(source))
    except FileNotFoundError as error:
        raise DataError(f"no such datalist: {source}", remedy="make one with `mdcsrn data folder`") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"cannot read the datalist {source}", got=str(error)) from error
    lists = isinstance(content, dict) and all(isinstance(content.get(key, []), list) for key in SECTIONS)
    if not lists:
        raise DataError(f"{source} is not a datalist", allowed='{"training": [{"image": "a.nii.gz"}, ...], ...}')
    return content


def _entry(entry: Any, source: Path | None = None, section: str = "") -> dict[str, Any]:
    """An entry as a dictionary; MONAI's bare string (test lists) means an image."""
    values = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(values, dict) or not isinstance(values.get("image"), str) or not values["image"]:
        raise DataError(f"{source}, section {section!r}: an entry names no image", got=entry, allowed='{"image": path}')
    return dict(values)


def _unit(entry: Mapping[str, str]) -> str:
    return entry.get("person", entry["subject"])


def _written(image: Path, output_folder: Path) -> str:
    absolute, base = Path(os.path.abspath(image)), Path(os.path.abspath(output_folder))
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)
