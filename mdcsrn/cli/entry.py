"""Entry point of the process ``mdcsrn``: install signal handlers before anything large is imported."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from mdcsrn import stopping


def run() -> NoReturn:
    """Run the command line and end the process."""
    stopping.ignored_at_the_end()
    with stopping.handled():
        try:
            from mdcsrn.cli.main import main

            main(prog_name="mdcsrn")
            sys.exit(0)
        except BaseException:
            if stopping.requested() is not None:
                _end()
            raise


def _end() -> NoReturn:
    """End at once: neither libraries whose import was cut short nor threads amid a computation have a say."""
    stopping.report()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(128 + (stopping.requested() or 0))
