"""Identify the person of each scan by its path, so that nobody is counted as two people; refuse what is unclear."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mdcsrn.data.conventions import by_convention
from mdcsrn.data.made import same_behind_prefixes
from mdcsrn.data.split import Row, SubjectsTable, subject_of
from mdcsrn.data.words import Word, words_of
from mdcsrn.errors import DataError
from mdcsrn.io.formats import image_stem

Words = dict[Path, tuple[list[Word], list[Word]]]  # of the folders and of the file's name of each path
MIN_PEOPLE = 5  # people: with fewer, nothing tells a protocol's words from names
SHARED = 0.8  # of all people: a word in this share of their names is a protocol's
REMEDY = "say it with --subject-pattern 'REGEX' (its first group names the person{hint}) or --subjects-table TABLE"


@dataclass(frozen=True)
class Named:
    """Who is on which scan.

    Attributes:
        names: subject of each file; none for those that a table with a split leaves out.
        how: how they were named, in words.
        rows: what a table says of a file.
    """

    names: Mapping[Path, str]
    how: str
    rows: Mapping[Path, Row] = field(default_factory=dict)

    def examples(self, most: int = 3) -> list[tuple[Path, str]]:
        """A file of each of the first few subjects."""
        first: dict[str, Path] = {}
        for path, name in sorted(self.names.items()):
            first.setdefault(name, path)
        return [(path, name) for name, path in list(first.items())[:most]]


def name_subjects(
    images: Sequence[Path], folder: Path, regex: str | None = None, table: SubjectsTable | None = None
) -> Named:
    """Say who is on each scan: by a table, by an expression, else inferred from the paths.

    Args:
        images: files below `folder`.
        folder: what was searched.
        regex: see :func:`mdcsrn.data.split.subject_of`.
        table: it goes before the expression.

    Raises:
        ConfigError: the expression is invalid.
        DataError: nothing says who it is.
    """
    inside = {image: image.relative_to(folder) for image in images}
    rows = (
        {} if table is None else {image: row for image in images if (row := _row(table, image, inside[image], regex))}
    )
    names = {image: name for image, row in rows.items() if (name := row.subject or row.person)}
    rest = [image for image in images if image not in names]
    if table is not None and table.has_split:
        # The table says which file is where, whoever it is; files without a row are in no section.
        names |= {image: inside[image].as_posix() for image in rest if image in rows}
        rest = []
    how = [] if table is None or not names else [table.path.name]
    if regex is not None:
        names |= {image: subject_of(inside[image], regex) for image in rest}
        how += [f"the expression {regex}"] if rest else []
    elif rest:
        inferred = infer_subjects([inside[image] for image in rest])
        names |= {image: inferred.names[inside[image]] for image in rest}
        how.append(inferred.how)
    return Named(names, ", ".join(how), rows)


def _row(table: SubjectsTable, image: Path, inside: Path, regex: str | None) -> Row | None:
    """The table's row of a file, by its path or by the subject in it."""
    # A table's paths may begin above the searched folder, so the absolute path is matched from its end.
    row = table.find(Path(os.path.abspath(image)))
    return row or table.find(inside, table.named_in(inside) if regex is None else subject_of(inside, regex))


def infer_subjects(paths: Sequence[Path]) -> Named:
    """Name the person of each scan such that no person gets two names.

    Known conventions come first. Otherwise the words are looked at that are left when contrasts, sites, sessions, dates
    and repeats are taken away: the first of them (of the outermost folder that has any) names the person. That is
    refused where another word could name the person and would put two of these together.

    Args:
        paths: of all scans, relative to the searched folder.

    Returns:
        A name for each path.

    Raises:
        DataError: the paths do not say who is who.
    """
    keys: dict[Path, str] = {}
    ways: dict[Path, str] = {}
    spelling: dict[str, str] = {}
    rules: dict[str, None] = {}
    rest: list[Path] = []
    for path in sorted(paths):
        found = by_convention(path)
        if len(found) > 1:
            raise _ambiguous(f"{path} names {' and '.join(one.name for one in found)}")
        if not found:
            rest.append(path)
            continue
        keys[path] = found[0].key
        ways[path] = found[0].rule
        spelling.setdefault(found[0].key, found[0].name)
        rules[found[0].rule] = None
    if rest:
        _check_apart(list(keys), rest)
        for path, word in _by_words(rest).items():
            keys[path] = word.key
            spelling.setdefault(word.key, word.text)
        folders = any(words_of(part) for path in rest for part in path.parts[:-1])
        rules["the outermost folder that differs" if folders else "the beginning of the file name"] = None
    _refuse_two_ways(keys, ways)
    _refuse_prefixes(keys)
    return Named({path: spelling[keys[path]] for path in paths}, ", ".join(rules))


def _check_apart(named: Sequence[Path], rest: Sequence[Path]) -> None:
    """Refuse scans that follow a convention beside others in the same folder of some person's that do not."""
    places = {path.parent: path for path in named if any(map(words_of, path.parts[:-1]))}
    for path in rest:
        if path.parent in places:
            raise _ambiguous(f"{places[path.parent]} says who it is in another way than {path}", path)


def _refuse_two_ways(keys: Mapping[Path, str], ways: Mapping[Path, str]) -> None:
    """Refuse one name in two ways: `sub-01_T1w`, `subject1_T2` and `01_FLAIR` may be one person."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, key in keys.items():
        bare = re.sub(r"(?<!\d)0+(?=\d)", "", key.removeprefix("sub"))
        found[bare].setdefault(ways.get(path, ""), path)
    for places in found.values():
        if len({keys[path] for path in places.values()}) > 1:
            one, other = list(places.values())[:2]
            raise _ambiguous(f"{one} and {other}: one person, or two?", one)


def _refuse_prefixes(keys: Mapping[Path, str]) -> None:
    """Refuse names that are others behind a prefix: `msub1` and `c1sub1` were made of a scan of `sub1`."""
    places = {key: path for path, key in keys.items()}
    pair = same_behind_prefixes(places)
    if pair is not None:
        raise _ambiguous(f"{places[pair[0]]} and {places[pair[1]]}: one person, or two?", places[pair[0]])


def _by_words(paths: Sequence[Path]) -> dict[Path, Word]:
    """The first word that may name a person, where no other word contradicts it."""
    raw = _raw_words(paths)
    words = _telling(raw)
    silent = next((path for path, (folders, stem) in words.items() if not folders + stem), None)
    if silent is not None:
        raise _ambiguous(f"nothing in the name of {silent} says who it is")
    first = {path: (folders + stem)[0] for path, (folders, stem) in words.items()}
    _refuse_ends(first)
    _refuse_lone(first, raw, words)
    _refuse_contradiction(first, {path: _doubtful(*found) for path, found in words.items()})
    _refuse_plain_words(first, {path: raw[path][1] for path, (folders, _) in words.items() if not folders})
    _refuse_two(first, words)
    return first


def _raw_words(paths: Sequence[Path]) -> Words:
    """The words of each path's folders, and of its file, that may name the person."""
    channels = _have_channels(paths)
    found: Words = {}
    for path in paths:
        stem = re.sub(r"_\d{4}$", "", image_stem(path)) if channels else image_stem(path)
        found[path] = [word for part in path.parts[:-1] for word in words_of(part)], words_of(stem)
    return found


def _telling(found: Words) -> Words:
    """The same without the words that stand in all paths, which tell nobody from another."""
    keys = [{word.key for word in folders + stem} for folders, stem in found.values()]
    everywhere = set.intersection(*keys)
    if all(mine == everywhere for mine in keys):
        return found  # one person's scans, or one scan
    return {
        path: ([w for w in folders if w.key not in everywhere], [w for w in stem if w.key not in everywhere])
        for path, (folders, stem) in found.items()
    }


def _doubtful(folders: list[Word], stem: list[Word]) -> list[Word]:
    """The words that could name the person in the place of the first one.

    In a numbered folder's files, those in the form of a name: the others are a protocol's. Behind a file's own numbered
    first word, those with digits that do not count visits. Where the first word has no digit, or may itself be a count,
    all that may be a name.
    """
    first = (folders + stem)[0]
    if not first.is_numbered or (first.may_count and not folders):
        return folders + stem
    if folders:
        plain = first.may_count
        return folders + [
            word
            for word in stem
            if (word.is_like_a_name or (plain and word.leads)) and (word.leads or not word.may_count)
        ]
    return [first, *(word for word in stem[1:] if word.is_numbered and not word.may_count)]


def _refuse_contradiction(first: Mapping[Path, Word], doubtful: Mapping[Path, Sequence[Word]]) -> None:
    """Refuse where another word stands behind two first ones: it may be the person, who would be taken for two."""
    behind: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, words in doubtful.items():
        for word in words:
            behind[word.key].setdefault(first[path].key, path)
    for places in behind.values():
        if len(places) > 1:
            one, other = list(places.values())[:2]
            raise _ambiguous(f"{one} and {other}: one person, or two?", one)


def _refuse_ends(first: Mapping[Path, Word]) -> None:
    """Refuse first words that differ in what follows a number alone: `P01a` and `P01b` may be one person."""
    spellings: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, word in first.items():
        spellings[re.sub(r"(?<=\d)(?:[a-z]|[mdwy]\d{1,2})$", "", word.key)].setdefault(word.key, path)
    for places in spellings.values():
        if len(places) > 1:
            one, other = list(places.values())[:2]
            raise _ambiguous(f"{one} and {other}: one person, or two?", one)


def _refuse_lone(first: Mapping[Path, Word], raw: Words, words: Words) -> None:
    """Refuse a name that stands in all paths: it may be the one person, scanned at several places or times.

    A folder above three people or more may well be a study's.
    """
    if len({word.key for word in first.values()}) < 2:
        return
    for path, word in first.items():
        folders, stem = raw[path]
        telling = {w.key for found in words[path] for w in found}
        lone = [w for w in folders + stem if w.key not in telling and w.is_like_a_name]
        above = folders[: folders.index(word)] if word in folders else folders
        many = len({w.key for w in first.values()}) > 2 and word.is_like_a_name
        if lone and not (many and all(w in above for w in lone)):
            raise _ambiguous(f"{lone[0].text} is in all names, such as {path}: is it the one person?", path)


def _refuse_plain_words(first: Mapping[Path, Word], flat: Mapping[Path, Sequence[Word]]) -> None:
    """Refuse a plain word behind several first words: `A1_anna` and `B2_anna` may be one person.

    Words of a protocol are shared by (nearly) all of many people, and there are fewer of them than people.
    """
    behind: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, stem in flat.items():
        for word in stem[stem.index(first[path]) + 1 :]:
            if len(word.key) > 1 and not word.is_numbered:
                behind[word.key].setdefault(first[path].key, path)
    people = {word.key for word in first.values()}
    protocol = len(behind) < len(people) >= MIN_PEOPLE
    for places in behind.values():
        if len(places) > 1 and not (protocol and len(places) >= SHARED * len(people)):
            one, other = list(places.values())[:2]
            raise _ambiguous(f"{one} and {other}: one person, or two?", one)


def _refuse_two(first: Mapping[Path, Word], words: Words) -> None:
    """Refuse two first words with many names behind them: they are rather two sites, scanners or datasets."""
    people = {word.key for word in first.values()}
    behind = {tuple(word.key for word in folders + stem) for folders, stem in words.values()}
    if len(people) == 2 < len(behind):
        one, other = sorted(first, key=lambda path: first[path].key)[:: len(first) - 1]
        raise _ambiguous(f"{one} and {other} may stand for two people, or for two places with people of their own", one)


def _have_channels(paths: Sequence[Path]) -> bool:
    """True for names as nnU-Net has them: each case has a file that ends in _0000, and others count on from there."""
    ends = [re.fullmatch(r"(.+)_(\d{4})", image_stem(path)) for path in paths]
    cases = {(path.parent, end[1]) for path, end in zip(paths, ends, strict=True) if end}
    zero = {(path.parent, end[1]) for path, end in zip(paths, ends, strict=True) if end and end[2] == "0000"}
    return all(ends) and cases == zero


def _ambiguous(what: str, example: Path | None = None) -> DataError:
    hint = ", such as '^([^/]+)/' for the outermost folder" if example is not None and len(example.parts) > 1 else ""
    return DataError(f"the names of the scans do not say who is who: {what}", remedy=REMEDY.format(hint=hint))
