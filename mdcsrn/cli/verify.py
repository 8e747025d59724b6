"""``mdcsrn verify``: check that a result is unchanged and still agrees with its source."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mdcsrn.errors import DataError
from mdcsrn.notices import printable

_path = click.Path(path_type=Path, readable=False)
_WORDS = {True: "ok", False: "WRONG", None: "not checked"}


@click.command("verify")
@click.argument("output", metavar="OUT", type=_path)
@click.option("--input", "source", type=_path, metavar="IN", help="The source; default: where the record says.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(output: Path, source: Path | None, as_json: bool) -> None:
    """Check a result of `mdcsrn predict` from its files alone.

    Hashes of the result, its record and its source; the grid, from the source's header; the consistency, computed anew
    from the voxels of both. What cannot be checked is said. Exit code 3 where anything is wrong.
    """
    from mdcsrn.record.verify import verify

    result = verify(output, source)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        for check in result.checks:
            click.echo(printable(f"{_WORDS[check.passed]:<12} {check.name:<12} {check.text}"))
    wrong = [check.name for check in result.checks if check.passed is False]
    if wrong:
        raise DataError(f"{output} does not hold", got=f"wrong: {', '.join(wrong)}", remedy="make it again")
