"""The app's command: settings, weights, graph, and one line with an exit code where something is wrong."""

from __future__ import annotations

import logging
from typing import Any

import click
from monai.deploy.core.arg_parser import set_up_logging

from mdcsrn.cli.plain_errors import PlainErrors
from mdcsrn.errors import DataError
from mdcsrn.jobs.staging import staging
from mdcsrn_deploy.application import SuperResolutionApp
from mdcsrn_deploy.rules import read_rules
from mdcsrn_deploy.settings import (
    PREFIX,
    Settings,
    config_defaults,
    find_weights,
    own_options,
    settings_of,
    shared_options,
)

logger = logging.getLogger(__name__)


class AppCommand(PlainErrors):
    """A command that reads its defaults from ``app.yaml``."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Make the context, with the defaults of ``app.yaml``; the signature is click's own."""
        return super().make_context(*args, default_map=config_defaults(), **extra)


def run(settings: Settings) -> None:
    """Restore one series of a study.

    Raises:
        MdcsrnError: see :func:`mdcsrn.inference.predict` and :mod:`mdcsrn.io.dicom`; nothing is written.
    """
    if not settings.source.is_dir():
        raise DataError(
            f"no such folder: {settings.source}", allowed="a folder with DICOM files", remedy="check -i, or mount it"
        )
    rules = read_rules(settings.rules)
    model = find_weights(settings.model)
    logger.info("weights: %s %s, sha256 %s", model.bundle or model.path.name, model.version, model.sha256[:12])
    with staging(settings.output) as made:
        SuperResolutionApp(settings, rules, model, made).run()


@click.pass_context
def _callback(ctx: click.Context, **values: Any) -> None:
    level = values.get("log_level")
    set_up_logging(level.upper() if level else None)
    run(settings_of(ctx))


main = AppCommand(
    "mdcsrn-deploy",
    callback=_callback,
    params=[*own_options(), *shared_options()],
    context_settings={
        "auto_envvar_prefix": PREFIX,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    help="Restore the outer k-space of one MR series of a DICOM study, as a derived series.\n\n"
    f"Every option may also be set in the environment ({PREFIX}_FACTOR='1 2 2') or in the section mdcsrn of app.yaml. "
    "Exit codes: 0 done, 2 wrong usage, 3 the study, 4 settings, 5 weights, 7 output, 9 refused because of a warning.",
)
