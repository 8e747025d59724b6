"""``mdcsrn degrade``: simulate a shorter scan of a volume, and record how it was made."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.errors import DataError, MdcsrnError, OutputError
from mdcsrn.targets import check_record_place, check_target

if TYPE_CHECKING:
    from mdcsrn.io import Volume
    from mdcsrn.kspace import DegradationSpec


@click.command("degrade")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Image file, .nii.gz or another; a .json goes with it. Of a folder: a folder.",
)
@click.option("--spec", required=True, metavar="FILE", help="Degradation file, or a preset such as hcp_2x2.",
              shell_complete=complete.presets)  # fmt: skip
@click.option("--grid", type=click.Choice(["reference", "acquired"]), help="Output grid; default: the spec's own.")
def command(source: Path, output: Path, spec: str, grid: str | None) -> None:
    """Degrade a volume, a picture, or each image of a folder in k-space.

    The result has the input's intensity unit and the exact affine of its grid. Without noise it is signed: nothing
    is clipped, but for a PNG, whose pixels beyond its type are counted. Sub-folders are kept.
    """
    from mdcsrn.kspace import load_spec
    from mdcsrn.resources import config

    if not source.is_dir():
        check_places(source, output, spec)
    degradation = load_spec(config(spec, "degradation"))
    if grid is not None:
        degradation = dataclasses.replace(degradation, grid=grid)
    if source.is_dir():
        degrade_folder(source, output, spec, degradation)
    else:
        degrade_file(source, output, degradation)


def degrade_folder(source: Path, output: Path, spec: str, degradation: DegradationSpec) -> None:
    """Degrade every image below a folder into another one; the good are done, the bad are listed.

    Raises:
        DataError: no image in the folder, or some cannot be degraded.
        OutputError: the output lies in the source, names a file, or two images would give one result.
    """
    from mdcsrn.data.datalist import find_images

    if output.resolve().is_relative_to(source.resolve()):
        raise OutputError(f"the output {output} lies in {source}", remedy="choose another folder")
    if output.exists() and not output.is_dir():
        raise OutputError(f"the output of a folder is a folder: {output} is a file", remedy="choose another name")
    images = find_images(source)
    failures: list[MdcsrnError] = []
    taken: dict[Path, Path] = {}
    for image in images:
        target = output / _place(image.relative_to(source))
        try:
            if image_stem_path(target) in taken:
                raise OutputError(f"{taken[image_stem_path(target)]} and {image} would give one result")
            taken[image_stem_path(target)] = image
            check_places(image, target, spec)
            degrade_file(image, target, degradation)
        except MdcsrnError as error:
            failures.append(error)
    for failure in failures:
        click.echo(f"not degraded: {failure}", err=True)
    if failures:
        raise DataError(f"{len(failures)} of {len(images)} images could not be degraded; the rest is done")


def image_stem_path(path: Path) -> Path:
    """A path without the suffix of its format: the place of the record beside it."""
    from mdcsrn.io.formats import image_stem

    return path.with_name(image_stem(path))


def _place(image: Path) -> Path:
    """Path of a result: the source's own, with a suffix that is written."""
    from mdcsrn.io.names import is_picture_name, is_writable_name

    if is_writable_name(image):
        return image
    return image_stem_path(image).with_name(
        f"{image_stem_path(image).name}{'.png' if is_picture_name(image) else '.nii.gz'}"
    )


def check_places(source: Path, output: Path, spec: str) -> None:
    """Refuse, before any work, what cannot be written, or would replace an input or somebody's file.

    Raises:
        DataError, OutputError: see above.
    """
    from mdcsrn.io.formats import check_writable, files_of_image, image_kind, image_stem

    record = output.with_name(image_stem(output) + ".json")
    files = files_of_image(source, image_kind(source))
    inputs = [source, *files, source.with_name(f"{image_stem(source)}.json"), Path(spec)]
    if output.exists() and source.exists() and output.samefile(source):
        raise OutputError(f"the output {output} is the input", remedy="choose another name")
    check_target(output, inputs)
    check_target(record, inputs, "record")
    check_record_place(record, output.name)
    check_writable(output)


def degrade_file(source: Path, output: Path, spec: DegradationSpec) -> None:
    """Read, degrade and write one image."""
    from mdcsrn.io.formats import check_writable, read_image

    volume = read_image(source)
    check_writable(output, volume)
    write_degraded(volume, source, output, spec)


def write_degraded(volume: Volume, source: Path, output: Path, spec: DegradationSpec) -> None:
    """Degrade and write volume and sidecar; either both are there in the end, or neither is new."""
    import numpy as np
    import torch

    import mdcsrn
    from mdcsrn.files import atomic_write_text, sha256
    from mdcsrn.io.formats import files_of_image, image_kind, image_stem, stored_type, write_image
    from mdcsrn.io.names import is_picture_name
    from mdcsrn.io.pictures import clipped_pixels
    from mdcsrn.io.sources import files_sha256
    from mdcsrn.jobs.staging import exclusive, staging
    from mdcsrn.kspace import degrade, grid_affine

    image = degrade(torch.from_numpy(volume.array), spec)
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, image.shape).numpy()
    result = volume.replace(image.numpy(), affine)
    warnings = list(volume.warnings)
    dtype = stored_type(result, output, np.float32)
    if is_picture_name(output) and (count := clipped_pixels(result, dtype)):
        warnings.append(f"{count} of {result.array.size} pixels lay beyond {dtype} and were clipped")
        click.echo(f"warning: {output}: {warnings[-1]}", err=True)
    with staging(output.parent) as made:
        temporary = made.path(output.name)
        write_image(result, temporary, dtype)
        record = {
            "software": f"mdcsrn {mdcsrn.__version__}",
            "degradation": spec.to_dict(),
            "degradation_sha256": spec.sha256,
            "source": Path(os.path.relpath(source.resolve(), output.resolve().parent)).as_posix(),
            "source_sha256": files_sha256(files_of_image(source, image_kind(source))),
            "output_sha256": sha256(temporary),
            "shape": list(result.shape),
            "spacing_mm": list(result.spacing),
            "warnings": warnings,
        }
        name = image_stem(output) + ".json"
        atomic_write_text(made.path(name), json.dumps(record, indent=2) + "\n")
        with exclusive(output.parent):
            made.publish([output.name, name])
