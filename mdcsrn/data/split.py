"""Split a study by person: subjects are named from files or a table, and the split is the same on every machine."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.files import read_text
from mdcsrn.io import image_stem

Key = TypeVar("Key")

FRACTIONS = {"training": 0.8, "validation": 0.1, "test": 0.1}
BIDS_SUBJECT = re.compile(r"(?:^|[/\\_])sub-([A-Za-z0-9]+)")
SECTION_NAMES = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "evaluation": "evaluation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Row:
    """What a table says of a file or of a subject; None where it says nothing."""

    subject: str | None
    person: str | None
    section: str | None  # a section's name, or the table's own word where it is none of ours


@dataclass(frozen=True)
class SubjectsTable:
    """Rows by file (path components from the end) and by subject.

    Attributes:
        by_file: row of each file, keyed by its path components.
        by_subject: row of each subject.
        has_split: a split column is present: files without a row are then in no section.
        path: the table.
    """

    by_file: Mapping[tuple[str, ...], Row]
    by_subject: Mapping[str, Row]
    has_split: bool
    path: Path

    def find(self, image: Path, subject: str | None = None) -> Row | None:
        """Row of a file: by the longest matching end of its path, else by its subject."""
        parts = image.parts
        for start in range(len(parts)):
            if parts[start:] in self.by_file:
                return self.by_file[parts[start:]]
        return None if subject is None else self.by_subject.get(subject)

    def named_in(self, image: Path) -> str | None:
        """The subject of the table whose name stands in a path as a whole, where it is one alone.

        Raises:
            DataError: two of them do.
        """
        text = image.as_posix()
        found = set(self._pattern.findall(text)) if self._pattern else set()
        if len(found) > 1:
            raise DataError(
                f"{image} names two subjects of {self.path}",
                got=" and ".join(sorted(found)),
                remedy="name the files in the table, in a column file",
            )
        return found.pop() if found else None

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        """Longer names first, so that `P1-2` is not taken for `P1`."""
        names = sorted(self.by_subject, key=lambda name: (-len(name), name))
        return re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(map(re.escape, names))})(?![0-9A-Za-z])") if names else None


def subject_of(image: Path, regex: str | None = None) -> str:
    """Name the subject of a file.

    Args:
        image: path, relative to the folder that is searched.
        regex: expression searched in the path; its first group (or the whole match) is the subject.

    Returns:
        The regex's match, else the label of BIDS ``sub-<label>``, else the file name up to the first ``_``.

    Raises:
        ConfigError: the expression is invalid.
        DataError: the expression does not match.
    """
    if regex is None:
        match = BIDS_SUBJECT.search(image.as_posix())
        return match.group(1) if match else image_stem(image).split("_")[0]
    try:
        found = re.search(regex, image.as_posix())
    except re.error as error:
        raise ConfigError("the expression for subjects is invalid", got=regex, remedy=str(error)) from error
    name = (found.group(1) if found.re.groups else found.group(0)) if found else None
    if not name:
        raise DataError(f"the expression for subjects does not match {image}", got=regex)
    return name


def assign(units: Iterable[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Split persons (or subjects) into sections; neither the order nor the number of files matters.

    Units are ordered by SHA-256 of (seed, unit) and cut by largest remainder. Each section with a fraction above zero
    gets at least one unit where there are enough.

    Args:
        units: names, repeated ones count once.
        fractions: share of each section, >= 0; scaled to sum 1.
        seed: chooses the order.

    Returns:
        Section of each unit.

    Raises:
        ConfigError: negative or all-zero fractions, or none for training.
    """
    total = sum(fractions.values())
    if min(fractions.values()) < 0 or not 0 < total < float("inf") or not fractions.get("training"):
        raise ConfigError("split fractions must be >= 0 with some for training", got=dict(fractions))
    order = sorted(set(units), key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).hexdigest())
    exact = {section: len(order) * share / total for section, share in fractions.items()}
    counts = {section: int(value + 1e-9) for section, value in exact.items()}
    by_remainder = sorted(exact, key=lambda section: counts[section] - exact[section])
    for section in by_remainder[: len(order) - sum(counts.values())]:
        counts[section] += 1
    wanted = [section for section, share in fractions.items() if share > 0]
    for section in wanted:  # training comes first, so it is the one that a cohort of one goes to
        richest = max(counts, key=lambda name: counts[name])
        if counts[section] == 0 and (counts[richest] > 1 or section == "training"):
            counts[richest] -= 1
            counts[section] += 1
    sections = [section for section in fractions for _ in range(counts[section])]
    return dict(zip(order, sections, strict=True))


def read_subjects_table(path: str | os.PathLike[str]) -> SubjectsTable:
    """Read a TSV or CSV with a header line.

    Columns: ``file`` and/or ``subject`` (or BIDS ``participant_id``), optional ``person`` (the same human being under
    several subjects), optional ``split`` (train, val, evaluation, test; other words keep a row out of every section).

    Raises:
        DataError: missing, not text, no usable column, or two rows that contradict each other.
    """
    source = Path(path)
    try:
        lines = read_text(source).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the subjects table {source}", got=str(error)) from error
    reader = csv.DictReader(lines, delimiter="\t" if lines and "\t" in lines[0] else ",")
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    subject_column = columns.get("subject", columns.get("participant_id"))
    if subject_column is None and "file" not in columns:
        raise DataError(
            f"the subjects table {source} names neither files nor subjects",
            got=", ".join(columns) or "an empty file",
            allowed="a column file, subject or participant_id; optional person, split",
        )
    by_file: dict[tuple[str, ...], Row] = {}
    by_subject: dict[str, Row] = {}
    for number, cells in enumerate(reader, start=2):
        subject = _cell(cells, subject_column)
        word = _cell(cells, columns.get("split"))
        section = SECTION_NAMES.get(word.lower(), word) if word else None
        row = Row(subject and subject.removeprefix("sub-"), _cell(cells, columns.get("person")), section)
        file = _cell(cells, columns.get("file"))
        if file:
            _add(by_file, Path(file).parts, row, f"{source}, line {number}: {file}")
        elif row.subject:
            _add(by_subject, row.subject, row, f"{source}, line {number}: subject {row.subject}")
    if not by_file and not by_subject:
        raise DataError(f"the subjects table {source} has no rows")
    return SubjectsTable(by_file, by_subject, "split" in columns, source)


def check_disjoint(sections: Mapping[str, Sequence[Mapping[str, object]]], source: str) -> None:
    """Refuse a subject, a person or a file that stands in two sections.

    Raises:
        DataError: with the names and the sections.
    """
    for key in ("person", "subject", "image"):
        seen: dict[str, str] = {}
        for section, entries in sections.items():
            for entry in entries:
                name = entry.get(key)
                if name is None:
                    continue
                other = seen.setdefault(str(name), section)
                if other != section:
                    raise DataError(
                        f"{source}: the same {key} is in two parts of the split",
                        got=f"{name} in {other} and in {section}",
                        remedy="keep one human being on one side",
                    )


def _cell(cells: Mapping[str, str | None], column: str | None) -> str | None:
    text = cells.get(column) if column is not None else None
    return text.strip() or None if text else None


def _add(rows: dict[Key, Row], key: Key, row: Row, where: str) -> None:
    if rows.setdefault(key, row) != row:
        raise DataError(f"{where} contradicts an earlier row", got=row, remedy="one row each")
