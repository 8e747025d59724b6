"""``mdcsrn data``: make datalists from a folder, from HCP, from fastMRI, and from the embedded sample."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdcsrn.cli import _datalist as shared
from mdcsrn.cli.fastmri import fastmri
from mdcsrn.errors import ConfigError, DataError, MdcsrnError
from mdcsrn.targets import check_target

if TYPE_CHECKING:
    from mdcsrn.data.split import SubjectsTable

_output = click.option(
    "-o", "--output", required=True, type=shared.path, metavar="DATALIST", help="JSON file to write."
)
_table = click.option(
    "--subjects-table", type=shared.path, metavar="F", help="TSV or CSV that fixes persons or the split."
)


@click.group("data")
def group() -> None:
    """Prepare a datalist with a split by subject."""


group.add_command(fastmri)


@group.command("sample")
@click.option("-o", "--output", required=True, type=shared.path, metavar="DIR", help="Folder to make it in.")
@click.option("--subjects", default=8, show_default=True, type=click.IntRange(1, 999), help="How many.")
@shared.seed
def sample(output: Path, subjects: int, seed: int) -> None:
    """Make the embedded demonstration cohort.

    Synthetic variants of the MNI152 template at 2 mm: a demonstration, not a result.
    """
    from mdcsrn.data.sample import make_sample

    click.echo(make_sample(output, subjects, seed))


@group.command("folder")
@click.argument("folder", metavar="DIR", type=shared.path)
@_output
@shared.split
@shared.seed
@_table
@click.option("--subject-pattern", "--subject-regex", "pattern", metavar="R",
              help="Regular expression: its first group names the person in a path.")  # fmt: skip
@click.option(
    "--crop-kspace", type=shared.path, metavar="OUTDIR", help="Write interpolated scans at their acquired matrix."
)
@click.option("--check-band/--no-check-band", default=True, help="Look for interpolated scans.")
def from_folder(
    folder: Path,
    output: Path,
    split: tuple[float, float, float],
    seed: int,
    subjects_table: Path | None,
    pattern: str | None,
    crop_kspace: Path | None,
    check_band: bool,
) -> None:
    """List the images below DIR, split by subject.

    Who is on a scan is named by --subjects-table or --subject-pattern, else inferred from the paths (BIDS, IXI, ADNI,
    OASIS, BraTS, HCP, nnU-Net, a folder or a name for each person) and shown; names that leave a doubt are refused.
    Masks, label maps, derivatives and results of this software are left out. Scans with an empty outer band of k-space
    are reported: they would teach blur. Files that cannot be used are listed and left out, and the exit code is then 3.
    """
    from mdcsrn.data.crops import list_crops, plan_crops
    from mdcsrn.data.datalist import SplitRule, build_datalist, write_datalist
    from mdcsrn.data.scan_report import inspect_image
    from mdcsrn.data.split import FRACTIONS, read_subjects_table
    from mdcsrn.data.subjects import name_subjects

    if crop_kspace is not None and not check_band:
        raise ConfigError("--crop-kspace needs --check-band", remedy="leave --no-check-band out")
    table = read_subjects_table(subjects_table) if subjects_table is not None else None
    rule = SplitRule(dict(zip(FRACTIONS, split, strict=True)), seed, pattern, table)
    images, labels = _scans(folder, crop_kspace, table)
    named = name_subjects(images, folder, pattern, table)  # a doubt ends the command before minutes of reading
    check_target(output, [*images, subjects_table], "datalist")
    crops = plan_crops(images, folder, crop_kspace) if crop_kspace is not None and images else {}
    good: list[Path] = []
    replaced: dict[Path, Path] = {}
    failures: list[MdcsrnError] = []
    empty = 0
    hidden = len(images) < 20 or not sys.stderr.isatty()
    with click.progressbar(images, label="reading", file=sys.stderr, hidden=hidden) as progress:
        for image in progress:
            try:
                facts = inspect_image(image, check_band, crops.get(image))
            except DataError as error:
                failures.append(error)
                continue
            if facts.label is not None and (table is None or table.find(Path(os.path.abspath(image))) is None):
                labels[image] = facts.label
                continue
            good.append(image)
            empty += facts.empty
            if facts.cropped is not None:
                replaced[image] = facts.cropped
            click.echo(facts.row(image.relative_to(folder).as_posix()))
    if crop_kspace is not None and images:
        list_crops(crop_kspace, replaced.values())
    _report_labels(labels, folder)
    if not good:
        raise (
            DataError(f"no file of {folder} can be used", got=f"the first: {failures[0]}")
            if failures
            else DataError(f"{folder} holds no scans", got="masks, label maps, results or crops alone")
        )
    shown = [f"{image.relative_to(folder).as_posix()} is {name}" for image, name in named.examples()]
    click.echo(f"{len(set(named.names.values()))} subjects, named by {named.how}: {'; '.join(shown)}")
    content, left_out = build_datalist(good, folder, output.parent, rule, replaced=replaced, named=named)
    write_datalist(content, output)
    shared.report(content, output, [f"left out by the table: {image}" for image in left_out])
    if empty and not replaced:
        click.echo(f"warning: {empty} of {len(good)} scans have an empty outer band: they teach blur. --crop-kspace "
                   "DIR brings them to their acquired matrix.", err=True)  # fmt: skip
    shared.raise_all(failures, len(images), "files cannot be used")


@group.command("hcp")
@click.argument("folder", metavar="DIR", type=shared.path)
@_output
@click.option("--unprocessed", is_flag=True, help="The scanner's T1w_MPR1 instead of T1w_acpc_dc_restore.")
@click.option("--fetch", is_flag=True, help="First fetch what is missing from S3, with your own AWS keys.")
@click.option("--subjects", multiple=True, metavar="IDS", help="To fetch; several with commas, or repeat the option.")
@click.option("--subjects-file", type=shared.path, metavar="F", help="To fetch, one a line.")
@shared.seed
@_table
def hcp(
    folder: Path,
    output: Path,
    unprocessed: bool,
    fetch: bool,
    subjects: tuple[str, ...],
    subjects_file: Path | None,
    seed: int,
    subjects_table: Path | None,
) -> None:
    """List HCP subjects in DIR, split 780/111/111/111 in proportion.

    DIR holds one folder a subject, in HCP's own layout; any subset will do.
    """
    from mdcsrn.data import hcp as layout
    from mdcsrn.data.datalist import SplitRule, build_datalist, write_datalist
    from mdcsrn.data.split import read_subjects_table

    wanted = [name for words in subjects for name in re.split(r"[,\s]+", words) if name]
    wanted += layout.read_subjects_file(subjects_file) if subjects_file is not None else []
    wanted = layout.unique(wanted)
    check_target(output, [subjects_file, subjects_table], "datalist")
    if fetch != bool(wanted):
        raise ConfigError("--fetch goes with --subjects or --subjects-file", got=", ".join(wanted) or "no subject")
    table = read_subjects_table(subjects_table) if subjects_table is not None else None
    failures: list[MdcsrnError] = []
    if fetch:
        client = layout.connect()
        for subject in wanted:
            try:
                path, fetched = layout.fetch_subject(client, folder, subject, unprocessed)
                click.echo(f"{'fetched' if fetched else 'present'}  {path}")
            except layout.MissingSubjectError as error:
                failures.append(error)
    if len(failures) == 1 == len(wanted):
        raise failures[0]
    images = layout.find_subjects(folder, unprocessed)
    check_target(output, images, "datalist")
    rule = SplitRule(layout.PUBLISHED_SPLIT, seed, layout.FOLDER_IS_SUBJECT, table)
    content, left_out = build_datalist(images, folder, output.parent, rule, "HCP T1w")
    write_datalist(content, output)
    shared.report(content, output, [f"left out by the table: {image}" for image in left_out])
    shared.raise_all(failures, len(wanted), "subjects could not be fetched")


def _scans(folder: Path, crop_kspace: Path | None, table: SubjectsTable | None) -> tuple[list[Path], dict[Path, str]]:
    """The scans below a folder, and what is none by its name, with the reason; a table's own files are scans."""
    from mdcsrn.data.datalist import find_images
    from mdcsrn.data.label_maps import label_by_name
    from mdcsrn.data.made import made_of_others
    from mdcsrn.io.folder import earlier_results

    images = find_images(folder)
    if crop_kspace is not None:  # crops of an earlier call are no scans of their own
        images = [image for image in images if not image.resolve().is_relative_to(crop_kspace.resolve())]
    ours = earlier_results(images)
    made = made_of_others(images)
    labels: dict[Path, str] = {}
    for image in images:
        why = "a result of mdcsrn" if image in ours else label_by_name(image.relative_to(folder)) or made.get(image)
        if why is not None and (table is None or table.find(Path(os.path.abspath(image))) is None):
            labels[image] = why
    return [image for image in images if image not in labels], labels


def _report_labels(labels: Mapping[Path, str], folder: Path) -> None:
    """How many images are left out as no scans, and why the first few."""
    if labels:
        shown = [f"{image.relative_to(folder).as_posix()} ({why})" for image, why in list(labels.items())[:3]]
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        click.echo(f"left out as masks, label maps, derivatives or phase images: {', '.join(shown)}{more}", err=True)
