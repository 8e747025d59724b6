"""``python -m mdcsrn.cli``: the same as the command ``mdcsrn``."""

from mdcsrn.cli.main import main

main(prog_name="mdcsrn")
