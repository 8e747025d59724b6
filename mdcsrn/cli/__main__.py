"""Run the command ``mdcsrn`` as ``python -m mdcsrn.cli``."""

from mdcsrn.cli.entry import run

run()
