"""Command classes that show an error or an interruption as one line and an exit code, never a traceback."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from mdcsrn import stopping
from mdcsrn.errors import DataError, root_error
from mdcsrn.notices import printable
from mdcsrn.stopping import Stopped
from mdcsrn.targets import name_too_long


class PlainErrors(click.Command):
    """A command that shows an error of the project as one line; a defect is still seen in full.

    Ctrl-C, a request to end and a closed terminal end it with one line and 130, 143 or 129, whatever it was doing.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; the signature is click's own."""
        with stopping.handled():
            try:
                return super().main(*args, **kwargs)
            except Stopped as stop:
                stopping.report(stop)
                raise
            except BaseException as error:
                if stopping.requested() is not None:  # a library made another error of it, or the work was just done
                    stopping.report()
                    stopping.check()
                ours = root_error(error) if isinstance(error, Exception) else None
                if ours is None and isinstance(error, OSError) and name_too_long(error):
                    ours = DataError(f"the system takes no name this long: {error.filename}", remedy="check the path")
                if ours is None:
                    raise
                click.echo(f"error: {printable(str(ours))}", err=True)  # it may hold a file's name: any character
                sys.exit(ours.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run what was parsed; an interruption without a handler (in a thread) counts like the signal."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would make an exit code 1 of it
            raise Stopped(signal.SIGINT) from error
