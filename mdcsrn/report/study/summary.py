"""Means of a study: over people, angles and slices, the crossings with bicubic, and the table beside the page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mdcsrn.report.study.crossing import Stretch, angles_in_words, stretches_below, stretches_in_words
from mdcsrn.report.study.run import BINS, STEP, SliceCurve, Study

Curve = NDArray[np.float64]
METRICS = ("psnr", "ssim")
GRID = np.linspace(0.0, 100.0, 51)  # percent of the head's extent
COLUMNS = ("contrast", "subject", "angle", "region", "method", "slice", "position", "psnr", "ssim")
SHOWN_BINS = 121


def chosen(study: Study, contrast: str, region: str, method: str) -> list[SliceCurve]:
    """Curves of one method: a curve for each person and angle."""
    wanted = (contrast, region, method)
    return [curve for curve in study.curves if (curve.contrast, curve.region, curve.method) == wanted]


def per_slice(curves: Sequence[SliceCurve], metric: str) -> Curve:
    """Mean over people and angles at each place of :data:`GRID`.

    Args:
        curves: of one method.
        metric: ``psnr`` or ``ssim``.

    Returns:
        (51,) figures; each curve is straight between its slices, NaN where none of them reaches.
    """
    placed = []
    for curve in curves:
        if curve.slices.size:
            order = np.argsort(curve.position)
            x, y = curve.position[order], getattr(curve, metric)[order]
            placed.append(np.interp(GRID, x, y, left=np.nan, right=np.nan))
    stacked = np.array(placed).reshape(-1, GRID.size)
    there = np.isfinite(stacked).sum(axis=0)
    mean: Curve = np.where(there > 0, np.nansum(stacked, axis=0) / np.maximum(there, 1), np.nan)
    return mean


def per_angle(curves: Sequence[SliceCurve], angles: Sequence[float], metric: str) -> Curve:
    """Mean over each person's slices, then over people, at each angle."""
    return np.array([mean([curve for curve in curves if curve.angle == angle], metric) for angle in angles])


def mean(curves: Sequence[SliceCurve], metric: str) -> float:
    """Mean over slices, then over people and angles; NaN of nothing."""
    values = [float(getattr(curve, metric).mean()) for curve in curves if curve.slices.size]
    return float(np.mean(values)) if values else float("nan")


def slice_crossings(study: Study, contrast: str, region: str, method: str, metric: str) -> list[Stretch]:
    """Stretches of the head, in percent, on which a method's mean is at or below bicubic's."""
    ours, base = (per_slice(chosen(study, contrast, region, name), metric) for name in (method, study.baselines[0]))
    return stretches_below(GRID, ours, base)


def crossing_words(study: Study, contrast: str, region: str, method: str) -> list[str]:
    """Where a method is at or below bicubic: slices by PSNR and SSIM, then angles by both."""
    words = []
    for metric in METRICS:
        reached = GRID[np.isfinite(per_slice(chosen(study, contrast, region, method), metric))]
        extent = (float(reached[0]), float(reached[-1])) if reached.size else (0.0, 100.0)
        stretches = slice_crossings(study, contrast, region, method, metric)
        words.append(stretches_in_words(stretches, " %", extent))
    for metric in METRICS:
        ours, base = (
            per_angle(chosen(study, contrast, region, name), study.angles, metric)
            for name in (method, study.baselines[0])
        )
        words.append(angles_in_words(study.angles, ours, base))
    return words


def histogram(counts: NDArray[np.int64], limit: float) -> tuple[Curve, Curve]:
    """Share of voxels in about 121 bins between ±`limit`, and the bins' centres; the ends hold what lies beyond.

    Args:
        counts: of :attr:`mdcsrn.report.study.run.Study.counts`.
        limit: percent of the data range, above 0.

    >>> counts = np.zeros(BINS, np.int64)
    >>> counts[BINS // 2], counts[-1] = 3, 1
    >>> centres, shares = histogram(counts, 1.0)
    >>> centres[[0, -1]].round(2).tolist(), shares[centres == 0].tolist(), shares[-1].tolist()
    ([-1.0, 1.0], [0.75], 0.25)
    """
    width = 2 * int(limit / STEP / SHOWN_BINS) + 1  # of a shown bin in stored ones: odd, so that 0 is a centre
    reach = max(1, math.ceil(limit / STEP / width - 0.5))
    place = np.arange(BINS) - BINS // 2
    group = np.clip((place + width // 2) // width, -reach, reach)
    filled = np.bincount(group + reach, weights=counts, minlength=2 * reach + 1)
    centres = np.arange(-reach, reach + 1, dtype=np.float64) * (width * STEP)
    shares = filled.astype(np.float64) / max(1, int(counts.sum()))
    return np.asarray(centres, np.float64), np.asarray(shares, np.float64)


def spread(counts: NDArray[np.int64], share: float = 0.995) -> float:
    """The difference, in percent of the data range, that this share of the voxels stays within."""
    centre = BINS // 2
    magnitude = np.bincount(np.abs(np.arange(BINS) - centre), weights=counts)
    return float(np.searchsorted(np.cumsum(magnitude), share * counts.sum()) * STEP)


def table(study: Study) -> str:
    """Every slice's figures as tab-separated text: a line for each person, angle, region, method and slice."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in study.curves:
        named = (curve.contrast, curve.subject, f"{curve.angle:g}", curve.region, curve.method)
        for index, place, psnr, ssim in zip(curve.slices, curve.position, curve.psnr, curve.ssim, strict=True):
            writer.writerow([*named, int(index), f"{place:.2f}", f"{psnr:.4f}", f"{ssim:.6f}"])
    return stream.getvalue()
