"""The page of a study: means, crossings with bicubic, curves over slices and angles, maps and histograms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import mdcsrn
from mdcsrn.report import charts, pictures
from mdcsrn.report.glossary import GLOSSARY
from mdcsrn.report.html import asset, environment_of_pages, policy
from mdcsrn.report.sections import Figure, Section, Table, figure, plane_limit
from mdcsrn.report.study import summary
from mdcsrn.report.study.run import BRAIN, LARGEST, Study
from mdcsrn.report.views import scene_of

WORDS = ("k-space", "Super-resolution", "Head mask", "Data range", "PSNR")
COLUMNS = 5  # pictures in a row that can still be told apart
UNITS = {"psnr": ("PSNR", "PSNR, dB"), "ssim": ("SSIM", "SSIM")}


def render_study(study: Study, title: str, facts: Mapping[str, str] | None = None) -> str:
    """The page as text; it loads nothing from a network.

    Args:
        study: of :func:`mdcsrn.report.study.run.run_study`.
        title: of the page; no patient data.
        facts: further label to text.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = environment_of_pages()
    from markupsafe import Markup

    people = {contrast: sorted({c.subject for c in study.curves if c.contrast == contrast})
              for contrast in study.contrasts}  # fmt: skip
    known = {f"People, {contrast}": ", ".join(names) for contrast, names in people.items()}
    angles = ", ".join(f"{angle:g}°" for angle in study.angles)
    known |= {"Short scans": study.label, "Angles": angles, "Methods": ", ".join(study.methods)}
    meaning = {word: GLOSSARY[word] for word in WORDS}
    meaning["SSIM"] = "Structural similarity in a window of 11 × 11 pixels of each slice; 1 means equal."
    meaning["Bicubic"] = "Keys' cubic convolution (a = -1/2) of the short scan: the line that a network has to beat."
    scans = sum(map(len, people.values()))
    return str(
        environment.get_template("study.html.j2").render(
            title=title,
            subtitle=f"Study of {len(study.methods)} methods: {scans} scans, angles {angles} · {study.label}",
            software=f"mdcsrn {mdcsrn.__version__}",
            policy=policy([]),
            style=Markup(asset("templates/page.css")),
            summary=_summary(study),
            sections=sections(study),
            facts={**known, **(facts or {})},
            glossary=meaning,
        )
    )


def sections(study: Study) -> list[Section]:
    """Sections in the order shown: two tables, then three sections for each contrast."""
    listed = [_means(study), _crossings(study)]
    for contrast in study.contrasts:
        listed += [_curves(study, contrast), _maps(study, contrast), _histograms(study, contrast)]
    return listed


def _summary(study: Study) -> list[str]:
    lines = [
        "References were turned, made into short scans and restored by every method. Each slice is held against the "
        "turned reference; figures are means over slices, then over people and angles."
    ]
    for contrast in study.contrasts:
        for region in study.regions(contrast):
            base = summary.mean(summary.chosen(study, contrast, region, study.baselines[0]), "psnr")
            for name in study.networks:
                gain = summary.mean(summary.chosen(study, contrast, region, name), "psnr") - base
                words = summary.crossing_words(study, contrast, region, name)[0]
                lines.append(
                    f"{contrast}, {region}: {name} {gain:+.2f} dB over bicubic; slices at or below bicubic: {words}."
                )
    return lines


def _means(study: Study) -> Section:
    rows = []
    for contrast in study.contrasts:
        for region in study.regions(contrast):
            base = summary.chosen(study, contrast, region, study.baselines[0])
            for name in study.methods:
                curves = summary.chosen(study, contrast, region, name)
                row = [f"{contrast}, {region}: {name}"]
                for metric, digits in (("psnr", 2), ("ssim", 4)):
                    value = summary.mean(curves, metric)
                    row += [f"{value:.{digits}f}", f"{value - summary.mean(base, metric):+.{digits}f}"]
                rows.append(row)
    text = [
        "Data range: 99.9th percentile of the turned reference. Slices that hold less than 2 % of the fullest slice's "
        "voxels are left out."
    ]
    if any(BRAIN in study.regions(contrast) for contrast in study.contrasts):
        text.append("Head: all tissue. Brain: the voxels of the brain mask alone, turned with the reference.")
    return Section("means", "Means", text, table=Table(["", "PSNR, dB", "over bicubic", "SSIM", "over bicubic"], rows))


def _crossings(study: Study) -> Section:
    rows = [
        [f"{contrast}, {region}: {name}", *summary.crossing_words(study, contrast, region, name)]
        for contrast in study.contrasts
        for region in study.regions(contrast)
        for name in study.methods[1:]
    ]
    head = ["at or below bicubic", "slices, by PSNR", "slices, by SSIM", "angles, by PSNR", "angles, by SSIM"]
    text = [
        "Where the mean of a method is no better than bicubic: stretches of the head, in percent of its extent along "
        "the slice axis, and rotation angles."
    ]
    return Section("crossings", "Where methods cross bicubic", text, table=Table(head, rows))


def _curves(study: Study, contrast: str) -> Section:
    figures: list[Figure] = []
    direction = " / ".join(sorted(study.directions[contrast]))
    angles = np.array(study.angles)
    for region in study.regions(contrast):
        curves = {name: summary.chosen(study, contrast, region, name) for name in study.methods}
        for metric, (short, unit) in UNITS.items():
            slices = {name: (summary.GRID, summary.per_slice(listed, metric)) for name, listed in curves.items()}
            turns = {
                name: (angles, summary.per_angle(listed, angles.tolist(), metric)) for name, listed in curves.items()
            }
            marks = {name: summary.slice_crossings(study, contrast, region, name, metric) for name in study.networks}
            panels = [
                charts.Panel("per slice, mean over people and angles", f"place in the head, %, {direction}", slices,
                             marks=marks),
                charts.Panel("per angle, mean over people and slices", "rotation, degrees", turns, points=True),
            ]  # fmt: skip
            figures.append(
                figure(
                    charts.chart(panels, unit, study.networks), "svg",
                    f"{short} in the {region} of {contrast}, over slices and over angles: {', '.join(curves)}.",
                    "Bars at the foot: slices where the network of that colour is at or below bicubic."
                    if any(marks.values())
                    else "No network is at or below bicubic at any slice.",
                    f"{contrast}, {region}: {short}",
                )
            )  # fmt: skip
    mixed = len(study.directions[contrast]) > 1
    text = ["The files store their slices along different axes of the head: the means mix them."] if mixed else []
    return Section(f"curves-{_slug(contrast)}", f"{contrast}: slices and angles", text, figures)


def _maps(study: Study, contrast: str) -> Section:
    middle = study.middles[contrast]
    percent = 100 / middle.peak
    figures = []
    names = [name for name in study.methods if name in middle.volumes]
    for region in study.regions(contrast):
        mask = middle.masks.get(region)
        if mask is None or not mask.any():
            continue
        volumes = {name: array * mask if region == BRAIN else array for name, array in middle.volumes.items()}
        volumes |= {f"|{name}|": np.abs(volumes[name] - volumes["reference"]) for name in names}
        scene = scene_of(volumes, middle.affine, mask, middle.peak)
        plane = scene.planes[0]
        limit = max(plane_limit(scene, f"|{name}|", percent) for name in names)
        for begin in range(0, len(names), COLUMNS - 1):
            part = names[begin : begin + COLUMNS - 1]
            grey = [pictures.Column(name, name, "gray", 0, 100) for name in ("reference", *part)]
            error = [
                pictures.Column(f"|{name}|", name, "inferno", 0, limit, "absolute difference, % of the data range")
                for name in part
            ]
            figures.append(
                figure(
                    pictures.errors_png(scene, plane, grey, [None, *error], percent), "png",
                    f"Middle slice in the {region}: the reference and {', '.join(part)}; below, absolute differences "
                    f"from 0 to {limit:.1f} % of the data range.",
                    f"{plane.name.capitalize()} slice of {middle.subject}, turned by {middle.angle:g}°. Absolute "
                    "differences: one scale for all methods.",
                    f"{contrast}, {region}" if begin == 0 else "",
                )
            )  # fmt: skip
    return Section(f"maps-{_slug(contrast)}", f"{contrast}: absolute-difference maps", figures=figures)


def _histograms(study: Study, contrast: str) -> Section:
    figures = []
    for region in study.regions(contrast):
        counts = {name: study.counts[contrast, region, name] for name in study.methods}
        limit = min(LARGEST, max(0.1, *(summary.spread(values) for values in counts.values())))
        series = {}
        for name, values in counts.items():
            centres, shares = summary.histogram(values, limit)
            series[name] = (centres, np.where(shares > 0, 100 * shares, np.nan))
        panel = charts.Panel("", "candidate − reference, % of the data range", series, log=True, steps=True)
        figures.append(
            figure(
                charts.chart([panel], "voxels per bin, %", study.networks), "svg",
                f"Histogram of differences to the reference in the {region} of {contrast}: {', '.join(series)}.",
                "All people and angles. Narrower is better. Logarithmic scale; the ends hold what lies beyond.",
                f"{contrast}, {region}",
            )
        )  # fmt: skip
    return Section(f"errors-{_slug(contrast)}", f"{contrast}: histograms of differences", figures=figures)


def _slug(contrast: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in contrast)
