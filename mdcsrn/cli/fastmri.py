"""``mdcsrn data fastmri``: volumes and a datalist from fastMRI's k-space files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli import _datalist as shared
from mdcsrn.errors import DataError, MdcsrnError

if TYPE_CHECKING:
    from mdcsrn.io.fastmri import FastMRI


@click.command("fastmri")
@click.argument("folder", metavar="DIR", type=shared.path)
@click.option(
    "-o", "--output", required=True, type=shared.path, metavar="OUT", help="Folder of volumes and datalist.json."
)
@click.option("--from", "source", type=click.Choice(["auto", "kspace", "rss", "esc"]), default="auto",
              show_default=True, help="auto: k-space where it is fully sampled, else a reconstruction.")  # fmt: skip
@click.option("--spec", metavar="FILE", help="Low-pass of each coil, file or preset: writes low volumes too.",
              shell_complete=complete.presets)  # fmt: skip
@click.option("--scale", type=click.Choice(["none", "max"]), default="none", show_default=True,
              help="max: divide by the maximum of the whole volume.")  # fmt: skip
@shared.split
@shared.seed
@click.option("--subject-pattern", "pattern", metavar="R",
              help="Regular expression: names the person of files without patient_id.")  # fmt: skip
def fastmri(
    folder: Path,
    output: Path,
    source: str,
    spec: str | None,
    scale: str,
    split: tuple[float, float, float],
    seed: int,
    pattern: str | None,
) -> None:
    """Convert the fastMRI files (.h5) below DIR to NIfTI volumes, split by patient.

    From k-space: the header's padding zeroed, centred inverse transform, crop to the matrix of the reconstruction
    (which undoes the readout's oversampling), root sum of squares of the coils. With --spec each coil's complex image
    is low-passed before that, and the list has a low volume for each reference. Files that cannot be used are listed
    and left out, and the exit code is then 3.
    """
    from mdcsrn.data import fastmri_list as layout
    from mdcsrn.data.datalist import SplitRule, write_datalist
    from mdcsrn.data.fastmri import Conversion, convert_file
    from mdcsrn.data.split import FRACTIONS
    from mdcsrn.io.fastmri import read_fastmri
    from mdcsrn.kspace import load_spec
    from mdcsrn.resources import config

    degradation = None if spec is None else load_spec(config(spec, "degradation"))
    how = Conversion(source, degradation, scale)
    paths = layout.find_fastmri(folder)
    layout.check_output(output, folder)
    written: dict[Path, tuple[FastMRI, Path | None]] = {}
    failures: list[MdcsrnError] = []
    files: list[FastMRI] = []
    for path in paths:
        try:
            files.append(read_fastmri(path))
        except DataError as error:
            failures.append(error)
    named = layout.name_patients(files, folder, pattern)  # a doubt ends the command before the work
    for file in files:
        inside = file.path.relative_to(folder)
        try:
            made = convert_file(file, how)
            image, low = layout.write_converted(made, output, inside)
            written[image] = file, low
        except DataError as error:
            failures.append(error)
            continue
        size = " ".join("x".join(f"{n:g}" for n in values) for values in (made.reference.shape, made.reference.spacing))
        click.echo("  ".join([f"{inside.as_posix():<44}", f"{size} mm", made.source, *made.notices]))
    if not written:
        raise failures[0] if len(failures) == 1 else DataError(
            f"no file of {folder} can be used", got=f"the first: {failures[0]}"
        )  # fmt: skip
    rule = SplitRule(dict(zip(FRACTIONS, split, strict=True)), seed)
    click.echo(f"{len(set(named.names.values()))} subjects, named by {named.how}")
    content = layout.fastmri_datalist(written, output, named, rule, how)
    write_datalist(content, output / layout.DATALIST)
    shared.report(content, output / layout.DATALIST, [])
    shared.raise_all(failures, len(paths), "files cannot be used")
