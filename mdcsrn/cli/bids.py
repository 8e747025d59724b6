"""``mdcsrn bids``: run ``predict`` as a BIDS App, from a dataset to derivatives."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli._options import PredictionCommand, prediction_options
from mdcsrn.errors import ConfigError
from mdcsrn.jobs.job import Job
from mdcsrn.jobs.options import Options

if TYPE_CHECKING:
    from mdcsrn.io.bids import BidsImage
    from mdcsrn.io.nonfinite import NonFinite
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

_path = click.Path(path_type=Path, readable=False)


DICOM_OPTIONS = ("dicom_out", "dicom_slope", "series_description", "series_number")
_BIDS_APP = {"--participant_label": "--participant-label", "--session_label": "--session-label"}


class BidsCommand(PredictionCommand):
    """Also takes the options of the BIDS-App specification, which have several values in a row, after the arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``--participant_label 01 02`` is ``--participant-label 01 --participant-label 02``."""
        words: list[str] = []
        option: str | None = None
        for word, following in zip(args, [*args[1:], "-"], strict=True):
            if word in _BIDS_APP:
                option = _BIDS_APP[word]
                if following.startswith("-"):
                    raise click.BadOptionUsage(word, f"{word} needs a label", ctx)
            elif option is None or word.startswith("-"):
                option = None
                words.append(word)
            else:
                words += [option, word]
        return super().parse_args(ctx, words)


@click.command("bids", cls=BidsCommand)
@click.argument("bids_dir", type=_path)
@click.argument("out_dir", type=_path)
@click.argument("level", metavar="participant", type=click.Choice(["participant"]))
@click.option("--participant-label", "participants", multiple=True, metavar="L", help="With or without sub-; repeat.",
              shell_complete=complete.participants)  # fmt: skip
@click.option("--session-label", "sessions", multiple=True, metavar="L", help="With or without ses-; repeat.",
              shell_complete=complete.sessions)  # fmt: skip
@click.option("--suffix", "suffixes", multiple=True, metavar="S", help="Kind of image, such as T1w; repeat.",
              shell_complete=complete.among(complete.SUFFIXES))  # fmt: skip
@prediction_options
def command(
    bids_dir: Path,
    out_dir: Path,
    level: str,
    participants: tuple[str, ...],
    sessions: tuple[str, ...],
    suffixes: tuple[str, ...],
    options: Options,
) -> None:
    """Sharpen the anatomical images of a BIDS dataset.

    OUT_DIR becomes a derived dataset. --mask is a folder laid out as the dataset, --report a folder.
    --participant_label 01 02 and --session_label work too.
    """
    from mdcsrn.cli._run import run_jobs
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.io.bids import SUFFIXES, find_bids
    from mdcsrn.io.bids_dataset import write_companions, write_dataset_description
    from mdcsrn.jobs.byproducts import check_needs
    from mdcsrn.jobs.naming import page_folder
    from mdcsrn.jobs.outputs import checked

    options.task()  # what is wrong with the settings is told before anything is written
    if options.dicom_out is not None:
        raise ConfigError("a BIDS dataset holds no DICOM series", remedy="leave out --dicom-out")
    check_needs(options)
    if options.report is not None:
        options = dataclasses.replace(options, report=page_folder(options.report))
    find_model(bundle=options.bundle, model=options.model)
    images = find_bids(bids_dir, participants, sessions, suffixes or SUFFIXES)
    jobs = checked([_job(image, out_dir, options) for image in images], options)
    if not options.dry_run:
        write_dataset_description(out_dir, bids_dir)
        maps = ("spread", "mean", "invention") if options.uncertainty else ()
        labels = ("mask",) if options.mask is not None else ()
        write_companions(out_dir, images, ("", *maps, *labels), options.report)
    run_jobs(jobs, options, several=True)


for _option in command.params:  # known, so that they can be refused with a reason, but not offered
    if isinstance(_option, click.Option) and _option.name in DICOM_OPTIONS:
        _option.hidden = True


def _job(image: BidsImage, out_dir: Path, options: Options) -> Job:
    from mdcsrn.files import sha256
    from mdcsrn.io import nifti_stem
    from mdcsrn.io.bids_derivative import derivative_path, page_path
    from mdcsrn.jobs.output_paths import mask_of

    return Job(
        name=image.name,
        source=image.path,
        output=derivative_path(image, out_dir),
        load=partial(_load, image, options.nonfinite),
        fingerprint=partial(sha256, image.path),
        mask=mask_of(image.name, options.mask, several=True),
        report=None if options.report is None else page_path(image, options.report),
        further=partial(derivative_path, image, out_dir),
        inputs=(image.path.with_name(f"{nifti_stem(image.path)}.json"),),
        describe=partial(_describe, image),
    )


def _load(image: BidsImage, nonfinite: NonFinite) -> Scan:
    """Read an image with what the dataset's sidecars say of it."""
    from mdcsrn.io.sources import Case, load_case

    scan = load_case(Case(image.name, "nifti", image.path, error=image.error), nonfinite=nonfinite)
    facts = image.facts
    if facts.slice_axis is None:
        facts = dataclasses.replace(facts, slice_axis=scan.facts.slice_axis)
    added = tuple(text for text in image.warnings if text not in scan.volume.warnings)
    volume = dataclasses.replace(scan.volume, warnings=scan.volume.warnings + added)
    return dataclasses.replace(scan, volume=volume, facts=facts)


def _describe(image: BidsImage, role: str, volume: Volume) -> dict[str, Any]:
    from mdcsrn.io.bids_derivative import describe

    return describe(image, role, volume.spacing)
