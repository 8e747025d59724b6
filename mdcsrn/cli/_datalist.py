"""What the commands that write a datalist share: options, and what they say in the end."""

from __future__ import annotations

from pathlib import Path

import click

from mdcsrn.errors import DataError, MdcsrnError

path = click.Path(path_type=Path)
seed = click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Who goes where.")
split = click.option("--split", nargs=3, type=float, default=(0.8, 0.1, 0.1), show_default=True,
                     help="Shares of training, validation, test.")  # fmt: skip


def report(content: dict[str, object], output: Path, notes: list[str]) -> None:
    """Sizes of the sections, and where the list is."""
    from mdcsrn.data.datalist import SECTIONS

    for note in notes:
        click.echo(note, err=True)
    sizes = [f"{len(entries)} {key}" for key in SECTIONS if isinstance(entries := content.get(key), list)]
    click.echo(f"{output}: {', '.join(sizes)}")
    empty = [key for key in ("validation", "test") if not content.get(key)]
    if empty:
        click.echo(f"warning: nobody is in {' and '.join(empty)}", err=True)


def raise_all(failures: list[MdcsrnError], total: int, what: str) -> None:
    """List what went wrong with single files after the rest was done; the exit code tells."""
    for failure in failures:
        click.echo(f"left out: {failure}", err=True)
    if failures:
        raise DataError(f"{len(failures)} of {total} {what}; the rest is listed")
