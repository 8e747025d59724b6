"""``mdcsrn report``: make one HTML page of a result, of an evaluation against a reference, or of a study."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli._help import by_topic
from mdcsrn.cli._study import run as run_study
from mdcsrn.cli._types import OutputPath
from mdcsrn.errors import ConfigError
from mdcsrn.jobs.byproducts import REPORT_NEEDS
from mdcsrn.jobs.naming import page_file
from mdcsrn.jobs.outputs import is_page
from mdcsrn.optional import need
from mdcsrn.targets import check_target, foreign

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mdcsrn.io import Volume
    from mdcsrn.kspace import DegradationSpec
    from mdcsrn.report.page import Array, Page

_path = click.Path(path_type=Path)


TOPICS = {
    "A result": ("output", "source"),
    "An evaluation": ("reference", "prediction", "low", "mask", "spec", "angles", "bundle", "model"),
    "A study of several people": ("study", "bundles", "baselines", "masks", "help"),
}


@click.command("report", cls=by_topic(TOPICS))
@click.argument("result", metavar="[OUT]", required=False, type=_path)
@click.option("-o", "--output", type=OutputPath(), metavar="F", help="HTML file or folder; default: beside the volume.")
@click.option("--input", "source", type=_path, metavar="IN", help="Source of OUT; default: where its record says.")
@click.option("--reference", type=_path, metavar="R", help="Evaluate against this volume instead.")
@click.option("--prediction", type=_path, metavar="P", help="What is evaluated; default: made from R, with --degrade.")
@click.option("--low", type=_path, metavar="L", help="What P was made from: adds the baselines.")
@click.option("--mask", type=_path, metavar="M", help="Also figures inside this mask, such as the brain.")
@click.option("--degrade", "spec", metavar="SPEC", help="Degradation file or preset, such as hcp_2x2; for a study also "
              "bicubic_x2, bicubic_x4_gaussian, ...", shell_complete=complete.presets)  # fmt: skip
@click.option("--angles", metavar="'0 15 …'", help="With --degrade: turn R by these degrees, restore, compare.")
@click.option("--bundle", metavar="B", help="Weights for --degrade: a bundle.", shell_complete=complete.bundles)
@click.option("--model", metavar="F", help="Weights for --degrade: a file.", shell_complete=complete.models)
@click.option(
    "--study", type=_path, metavar="LIST", help="Datalist (its test section) or folder; takes --degrade, --angles."
)
@click.option("--bundles", metavar="'B …'", help="Bundles or weights files that are compared.")
@click.option("--baselines", metavar="'N …'", help="As in `mdcsrn evaluate`; default: all but Lanczos.")
@click.option("--masks", metavar="M", help="Folder of brain masks, or hd-bet to run it.")
def command(
    result: Path | None, output: Path | None, source: Path | None, reference: Path | None, prediction: Path | None,
    low: Path | None, mask: Path | None, spec: str | None, angles: str | None, bundle: str | None, model: str | None,
    study: Path | None, bundles: str | None, baselines: str | None, masks: str | None,
) -> None:  # fmt: skip
    """One HTML page that opens from disk: viewer, k-space, curves, certificate.

    OUT is a volume of `mdcsrn predict`, with its .json beside it. With --reference it is an evaluation: P and the
    baselines against R, per slice, and with --angles per rotation. With --study it is one of several people.
    """
    if study is not None:
        alone = {"OUT": result, "--input": source, "--reference": reference, "--prediction": prediction, "--low": low,
                 "--mask": mask, "--bundle": bundle, "--model": model}  # fmt: skip
        for name, value in alone.items():
            if value is not None:
                raise click.UsageError(f"{name} does not go with --study, which takes --bundles and --masks")
        need("a report", "report", *REPORT_NEEDS)
        place = _place(output, study, "_study")
        for file in run_study(study, place, output is not None, bundles, baselines, spec, parse_angles(angles), masks):
            click.echo(f"wrote {file}")
        return
    for name, value in (("--bundles", bundles), ("--baselines", baselines), ("--masks", masks)):
        if value is not None:
            raise click.UsageError(f"{name} belongs to a study: give --study")
    if (result is None) == (reference is None):
        raise click.UsageError("give either OUT, or --reference with --prediction or --degrade, or --study")
    if angles is not None and spec is None:
        raise click.UsageError("--angles needs --degrade: what happens to the turned reference")
    need("a report", "report", *REPORT_NEEDS)
    from mdcsrn.report.html import page_of_output, write_page

    volume, ending = (result, "") if result is not None else (prediction or Path(str(reference)).name, "_evaluation")
    target = _place(output, Path(volume), ending)
    check_target(target, [result, source, reference, prediction, low, mask, None if model is None else Path(model)])
    if output is None and target.exists() and not is_page(target):
        raise foreign(target)
    if result is not None:
        for name, value in (("--prediction", prediction), ("--low", low), ("--mask", mask), ("--degrade", spec)):
            if value is not None:
                raise click.UsageError(f"{name} belongs to an evaluation: give --reference")
        page = page_of_output(result, source)
    else:
        assert reference is not None
        if prediction is None and spec is None:
            raise click.UsageError("an evaluation needs --prediction, or --degrade to make one")
        page = evaluate(reference, prediction, low, mask, spec, parse_angles(angles), bundle, model)
    write_page(target, page)
    click.echo(f"wrote {target}")


def parse_angles(text: str | None) -> tuple[float, ...]:
    """Degrees between spaces or commas.

    Raises:
        ConfigError: something else than numbers.
    """
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise ConfigError("angles are numbers", got=text, allowed="degrees between spaces or commas") from error


def evaluate(
    reference: Path,
    prediction: Path | None,
    low: Path | None,
    mask: Path | None,
    spec: str | None,
    angles: tuple[float, ...],
    bundle: str | None,
    model: str | None,
) -> Page:
    """The page of an evaluation from files; arguments as the options of the command.

    Raises:
        MdcsrnError: a file cannot be used, or grids differ.
    """
    from mdcsrn.io import image_stem
    from mdcsrn.io.formats import read_image
    from mdcsrn.kspace import load_spec
    from mdcsrn.report.evaluation import acquired_of, page_of_evaluation, shorten, study_of
    from mdcsrn.resources import config

    truth = read_image(reference)
    degradation = None if spec is None else load_spec(config(spec, "degradation"))
    acquired = None
    if low is not None:
        acquired = acquired_of(read_image(low), truth, degradation)
    elif degradation is not None:
        acquired = shorten(truth, degradation)
    restore = None if degradation is None else _restorer(bundle, model)
    if prediction is not None:
        array = _on_grid(prediction, truth, reference).array
    else:
        assert acquired is not None
        assert restore is not None
        array = restore(acquired, truth.shape)
    inside: NDArray | None = None if mask is None else _on_grid(mask, truth, reference, constant=True).array
    rotations = None
    if angles and degradation is not None:
        hidden = not sys.stderr.isatty()
        with click.progressbar(length=len(angles), label="rotations", file=sys.stderr, hidden=hidden) as bar:
            rotations = study_of(truth, degradation, angles, restore, lambda: bar.update(1))
    name = image_stem(prediction or reference)
    facts = _facts(reference, prediction, degradation)
    return page_of_evaluation(name, truth, array, acquired, degradation, inside, rotations, facts)


def _facts(reference: Path, prediction: Path | None, spec: DegradationSpec | None) -> dict[str, str]:
    from mdcsrn.evaluation.comparison import degradation_label

    facts = {"Reference": reference.name}
    facts["Prediction"] = "made from the degraded reference" if prediction is None else prediction.name
    if spec is not None:
        facts["Degradation"] = degradation_label(spec)
    return facts


def _restorer(bundle: str | None, model: str | None) -> Callable[[Volume, tuple[int, int, int]], Array]:
    """The network as a function from the acquired grid to a finer one; weights are loaded once."""
    from mdcsrn.inference.pipeline import predict
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.inference.planning.settings import RunSettings
    from mdcsrn.inference.planning.task import Task

    weights = find_model(bundle, model)

    def restore(acquired: Volume, shape: tuple[int, int, int]) -> Array:
        d, h, w = (n / m for n, m in zip(shape, acquired.shape, strict=True))
        return predict(acquired, Task("factor", factor=(d, h, w)), RunSettings(maps=False), model=weights).volume.array

    return restore


def _on_grid(path: Path, truth: Volume, reference: Path, constant: bool = False) -> Volume:
    """Read a volume that must have the reference's grid."""
    from mdcsrn.io.formats import read_image
    from mdcsrn.io.same_place import check_same_place

    volume = read_image(path, allow_constant=constant)
    check_same_place(volume, truth, path, reference)
    return volume


def _place(output: Path | None, volume: Path, ending: str) -> Path:
    """The page: the file that ``-o`` names, or NAME.html in the folder that it names, or beside the volume."""
    from mdcsrn.io import image_stem

    stem = volume.stem if volume.suffix == ".json" else image_stem(volume)
    name = f"{stem}{ending}.html"
    return volume.with_name(name) if output is None else page_file(output, name)
