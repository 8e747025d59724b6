"""``python -m mdcsrn``: the same as the command ``mdcsrn``."""

from mdcsrn.cli.entry import run

run()
