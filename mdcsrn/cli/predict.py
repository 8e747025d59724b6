"""``mdcsrn predict``: restore a scan, a folder of scans or a DICOM series, and record how it was done."""

from __future__ import annotations

from pathlib import Path

import click

from mdcsrn.cli._options import PredictionCommand, prediction_options
from mdcsrn.cli._types import OutputPath
from mdcsrn.jobs.options import Options


@click.command("predict", cls=PredictionCommand)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    type=OutputPath(),
    metavar="F",
    help="File (.nii, .nii.gz, .mgz, .nrrd, .mha) or folder; default: NAME_sr.nii.gz beside IN.",
)
@prediction_options
def command(source: Path, output: Path | None, options: Options) -> None:
    """Sharpen brain MRI: restore outer k-space, keep what was measured.

    IN is an image file, a folder of them, or a DICOM series (folder or zip).
    """
    from mdcsrn.cli._run import run_jobs
    from mdcsrn.io.sources import find_sources
    from mdcsrn.jobs.output_paths import jobs_of

    found = find_sources(source)
    jobs, several = jobs_of(source, found.cases, output, options)
    if found.skipped and not options.quiet:
        click.echo(f"note: left out, results of earlier runs: {len(found.skipped)}", err=True)
    run_jobs(jobs, options, several)
