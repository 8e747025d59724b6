"""Run the command ``mdcsrn`` as ``python -m mdcsrn``."""

from mdcsrn.cli.entry import run

run()
