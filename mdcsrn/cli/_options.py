"""Click options that ``predict`` and ``bids`` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli._help import TopicCommand
from mdcsrn.cli._types import OutputPath
from mdcsrn.jobs.options import Options

_F = TypeVar("_F", bound=Callable[..., Any])
_path = click.Path(path_type=Path, readable=False)


TOPICS = {
    "Task (by default an empty outer band of k-space is looked for and filled)": (
        "same_grid", "factor", "to_spacing", "exact_field", "slice_profile", "no_consistency", "region",
    ),
    "Input and results": (
        "output", "participants", "sessions", "suffixes", "mask", "fill_nonfinite", "dtype", "uncertainty", "report",
        "dicom_out", "dicom_slope", "series_description", "series_number",
    ),
    "Model and machine": ("bundle", "model", "device", "backend", "precision", "max_memory"),
    "Run": ("strict", "dry_run", "resume", "quiet", "json", "help"),
}  # fmt: skip


class ModelOption(click.Option):
    """``--model``, whose help names the models that the default bundle has."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Look only when the help is shown."""
        from mdcsrn.inference.planning.models import model_names

        self.help = f"Weights: a file, or one of the bundle's: {', '.join(model_names()) or 'none is there'}."
        return super().get_help_record(ctx)


_OPTIONS = (
    click.option("--same-grid", is_flag=True, help="Fill the empty outer band; the grid stays."),
    click.option("--factor", nargs=3, type=float, metavar="A B C", help="Finer grid by these factors, each >= 1."),
    click.option("--to-spacing", nargs=3, type=float, metavar="X Y Z", help="Finer grid with these voxel edges, mm."),
    click.option("--exact-field", is_flag=True, help="Pad the field of view until the spacing is exact."),
    click.option(
        "--slice-profile", type=click.Choice(["auto", "none", "box", "gaussian"]), default="auto", metavar="KIND",
        help="Across 2D slices: auto, none, box or gaussian.",
    ),
    click.option("--no-consistency", is_flag=True, help="Do not put back what was measured."),
    click.option(
        "--region", type=click.Choice(["head", "all"]), default="head", metavar="R",
        help="Where the network works: head (default) or all.",
    ),
    click.option("--mask", type=_path, metavar="F", help="Label map(s) to carry to the new grid."),
    click.option(
        "--dtype", type=click.Choice(["float32", "keep"]), default="float32", metavar="T",
        help="float32 (default), or keep: the source's integers.",
    ),
    click.option("--fill-nonfinite", is_flag=True, help="Fill NaN and infinite voxels; default: refuse them."),
    click.option("--uncertainty", is_flag=True, help="Mean over eight flips, with maps of their spread."),
    click.option("--dicom-out", type=_path, metavar="DIR", help="Also a derived DICOM series (from a DICOM source)."),
    click.option(
        "--dicom-slope", type=click.Choice(["exact", "one"]), default="exact", metavar="S",
        help="exact, or one for viewers that ignore slopes.",
    ),
    click.option("--series-description", metavar="T", help="Of that series; default: the source's with _SR."),
    click.option("--series-number", type=int, metavar="N", help="Of that series; default: 100 x the source's + 1."),
    click.option("--report", type=OutputPath(), metavar="F", help="Also an HTML page: a file or a folder, as -o."),
    click.option(
        "--bundle", metavar="B", help="Bundle: a folder or the name of a shipped one.",
        shell_complete=complete.bundles,
    ),
    click.option("--model", cls=ModelOption, metavar="F", shell_complete=complete.models),
    click.option(
        "--device", default="auto", metavar="D", help="auto, cpu, cuda, ...",
        shell_complete=complete.among(complete.DEVICES),
    ),
    click.option(
        "--backend", default="auto", metavar="B", help="auto, eager, compile, openvino, onnxruntime, cuda.",
        shell_complete=complete.among(complete.BACKENDS),
    ),
    click.option(
        "--precision", default="auto", metavar="P", help="auto, float32, bfloat16, float16, int8.",
        shell_complete=complete.among(complete.PRECISIONS),
    ),
    click.option("--max-memory", type=float, metavar="GIB", help="Memory to plan for; default: what is free."),
    click.option("--strict", is_flag=True, help="Treat warnings as errors."),
    click.option("--dry-run", is_flag=True, help="Say what would be done and why, and stop."),
    click.option("--resume", is_flag=True, help="Skip cases whose result is there and whole."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--json", "json", is_flag=True, help="Print one JSON document and nothing else."),
)  # fmt: skip


def prediction_options(function: _F) -> _F:
    """Decorator that declares them all; the command must be a :class:`PredictionCommand`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


class PredictionCommand(TopicCommand):
    """A command whose shared options reach its function as one argument, ``options``."""

    topics = TOPICS

    def invoke(self, ctx: click.Context) -> Any:
        """Gather the options, then run."""
        values = {field.name: ctx.params.pop(field.name) for field in dataclasses.fields(Options)}
        ctx.params["options"] = Options(**values)
        return super().invoke(ctx)
