"""``mdcsrn report --study``: from the options of the command to a page and a table beside it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mdcsrn.errors import ConfigError
from mdcsrn.targets import check_target, foreign

EXTRACT = "hd-bet"
DEGRADATION = "hcp_2x2"


def run(
    source: Path,
    target: Path,
    named: bool,
    bundles: str | None,
    baselines: str | None,
    degradation: str | None,
    angles: Sequence[float],
    masks: str | None,
) -> list[Path]:
    """Run a study and write its page and table; arguments as the options of the command.

    Args:
        source: datalist or folder.
        target: of the page; the table is beside it, as .tsv.
        named: the user named the target, which may then replace what is there.
        bundles: names or files between spaces; None: the default bundle.
        baselines: names between spaces, quoted where they hold one; None: all.
        degradation: as :func:`mdcsrn.report.study.shortening.shortening` takes it; None: ``hcp_2x2``.
        angles: degrees; none: 0 alone.
        masks: a folder, or ``hd-bet``.

    Returns:
        The files written.

    Raises:
        MdcsrnError: something cannot be used; nothing is written.
    """
    from mdcsrn.files import atomic_write_text
    from mdcsrn.jobs.outputs import is_page
    from mdcsrn.report.html import write_text
    from mdcsrn.report.study.brain import check_extractor
    from mdcsrn.report.study.methods import USUAL, methods_of
    from mdcsrn.report.study.page import render_study
    from mdcsrn.report.study.people import people_of
    from mdcsrn.report.study.run import run_study
    from mdcsrn.report.study.shortening import shortening
    from mdcsrn.report.study.summary import COLUMNS, table

    extract = masks == EXTRACT
    if extract:
        check_extractor()
    people = people_of(source, None if extract else masks)
    short = shortening(degradation or DEGRADATION)
    beside = target.with_suffix(".tsv")
    read = [source, *(person.image for person in people), *(person.mask for person in people)]
    check_target(target, read)
    check_target(beside, read, "table")
    if not named and target.exists() and not is_page(target):
        raise foreign(target)
    if beside.exists() and "\t".join(COLUMNS) not in _first_line(beside):
        raise foreign(beside)
    methods = methods_of(short, _words(bundles) or [_default_bundle()], _words(baselines) or USUAL)
    turns = tuple(angles) or (0.0,)
    hidden = not sys.stderr.isatty()
    length = len(people) * len(set(turns)) * len(methods.all)
    with click.progressbar(length=length, label="study", file=sys.stderr, hidden=hidden) as bar:
        study = run_study(people, short, methods, turns, target.parent if extract else None, lambda: bar.update(1))
    text = render_study(study, f"Study: {source.resolve().stem}", {"List": source.name, "Table": beside.name})
    atomic_write_text(beside, table(study))
    write_text(target, text)
    return [target, beside]


def _words(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        return shlex.split(text.replace(",", " "))
    except ValueError as error:
        raise ConfigError("names cannot be told apart", got=text, allowed="names between spaces") from error


def _default_bundle() -> str:
    from mdcsrn.files import read_mapping
    from mdcsrn.resources import folder

    return str(read_mapping(folder("configs") / "default.yaml")["bundle"])


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline(1000)
