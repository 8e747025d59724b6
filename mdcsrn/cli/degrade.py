"""``mdcsrn degrade``: simulate a shorter scan of a volume, and record how it was made."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.errors import OutputError
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
    help="Image file, .nii.gz or another; a .json goes with it.",
)
@click.option("--spec", required=True, metavar="FILE", help="Degradation file, or a preset such as hcp_2x2.",
              shell_complete=complete.presets)  # fmt: skip
@click.option("--grid", type=click.Choice(["reference", "acquired"]), help="Output grid; default: the spec's own.")
def command(source: Path, output: Path, spec: str, grid: str | None) -> None:
    """Degrade a volume in k-space.

    The result has the input's intensity unit and the exact affine of its grid. Without noise it is signed: nothing
    is clipped.
    """
    from mdcsrn.io.formats import check_writable, files_of_image, image_kind, image_stem, read_image
    from mdcsrn.kspace import load_spec
    from mdcsrn.resources import config

    record = output.with_name(image_stem(output) + ".json")
    files = files_of_image(source, image_kind(source))
    inputs = [source, *files, source.with_name(f"{image_stem(source)}.json"), Path(spec)]
    if output.exists() and source.exists() and output.samefile(source):
        raise OutputError(f"the output {output} is the input", remedy="choose another name")
    check_target(output, inputs)
    check_target(record, inputs, "record")
    check_record_place(record, output.name)
    check_writable(output)
    degradation = load_spec(config(spec, "degradation"))
    if grid is not None:
        degradation = dataclasses.replace(degradation, grid=grid)
    volume = read_image(source)
    check_writable(output, volume)
    write_degraded(volume, source, output, degradation)


def write_degraded(volume: Volume, source: Path, output: Path, spec: DegradationSpec) -> None:
    """Degrade and write volume and sidecar; either both are there in the end, or neither is new."""
    import torch

    import mdcsrn
    from mdcsrn.files import atomic_write_text, sha256
    from mdcsrn.io.formats import files_of_image, image_kind, image_stem, write_image
    from mdcsrn.io.sources import files_sha256
    from mdcsrn.jobs.staging import exclusive, staging
    from mdcsrn.kspace import degrade, grid_affine

    image = degrade(torch.from_numpy(volume.array), spec)
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, image.shape).numpy()
    result = volume.replace(image.numpy(), affine)
    with staging(output.parent) as made:
        temporary = made.path(output.name)
        write_image(result, temporary)
        record = {
            "software": f"mdcsrn {mdcsrn.__version__}",
            "degradation": spec.to_dict(),
            "degradation_sha256": spec.sha256,
            "source": Path(os.path.relpath(source.resolve(), output.resolve().parent)).as_posix(),
            "source_sha256": files_sha256(files_of_image(source, image_kind(source))),
            "output_sha256": sha256(temporary),
            "shape": list(result.shape),
            "spacing_mm": list(result.spacing),
            "warnings": list(volume.warnings),
        }
        name = image_stem(output) + ".json"
        atomic_write_text(made.path(name), json.dumps(record, indent=2) + "\n")
        with exclusive(output.parent):
            made.publish([output.name, name])
