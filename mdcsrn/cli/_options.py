"""The options that ``predict`` and ``bids`` share, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mdcsrn.errors import ConfigError

if TYPE_CHECKING:
    from mdcsrn.inference.task import Task
    from mdcsrn.io.nonfinite import NonFinite

_F = TypeVar("_F", bound=Callable[..., Any])
INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended
_path = click.Path(path_type=Path, readable=False)


@dataclass(frozen=True)
class Options:
    """What a user may say about a prediction; every field is the option of its name.

    Attributes:
        same_grid: fill the empty outer band of k-space, grid unchanged.
        factor: finer by these factors per array axis, >= 1.
        to_spacing: voxel edges to reach per array axis, millimetres.
        exact_field: pad the field of view until the spacing is exact.
        slice_profile: ``auto``, ``none``, ``box`` or ``gaussian``.
        no_consistency: leave the measured part as the network gives it.
        region: ``head`` or ``all``.
        mask: label map to carry to the new grid, or a folder of them.
        dtype: ``float32`` or ``keep`` (the source's integer type, rounded).
        fill_nonfinite: fill NaN and infinite voxels instead of refusing the file.
        uncertainty: also the spread of eight flips, and the invention map.
        dicom_out: folder for a derived DICOM series.
        report: HTML file (a folder, where there are several cases).
        bundle: folder or name of a bundle.
        model: file with weights, or the name of one in the bundle.
        device: ``auto``, ``cpu``, ``cuda`` ...
        backend: ``auto`` or the name of a backend.
        precision: ``auto``, ``float32``, ``bfloat16`` ...
        max_memory: GiB, or None for what is free.
        strict: warnings are errors.
        dry_run: say what would be done.
        resume: skip what is done.
        quiet: print errors alone.
        json: print one JSON document.
    """

    same_grid: bool = False
    factor: tuple[float, float, float] | None = None
    to_spacing: tuple[float, float, float] | None = None
    exact_field: bool = False
    slice_profile: str = "auto"
    no_consistency: bool = False
    region: str = "head"
    mask: Path | None = None
    dtype: str = "float32"
    fill_nonfinite: bool = False
    uncertainty: bool = False
    dicom_out: Path | None = None
    report: Path | None = None
    bundle: str | None = None
    model: str | None = None
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    max_memory: float | None = None
    strict: bool = False
    dry_run: bool = False
    resume: bool = False
    quiet: bool = False
    json: bool = False

    @property
    def nonfinite(self) -> NonFinite:
        """What is done about NaN and infinite voxels, in the words of the readers."""
        return "fill" if self.fill_nonfinite else "refuse"

    def task(self) -> Task:
        """The task that the options name.

        Raises:
            ConfigError: more than one of --same-grid, --factor and --to-spacing, or a value out of range.
        """
        from mdcsrn.inference.task import Task

        chosen = [
            word
            for word, given in (
                ("--same-grid", self.same_grid), ("--factor", self.factor), ("--to-spacing", self.to_spacing),
            )
            if given
        ]  # fmt: skip
        if len(chosen) > 1:
            raise ConfigError("one task at a time", got=" and ".join(chosen), remedy="give one of them")
        kind = chosen[0].removeprefix("--") if chosen else "detect"
        return Task(
            kind=kind,
            factor=self.factor,
            spacing=self.to_spacing,
            exact_field=self.exact_field,
            slice_profile=self.slice_profile,
            consistency=not self.no_consistency,
        )

    def settings(self) -> dict[str, Any]:
        """Plain values of all that has a say in the voxels; results made under equal settings are interchangeable.

        Memory has none (tiles are exact), and paths have none (the weights' hash and the mask's are kept elsewhere).
        """
        names = (
            "same_grid", "factor", "to_spacing", "exact_field", "slice_profile", "no_consistency", "region", "dtype",
            "fill_nonfinite", "uncertainty", "device", "backend", "precision",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


class ModelOption(click.Option):
    """``--model``, whose help names the models that the default bundle has."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Look only when the help is shown."""
        from mdcsrn.inference.models import model_names

        self.help = f"Weights: a file, or one of the bundle's: {', '.join(model_names()) or 'none is there'}."
        return super().get_help_record(ctx)


_OPTIONS = (
    click.option("--same-grid", is_flag=True, help="Fill the empty outer band of k-space; the grid stays."),
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
        help="float32 (default), or keep: the source's integer type.",
    ),
    click.option("--fill-nonfinite", is_flag=True, help="Fill NaN and infinite voxels instead of refusing them."),
    click.option("--uncertainty", is_flag=True, help="Mean over eight flips, with maps of their spread."),
    click.option("--dicom-out", type=_path, metavar="DIR", help="Also a derived DICOM series (from a DICOM source)."),
    click.option("--report", type=_path, metavar="F", help="Also an HTML page; a folder for several cases."),
    click.option("--bundle", metavar="B", help="Bundle: a folder or the name of a shipped one."),
    click.option("--model", cls=ModelOption, metavar="F"),
    click.option("--device", default="auto", metavar="D", help="auto, cpu, cuda, ..."),
    click.option("--backend", default="auto", metavar="B", help="auto, eager, compile, openvino, onnxruntime, cuda."),
    click.option("--precision", default="auto", metavar="P", help="auto, float32, bfloat16, float16, int8."),
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


class PredictionCommand(click.Command):
    """A command whose shared options reach its function as one argument, ``options``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Gather the options, then run; an interruption ends the process with one line."""
        values = {field.name: ctx.params.pop(field.name) for field in dataclasses.fields(Options)}
        ctx.params["options"] = Options(**values)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # while the sources are looked through; later, the run itself says how far it came
            click.echo("interrupted: nothing was written", err=True)
            ctx.exit(INTERRUPTED)
