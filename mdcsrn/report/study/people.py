"""People of a study: their scans, contrasts and masks, from a datalist, an INDEX.tsv, a BIDS dataset or a folder."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mdcsrn.data.datalist import find_images, load_datalist
from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import read_text
from mdcsrn.io.bids import SUFFIXES, find_bids
from mdcsrn.io.names import image_stem, is_image_name
from mdcsrn.io.sidecar import DESCRIPTION, parse_name

INDEX = "INDEX.tsv"
MASK_ENDINGS = ("", "_mask", "_brain_mask", "_bet", "_desc-brain_mask")
UNKNOWN = "unknown contrast"


@dataclass(frozen=True)
class Person:
    """One scan of a study.

    Attributes:
        name: unique in its contrast.
        contrast: BIDS suffix such as ``T1w``, or :data:`UNKNOWN`.
        image: the file.
        mask: of the brain, on the same grid; None: none is known.
    """

    name: str
    contrast: str
    image: Path
    mask: Path | None = None


def people_of(source: str | os.PathLike[str], masks: str | os.PathLike[str] | None = None) -> list[Person]:
    """Who is studied.

    Args:
        source: a datalist (its ``test`` section; an entry may have ``subject``, ``modality`` and ``mask``), or a
            folder: with INDEX.tsv (columns file, subject, modality, split, perhaps mask; rows of the split ``test``),
            a BIDS dataset, or any other folder of images.
        masks: folder with a mask of each scan, named as the scan (``NAME``, ``NAME_mask``, ``NAME_brain_mask``,
            ``NAME_bet``, or for BIDS ``sub-01_desc-brain_mask``); None: one that an entry names, or that lies beside
            the scan under one of the longer names.

    Returns:
        People, ordered by contrast, then as listed.

    Raises:
        DataError: the list is missing, broken or empty, has no section ``test``, or a scan has no mask in `masks`.
    """
    path = Path(source)
    check_fetched(path)
    if not path.exists():
        raise DataError(f"no such datalist or folder: {path}", remedy="give a datalist (`mdcsrn data folder`)")
    if not path.is_dir():
        entries = load_datalist(path, "test")
    elif (path / INDEX).is_file():
        entries = _indexed(path)
    elif (path / DESCRIPTION).is_file():
        entries = [{"image": image.path, "modality": image.suffix, "subject": _subject(image.path)}
                   for image in find_bids(path)]  # fmt: skip
    else:
        entries = [{"image": file, "subject": _subject(file)} for file in find_images(path) if not _is_mask(file)]
    if not entries:
        raise DataError(f"nobody is listed in {path}", allowed="at least one scan of the split test")
    people = [_person(entry) for entry in entries]
    if masks is not None:
        people = [replace(person, mask=_mask_in(Path(masks), person.image)) for person in people]
    contrasts = sorted({person.contrast for person in people})
    return [person for contrast in contrasts for person in _named([p for p in people if p.contrast == contrast])]


def contrast_of(modality: object, image: Path) -> str:
    """The contrast that an entry states, else that of the file's name.

    >>> contrast_of(None, Path("sub-01_run-2_T2w.nii.gz")), contrast_of("T1w", Path("scan.nii"))
    ('T2w', 'T1w')
    """
    if isinstance(modality, str) and modality:
        return modality
    suffix = parse_name(image).suffix
    return suffix if suffix in SUFFIXES else UNKNOWN


def _person(entry: Mapping[str, object]) -> Person:
    image, mask = Path(str(entry["image"])), entry.get("mask")
    beside = [image.with_name(name) for name in _mask_names(image) if name != image.name]
    found = Path(str(mask)) if mask else next((path for path in beside if path.is_file()), None)
    return Person(str(entry["subject"]), contrast_of(entry.get("modality"), image), image, found)


def _named(people: Sequence[Person]) -> list[Person]:
    """A person who is scanned twice is told apart by the names of the files."""
    often = Counter(person.name for person in people)
    named = [replace(p, name=image_stem(p.image)) if often[p.name] > 1 else p for p in people]
    twice = [name for name, count in Counter(person.name for person in named).items() if count > 1]
    if twice:
        raise DataError("two scans of a study have one name", got=", ".join(twice), remedy="rename one of the files")
    return named


def _indexed(folder: Path) -> list[dict[str, object]]:
    rows = list(csv.DictReader(read_text(folder / INDEX).splitlines(), delimiter="\t"))
    missing = {"file", "subject", "modality", "split"} - set(rows[0] if rows else ())
    if missing:
        raise DataError(
            f"{folder / INDEX} cannot be used: columns are missing, or rows", got=", ".join(sorted(missing)),
            allowed="file, subject, modality, split", remedy="add them, or give a datalist",
        )  # fmt: skip
    chosen = [row for row in rows if row["split"] == "test" and is_image_name(row["file"])]
    entries: list[dict[str, object]] = []
    for row in chosen:
        image = folder / row["file"]
        if not image.is_file():
            raise DataError(f"{folder / INDEX} names a file that is not there", got=image, remedy="fetch it")
        mask = {"mask": folder / row["mask"]} if row.get("mask") else {}
        entries.append({"image": image, "subject": row["subject"], "modality": row["modality"], **mask})
    return entries


def _subject(image: Path) -> str:
    return image_stem(image).rpartition("_")[0] or image_stem(image)


def _mask_names(image: Path) -> list[str]:
    stem = image_stem(image)
    stems = [stem + ending for ending in MASK_ENDINGS] + [
        stem.rpartition("_")[0] + ending for ending in MASK_ENDINGS[4:]
    ]
    endings = dict.fromkeys((image.name.removeprefix(stem), ".nii.gz", ".nii"))
    return [name + ending for name in stems for ending in endings]


def _is_mask(image: Path) -> bool:
    return image_stem(image).endswith(MASK_ENDINGS[1:])


def _mask_in(folder: Path, image: Path) -> Path:
    names = _mask_names(image)
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None or found.resolve() == image.resolve():
        raise DataError(f"no mask of {image.name} in {folder}", allowed=", ".join(names[:3]))
    return found
