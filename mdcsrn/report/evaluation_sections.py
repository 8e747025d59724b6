"""Sections of a page that need a reference: figures, slices, error maps, histograms, the study over angles."""

from __future__ import annotations

import numpy as np

from mdcsrn.report import analysis, charts, pictures
from mdcsrn.report.page import Comparison, Rotations
from mdcsrn.report.sections import Figure, Section, Subject, Table, figure, plane_limit, slice_panels

Scores = dict[str, dict[str, analysis.Fidelity]]  # method, region
AXES = ("first", "second", "third")


def evaluation_sections(subject: Subject) -> list[Section]:
    """Sections of a page with a comparison, in the order shown."""
    comparison = subject.page.comparison
    assert comparison is not None
    masks = {"head": subject.mask}
    if comparison.mask is not None:
        masks["mask"] = comparison.mask != 0
    scores = {
        name: analysis.fidelity(comparison.reference, candidate, subject.peak, masks)
        for name, candidate in comparison.candidates.items()
    }
    listed = [
        _table_section(scores, list(masks)),
        _slices_section(subject, scores, list(masks)),
        _maps_section(subject, comparison),
        _histogram_section(subject, comparison),
    ]
    return (
        listed
        if comparison.rotations is None
        else [*listed, rotation_section(comparison.rotations, subject.page.after_name)]
    )


def _table_section(scores: Scores, regions: list[str]) -> Section:
    head = ["method"]
    for region in regions:
        head += [f"PSNR, dB ({region})", f"SSIM ({region})", f"NRMSE ({region})"]
    rows = []
    for name, by_region in scores.items():
        row = [name]
        for region in regions:
            figures = by_region[region]
            row += [f"{figures.psnr:.2f}", f"{figures.ssim:.4f}", f"{figures.nrmse:.4f}"]
        rows.append(row)
    text = ["Against the reference; data range: its 99.9th percentile; SSIM in 3D, Gaussian window of 11³, sigma 1.5."]
    if "mask" in regions:
        text.append("Head: all tissue. Mask: the voxels of the given mask alone, such as the brain after extraction.")
    return Section("figures", "Figures", text, table=Table(head, rows))


def _slices_section(subject: Subject, scores: Scores, regions: list[str]) -> Section:
    figures = []
    for region in regions:
        decibels = {name: by_region[region].slice_psnr for name, by_region in scores.items()}
        similarities = {name: by_region[region].slice_ssim for name, by_region in scores.items()}
        for title, unit, curves in (("PSNR", "PSNR, dB", decibels), ("SSIM", "SSIM", similarities)):
            figures.append(
                figure(
                    charts.chart(slice_panels(subject, curves), unit, subject.page.after_name), "svg",
                    f"{title} of every slice in the {region}, for " + ", ".join(curves) + ".",
                    "Slices that hold less than 2 % of the fullest slice's voxels are left out.",
                    f"{title} per slice, in the {region}",
                )
            )  # fmt: skip
    return Section("fidelity", "Fidelity slice by slice", figures=figures)


def _maps_section(subject: Subject, comparison: Comparison) -> Section:
    percent = 100 / subject.peak
    volumes = {"reference": comparison.reference, **comparison.candidates}
    for name, candidate in comparison.candidates.items():
        volumes[f"|{name}|"] = np.abs(candidate - comparison.reference)
    scene = subject.scene(volumes)
    names = list(comparison.candidates)
    # One scale for all planes and methods, that of the largest usual error.
    limits = [plane_limit(scene, f"|{name}|", percent) for name in names]
    limit = max(limits)
    grey = [pictures.Column(name, name, "gray", 0, 100) for name in ("reference", *names)]
    error = [
        pictures.Column(f"|{name}|", name, "inferno", 0, limit, "absolute difference, % of the data range")
        for name in names
    ]
    figures = [
        figure(
            pictures.errors_png(scene, plane, grey, [None, *error], percent), "png",
            f"{plane.name} plane of the reference and of {', '.join(names)}; below, absolute differences to the "
            f"reference from 0 to {limit:.1f} % of the data range.",
            "Above: images, 0 to the 99.9th percentile. Below: absolute difference to the reference, one scale.",
            plane.name.capitalize(),
        )
        for plane in scene.planes
    ]  # fmt: skip
    return Section("maps", "Absolute-difference maps", figures=figures)


def _histogram_section(subject: Subject, comparison: Comparison) -> Section:
    percent = 100 / subject.peak
    errors = {
        name: (candidate - comparison.reference)[subject.mask] * percent
        for name, candidate in comparison.candidates.items()
    }
    limit = max(0.1, *(float(np.percentile(np.abs(values), 99.5)) for values in errors.values()))
    series = {}
    for name, values in errors.items():
        centres, shares = analysis.histogram(values, limit)
        series[name] = (centres, np.where(shares > 0, 100 * shares, np.nan))
    panel = charts.Panel("", "candidate − reference, % of the data range", series, log=True, steps=True)
    drawn = figure(
        charts.chart([panel], "voxels per bin, %", subject.page.after_name), "svg",
        "Histogram of differences to the reference in the head, for " + ", ".join(series) + ".",
        "Narrower is better. Logarithmic scale; the ends hold what lies beyond.",
    )  # fmt: skip
    return Section("errors", "Histograms of errors", figures=[drawn])


def rotation_section(rotations: Rotations, strong: str) -> Section:
    """PSNR and SSIM per angle, and per slice as the mean over the angles."""
    angles = np.array(rotations.angles, dtype=np.float64)
    plane = " and ".join(AXES[axis] for axis in rotations.plane)
    figures: list[Figure] = []
    for title, unit, per_angle, per_slice in (
        ("PSNR", "PSNR, dB", rotations.psnr, rotations.slice_psnr),
        ("SSIM", "SSIM", rotations.ssim, rotations.slice_ssim),
    ):
        by_angle = {name: (angles, np.array(values)) for name, values in per_angle.items()}
        by_slice = {
            name: (np.arange(1.0, len(values) + 1), np.array(values, np.float64)) for name, values in per_slice.items()
        }
        panels = [
            charts.Panel("per angle", "rotation, degrees", by_angle, points=len(angles) < 40),
            charts.Panel(
                "per slice, mean over the angles", f"slice of the {AXES[rotations.slice_axis]} axis", by_slice
            ),
        ]
        figures.append(
            figure(
                charts.chart(panels, unit, strong), "svg",
                f"{title} at each of {len(angles)} rotation angles, and of each slice averaged over them, for "
                + ", ".join(per_angle) + ".",
                "In the head of the turned reference.", f"{title} under rotation",
            )
        )  # fmt: skip
    head = ["method", "PSNR, dB: mean", "least", "SSIM: mean", "least"]
    rows = [
        [
            name,
            f"{np.mean(rotations.psnr[name]):.2f}", f"{min(rotations.psnr[name]):.2f}",
            f"{np.mean(rotations.ssim[name]):.4f}", f"{min(rotations.ssim[name]):.4f}",
        ]
        for name in rotations.psnr
    ]  # fmt: skip
    text = [
        f"The reference was turned in the plane of its {plane} axis by {', '.join(f'{a:g}°' for a in angles)} (cubic "
        "spline), then shortened and restored, so that no method can rely on an upright head."
    ]
    return Section("rotations", "Rotations", text, figures, Table(head, rows))
