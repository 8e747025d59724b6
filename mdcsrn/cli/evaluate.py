"""``mdcsrn evaluate``: score finished volumes against their references, from files alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli._help import by_topic
from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.targets import check_target

if TYPE_CHECKING:
    from mdcsrn.evaluation import Row
    from mdcsrn.kspace import DegradationSpec

_path = click.Path(path_type=Path)


TOPICS = {
    "Volumes": ("prediction", "reference", "mask"),
    "Figures": ("spec", "names", "convention", "legacy", "json_path", "help"),
}


@click.command("evaluate", cls=by_topic(TOPICS))
@click.option("--prediction", required=True, type=_path, help="Image file, or a folder of them.")
@click.option("--reference", required=True, type=_path, help="File, or a folder with the same file names.")
@click.option("--mask", type=_path, help="Count these voxels instead of the head: a file, or a folder.")
@click.option("--spec", metavar="FILE", help="Degradation file or preset, such as hcp_2x2: adds the band error.",
              shell_complete=complete.presets)  # fmt: skip
@click.option("--baseline", "names", multiple=True, metavar="NAME",
              help="With --spec: nearest, trilinear, bicubic, 'cubic B-spline', zero-filled, or spandrel:FILE, "
              "the weights of a picture model such as ESRGAN. Repeatable.")  # fmt: skip
@click.option("--convention", type=click.Choice(["fastmri"]), help="Add the figures as fastMRI defines them.")
@click.option("--legacy", is_flag=True, help="Add the figures as earlier papers defined them.")
@click.option("--json", "json_path", type=_path, metavar="F", help="Write setting, summary and rows to this file.")
def command(
    prediction: Path,
    reference: Path,
    mask: Path | None,
    spec: str | None,
    names: tuple[str, ...],
    convention: str | None,
    legacy: bool,
    json_path: Path | None,
) -> None:
    """PSNR, SSIM, NRMSE (and band error) of predictions against references.

    Folders are matched by file name. Where some pairs cannot be read or do not fit, the others are done, the bad ones
    are listed and the exit code is not 0.
    """
    from mdcsrn.evaluation import check_baselines, degradation_label, render, write_json
    from mdcsrn.kspace import load_spec
    from mdcsrn.resources import config

    degradation = load_spec(config(spec, "degradation")) if spec is not None else None
    if names and degradation is None:
        raise click.UsageError("--baseline needs --spec: how the short scan is made from the reference")
    check_baselines(names)
    rows: list[Row] = []
    failures: list[MdcsrnError] = []
    pairs, unmatched = match(prediction, reference)
    if json_path is not None:
        read = [prediction, reference, mask, *(file for _, *files in pairs for file in files)]
        read += sorted(mask.iterdir()) if mask is not None and mask.is_dir() else []
        check_target(json_path, [*read, None if spec is None else Path(spec)], "table")
    failures += unmatched
    hidden = len(pairs) < 2 or not sys.stderr.isatty()
    with click.progressbar(pairs, label="evaluating", file=sys.stderr, hidden=hidden) as progress:
        for name, predicted, truth in progress:
            try:
                region = _mask_of(mask, name)
                rows += score(name, predicted, truth, region, degradation, legacy, convention == "fastmri", names)
            except MdcsrnError as error:
                failures.append(error)
    if rows:
        click.echo(render(rows))
        if json_path is not None:
            labels = {} if degradation is None else {degradation_label(degradation): degradation.to_dict()}
            write_json(json_path, rows, labels)
    if len(failures) == 1 and not rows:
        raise failures[0]
    if failures:
        for failure in failures:
            click.echo(f"not evaluated: {failure}", err=True)
        raise DataError(f"{len(failures)} of {len(pairs) + len(unmatched)} volumes could not be evaluated")


def match(prediction: Path, reference: Path) -> tuple[list[tuple[str, Path, Path]], list[MdcsrnError]]:
    """Pair files: two files as they are, two folders by file name (without its suffix).

    A folder without images of its own is searched in its sub-folders, whose names then belong to those of the files.

    Returns:
        (name, prediction, reference) of each pair, sorted; and an error for each file that has no partner.

    Raises:
        DataError: a path is missing, a file meets a folder, or a folder holds no image file.
    """
    from mdcsrn.io import image_stem

    for path in (prediction, reference):
        check_fetched(path)
        if not path.exists():
            raise DataError(f"no such file or folder: {path}", remedy="check the path")
    if prediction.is_dir() != reference.is_dir():
        raise DataError(f"one of {prediction} and {reference} is a folder, the other a file", allowed="two of a kind")
    if not prediction.is_dir():
        return [(image_stem(prediction), prediction, reference)], []
    predictions, references = _volumes_in(prediction), _volumes_in(reference)
    alone = [
        DataError(f"{files[name]} has no partner of that name in {other}")
        for files, partners, other in ((predictions, references, reference), (references, predictions, prediction))
        for name in sorted(set(files) - set(partners))
    ]
    both = sorted(set(predictions) & set(references))
    return [(name, predictions[name], references[name]) for name in both], list(alone)


def score(
    name: str,
    predicted: Path,
    truth: Path,
    mask: Path | None,
    degradation: DegradationSpec | None,
    legacy: bool,
    fastmri: bool,
    names: Sequence[str] = (),
) -> list[Row]:
    """Rows of one pair of files, and of the named baselines; raises GeometryError where their grids differ."""
    import torch

    from mdcsrn.evaluation import baselines, compare
    from mdcsrn.io.formats import read_image
    from mdcsrn.io.same_place import check_same_place
    from mdcsrn.kspace import degrade

    prediction, reference = read_image(predicted), read_image(truth)
    check_same_place(prediction, reference, predicted, truth)
    region = None
    if mask is not None:
        chosen = read_image(mask, allow_constant=True)
        check_same_place(chosen, reference, mask, truth)
        region = torch.from_numpy(chosen.array) != 0
    candidates = {"prediction": torch.from_numpy(prediction.array)}
    if names and degradation is not None:
        short = degrade(torch.from_numpy(reference.array), replace(degradation, grid="acquired"))
        candidates.update(baselines(short, reference.shape, names))
    return compare(torch.from_numpy(reference.array), candidates, degradation, name, region, legacy, fastmri)


def _volumes_in(folder: Path) -> dict[str, Path]:
    """Images of a folder, or where it has none of its own of its sub-folders, by path without suffix."""
    from mdcsrn.data.datalist import find_images
    from mdcsrn.io.formats import image_stem, is_image_name, without_partners
    from mdcsrn.io.names import without_pictures_beside_volumes

    own = sorted(path for path in folder.iterdir() if not path.is_dir() and is_image_name(path))
    files = without_partners(without_pictures_beside_volumes(own)) if own else find_images(folder)
    named: dict[str, Path] = {}
    for path in files:
        name = (path.parent.relative_to(folder) / image_stem(path)).as_posix()
        if name in named:
            raise DataError(f"{named[name]} and {path.name} have one name", remedy="keep one of them")
        named[name] = path
    return named


def _mask_of(mask: Path | None, name: str) -> Path | None:
    """The mask file, or the one of that name in a folder of masks."""
    if mask is None or not mask.is_dir():
        return mask
    found = _volumes_in(mask).get(name)
    if found is None:
        raise DataError(f"no mask for {name} in {mask}", allowed="the same file name")
    return found
