"""What a run of the app is told: arguments before environment before ``app.yaml`` before defaults.

The options of the restoration are those of ``mdcsrn predict``, taken from that command, so that names, types and words
are the same; input, output and model are those of the SDK's apps.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mdcsrn.cli.predict import command as predict_command
from mdcsrn.errors import ConfigError
from mdcsrn.files import read_mapping
from mdcsrn.hashes import weight_files
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.jobs.options import Options
from mdcsrn.resources import METADATA

HOME = Path(__file__).resolve().parent.parent
PREFIX = "MDCSRN"  # of the environment variables: MDCSRN_FACTOR="1 2 2"
SECTION = "mdcsrn"  # of app.yaml
TASKS = ("same_grid", "factor", "to_spacing")
# Those of `mdcsrn predict` that mean something here.
TAKEN_OVER = (
    *TASKS, "exact_field", "slice_profile", "no_consistency", "region", "device", "backend", "precision", "max_memory",
    "strict",
)  # fmt: skip
LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")  # of the SDK's apps
_path = click.Path(path_type=Path, readable=False)


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes:
        source: folder with a DICOM study.
        output: folder of the results.
        model: folder or file of weights, a name in a bundle, or None for the wheel's own.
        rules: file of the selection rules.
        options: those of ``mdcsrn predict``.
    """

    source: Path
    output: Path
    model: str | None
    rules: Path
    options: Options


def own_options() -> list[click.Parameter]:
    """Options that are not of ``mdcsrn predict``."""
    return [
        click.Option(
            ["-i", "--input", "source"], type=_path, default="input", envvar="HOLOSCAN_INPUT_PATH", metavar="DIR",
            help="Folder with a DICOM study ($HOLOSCAN_INPUT_PATH; default: input).",
        ),
        click.Option(
            ["-o", "--output"], type=_path, default="output", envvar="HOLOSCAN_OUTPUT_PATH", metavar="DIR",
            help="Folder of the results ($HOLOSCAN_OUTPUT_PATH; default: output).",
        ),
        click.Option(
            ["-m", "--model"], envvar="HOLOSCAN_MODEL_PATH", metavar="M",
            help="Weights ($HOLOSCAN_MODEL_PATH): a bundle's folder, a folder that holds one, a file, or the name of a "
            "model in the default bundle (default: that bundle's own).",
        ),
        click.Option(
            ["--rules"], type=_path, default=str(HOME / "rules.json"), metavar="F",
            help="Which series is restored: a JSON file (default: rules.json of the app).",
        ),
        click.Option(
            ["-l", "--log-level"], type=click.Choice(LEVELS, case_sensitive=False), metavar="L", expose_value=True,
            help="DEBUG, INFO (default), WARN, ERROR or CRITICAL.",
        ),
    ]  # fmt: skip


def shared_options() -> list[click.Parameter]:
    """Options of ``mdcsrn predict``, the very same objects."""
    by_name = {parameter.name: parameter for parameter in predict_command.params}
    return [by_name[name] for name in TAKEN_OVER]


def settings_of(ctx: click.Context) -> Settings:
    """Settings from a parsed command line."""
    values = dict(ctx.params)
    _drop_weaker_tasks(ctx, values)
    names = {field.name for field in dataclasses.fields(Options)} & set(TAKEN_OVER)
    options = Options(**{name: values[name] for name in names}, quiet=True)
    options.task()  # settings that contradict each other are told before anything is read
    return Settings(values["source"], values["output"], _model(ctx, values["model"]), values["rules"], options)


def config_defaults(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Values of the section ``mdcsrn`` of ``app.yaml``, keyed as click wants them.

    Args:
        environment: ``HOLOSCAN_CONFIG_PATH`` names the file; without it, the one beside the app counts.

    Raises:
        ConfigError: the file cannot be read, or the section has an unknown key.
    """
    path = Path(environment.get("HOLOSCAN_CONFIG_PATH") or HOME / "app.yaml")
    section = read_mapping(path).get(SECTION) or {}
    known = {name.replace("_", "-"): name for name in (*TAKEN_OVER, "rules", "model")}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: the section {SECTION} is no mapping", got=type(section).__name__)
    unknown = [str(key) for key in section if key not in known]
    if unknown:
        raise ConfigError(
            f"{path}: unknown key in the section {SECTION}", got=", ".join(unknown), allowed=", ".join(known)
        )
    return {known[key]: value for key, value in section.items() if value is not None}


def find_weights(model: str | None) -> Model:
    """The weights of a run.

    Args:
        model: see :class:`Settings`.

    Raises:
        ConfigError: a folder that is neither a bundle, nor holds just one bundle or file of weights.
        CheckpointError: no such file or name.
    """
    if model is None:
        return find_model()
    place = Path(model)
    if not place.is_dir():
        return find_model(model=model)
    below = [entry for entry in sorted(place.iterdir()) if entry.is_dir()]
    bundles = [home for home in (place, *below) if (home / METADATA).is_file()]
    if bundles:
        files: list[Path] = []
    else:
        listed = [file for home in (place, *below) for file in weight_files(home)]
        files = list({file.with_suffix(""): file for file in reversed(listed)}.values())  # two forms, one model
    if len(bundles) + len(files) != 1:
        found = ", ".join(entry.name for entry in (*bundles, *files)) or "neither"
        raise ConfigError(
            f"the model folder {place} does not say which weights are meant",
            got=found,
            allowed="a bundle's folder, or a folder with one bundle or one file of weights",
            remedy="give the bundle's folder, or the file",
        )
    return find_model(bundle=bundles[0]) if bundles else find_model(model=files[0])


def _model(ctx: click.Context, value: str | None) -> str | None:
    """The model asked for; a packaged app always names a folder, which is not there where no model was packaged."""
    if value is None or ctx.get_parameter_source("model") != ParameterSource.ENVIRONMENT:
        return value
    place = Path(value)
    nothing = not any(place.iterdir()) if place.is_dir() else place.is_absolute() and not place.exists()
    return (ctx.default_map or {}).get("model") if nothing else value


def _drop_weaker_tasks(ctx: click.Context, values: dict[str, Any]) -> None:
    """Of tasks that come from several places the strongest place counts; two from one place stay, and are refused."""
    strength: Sequence[ParameterSource] = (
        ParameterSource.DEFAULT,
        ParameterSource.DEFAULT_MAP,
        ParameterSource.ENVIRONMENT,
        ParameterSource.COMMANDLINE,
    )
    sources = {name: ctx.get_parameter_source(name) for name in TASKS}
    given = {name: strength.index(s) for name, s in sources.items() if s in strength and values[name]}
    for name, rank in given.items():
        if rank < max(given.values()):
            values[name] = False if name == "same_grid" else None
