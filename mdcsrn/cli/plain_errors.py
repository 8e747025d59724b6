"""Commands whose errors are one line and an exit code, never a traceback."""

from __future__ import annotations

import sys
from typing import Any

import click

from mdcsrn.errors import DataError, root_error
from mdcsrn.notices import printable
from mdcsrn.targets import name_too_long


class PlainErrors(click.Command):
    """A command that shows an error of the project as one line; a defect is still seen in full."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; the signature is click's own."""
        try:
            return super().main(*args, **kwargs)
        except Exception as error:
            ours = root_error(error)
            if ours is None and isinstance(error, OSError) and name_too_long(error):
                ours = DataError(f"the system takes no name this long: {error.filename}", remedy="check the path")
            if ours is None:
                raise
            click.echo(f"error: {printable(str(ours))}", err=True)  # it may hold a file's name, so any character at all
            sys.exit(ours.exit_code)
