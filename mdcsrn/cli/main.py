"""Command ``mdcsrn``: find sub-commands by name, show errors as one line, and exit with their code."""

from __future__ import annotations

import importlib

import click

from mdcsrn import __version__
from mdcsrn.cli.plain_errors import PlainErrors
from mdcsrn.stopping import check

COMMANDS = {
    "benchmark": "mdcsrn.cli.benchmark:command",
    "bids": "mdcsrn.cli.bids:command",
    "bundle": "mdcsrn.cli.bundle:group",
    "data": "mdcsrn.cli.data:group",
    "degrade": "mdcsrn.cli.degrade:command",
    "evaluate": "mdcsrn.cli.evaluate:command",
    "info": "mdcsrn.cli.info:command",
    "predict": "mdcsrn.cli.predict:command",
    "report": "mdcsrn.cli.report:command",
    "verify": "mdcsrn.cli.verify:command",
}


class LazyGroup(PlainErrors, click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        check()  # an import may swallow the exception of a signal
        assert isinstance(command, click.Command)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mdcsrn")
def main() -> None:
    """3D super-resolution of brain MRI.

    `mdcsrn predict SCAN` restores what a short scan did not measure. Training and evaluation of a bundle run with
    `python -m monai.bundle`. Exit codes: 0 done, 2 wrong usage, 3 files, 4 settings, 5 checkpoints, 6 training,
    7 output, 8 a missing package, 9 refused because of a warning.
    """
