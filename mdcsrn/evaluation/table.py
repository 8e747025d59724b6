"""Summarise rows of single subjects as a study table: mean ± SD, the paired gain, CSV, JSON and text."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mdcsrn.evaluation.baselines import ZERO_FILLED
from mdcsrn.evaluation.comparison import Row, setting
from mdcsrn.files import atomic_write_text

METRICS = (
    "psnr", "ssim", "nrmse", "band_error", "legacy_psnr", "legacy_ssim", "legacy_nrmse", "fastmri_psnr", "fastmri_ssim",
    "fastmri_nmse",
)  # fmt: skip
TITLES = {
    "psnr": ("PSNR dB", 2), "ssim": ("SSIM", 4), "nrmse": ("NRMSE", 4), "band_error": ("band error", 3),
    "legacy_psnr": ("legacy PSNR", 2), "legacy_ssim": ("legacy SSIM", 4), "legacy_nrmse": ("legacy NRMSE", 4),
    "fastmri_psnr": ("fastMRI PSNR", 2), "fastmri_ssim": ("fastMRI SSIM", 4), "fastmri_nmse": ("fastMRI NMSE", 4),
}  # fmt: skip
GAIN = "psnr_gain"


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (NaN below two values), smallest, largest and number of values."""

    mean: float
    sd: float
    smallest: float
    largest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise; values that are not finite make mean and SD not finite, never smaller."""
        if not all(math.isfinite(value) for value in values):
            return cls(math.fsum(values) / len(values), math.nan, min(values), max(values), len(values))
        sd = statistics.stdev(values) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), sd, min(values), max(values), len(values))


@dataclass(frozen=True)
class Summary:
    """One line of the table.

    Attributes:
        method: name of the candidate.
        region: ``head``, ``mask`` or ``volume``.
        degradation: label of the degradation.
        metrics: metric name to its spread over the subjects.
        gain: PSNR above zero-filled in dB, paired by subject; None where a subject has no zero-filled figure.
    """

    method: str
    region: str
    degradation: str
    metrics: Mapping[str, Spread] = field(default_factory=dict)
    gain: Spread | None = None


def paired_gain(rows: Iterable[Row], over: str = ZERO_FILLED) -> list[float | None]:
    """PSNR of each row minus that of `over` in the same subject, region and degradation, dB; None without a partner."""
    rows = list(rows)
    base = {(r.subject, r.region, r.degradation): r.values["psnr"] for r in rows if r.method == over}
    partners = [base.get((r.subject, r.region, r.degradation)) for r in rows]
    return [
        None if b is None or r.method == over else r.values["psnr"] - b for r, b in zip(rows, partners, strict=True)
    ]


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Group rows by degradation, region and method, in the order of their first appearance."""
    rows = list(rows)
    groups: dict[tuple[str, str, str], list[tuple[Row, float | None]]] = {}
    for row, gain in zip(rows, paired_gain(rows), strict=True):
        groups.setdefault((row.degradation, row.region, row.method), []).append((row, gain))
    lines = []
    for (degradation, region, method), members in groups.items():
        metrics = {
            name: Spread.of([row.values[name] for row, _ in members])
            for name in METRICS
            if all(name in row.values for row, _ in members)
        }
        gains = [gain for _, gain in members if gain is not None]
        spread = Spread.of(gains) if gains and len(gains) == len(members) else None
        lines.append(Summary(method, region, degradation, metrics, spread))
    return lines


def _setting_of(rows: Sequence[Row]) -> dict[str, str]:
    named = {name for row in rows for name in row.values}
    lines = setting({row.region for row in rows}, "legacy_ssim" in named, "fastmri_ssim" in named)
    if "band_error" not in named:
        lines.pop("band error")
    return lines


def per_subject_csv(rows: Sequence[Row]) -> str:
    """CSV text, one line for each row; empty cells where a metric is not defined."""
    present = [name for name in METRICS if any(name in row.values for row in rows)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["subject", "degradation", "region", "method", *present, GAIN])
    for row, gain in zip(rows, paired_gain(rows), strict=True):
        figures = [row.values.get(name) for name in present]
        cells = ["" if value is None else f"{value:.6g}" for value in (*figures, gain)]
        writer.writerow([row.subject, row.degradation, row.region, row.method, *cells])
    return stream.getvalue()


def _finite(value: float) -> float | None:
    """JSON knows no NaN and no infinity: null."""
    return value if math.isfinite(value) else None


def _spread_dict(spread: Spread) -> dict[str, float | int | None]:
    return {
        "mean": _finite(spread.mean), "sd": _finite(spread.sd), "min": _finite(spread.smallest),
        "max": _finite(spread.largest), "n": spread.count,
    }  # fmt: skip


def as_dict(rows: Sequence[Row], degradations: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Everything of a study as plain values: setting, degradations, summary, rows.

    Args:
        rows: of all subjects.
        degradations: label to plain values of the specification.

    Returns:
        A dictionary for JSON; a figure that is not finite (PSNR of equal volumes) is null.
    """
    return {
        "setting": _setting_of(rows),
        "degradations": {label: dict(values) for label, values in (degradations or {}).items()},
        "subjects": list(dict.fromkeys(row.subject for row in rows)),
        "summary": [
            {
                "degradation": line.degradation,
                "region": line.region,
                "method": line.method,
                **{name: _spread_dict(spread) for name, spread in line.metrics.items()},
                GAIN: None if line.gain is None else _spread_dict(line.gain),
            }
            for line in summarise(rows)
        ],
        "rows": [
            {
                "subject": row.subject,
                "degradation": row.degradation,
                "region": row.region,
                "method": row.method,
                **{name: _finite(value) for name, value in row.values.items()},
                GAIN: None if gain is None else _finite(gain),
            }
            for row, gain in zip(rows, paired_gain(rows), strict=True)
        ],
    }


def write_csv(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write :func:`per_subject_csv` in one step."""
    atomic_write_text(path, per_subject_csv(rows))


def write_json(
    path: str | os.PathLike[str], rows: Sequence[Row], degradations: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write :func:`as_dict` in one step."""
    atomic_write_text(path, json.dumps(as_dict(rows, degradations), indent=2, allow_nan=False) + "\n")


def _cell(spread: Spread | None, digits: int, sign: str = "") -> str:
    if spread is None:
        return ""
    deviation = f" ± {spread.sd:.{digits}f}" if spread.count > 1 else ""
    return f"{spread.mean:{sign}.{digits}f}{deviation}"


def _gain_cell(spread: Spread | None) -> str:
    worst = f" ({spread.smallest:+.2f} .. {spread.largest:+.2f})" if spread is not None and spread.count > 1 else ""
    return _cell(spread, 2, "+") + worst


def render(rows: Sequence[Row]) -> str:
    """Text of the table for a terminal: the setting above, then one block for each degradation and region."""
    lines = [f"{key:<12}{text}" for key, text in _setting_of(rows).items()]
    lines.append(
        f"{'figures':<12}mean ± sample SD over subjects; gain: PSNR above {ZERO_FILLED}, paired (least .. most)"
    )
    blocks: dict[tuple[str, str], list[Summary]] = {}
    for line in summarise(rows):
        blocks.setdefault((line.degradation, line.region), []).append(line)
    for (degradation, region), members in blocks.items():
        subjects = len({row.subject for row in rows if (row.degradation, row.region) == (degradation, region)})
        names = [name for name in METRICS if any(name in line.metrics for line in members)]
        with_gain = any(line.gain is not None for line in members)
        title = [f"{subjects} subject{'s' if subjects != 1 else ''}", f"region: {region}"]
        lines += ["", " | ".join([*title, f"degradation: {degradation}"] if degradation else title)]
        grid = [["method", *(TITLES[name][0] for name in names), *(["gain dB"] if with_gain else [])]]
        for line in members:
            cells = [_cell(line.metrics.get(name), TITLES[name][1]) for name in names]
            grid.append([line.method, *cells, *([_gain_cell(line.gain)] if with_gain else [])])
        widths = [max(len(cells[column]) for cells in grid) for column in range(len(grid[0]))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in grid
        ]
        lines += [text[0], "-" * max(map(len, text)), *text[1:]]
    return "\n".join(lines)
