"""The benchmark's figures as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from judge import Method
from settings import SETTINGS
from study import METRICS, Row, against_snr, by_series, select, signed_ranks, titles, values
from work import flops_per_voxel, parameters

from mdcsrn.inference.uncertainty import FLIPS

COLUMNS = {
    "psnr": ("PSNR dB", 2), "gain": ("gain dB", 2), "ssim": ("SSIM", 4), "nrmse": ("NRMSE", 4), "hfen": ("HFEN", 3),
    "band_error": ("band error", 3), "power_error": ("power error dB", 2), "removed": ("predictable error removed", 3),
    "legacy_psnr": ("legacy PSNR", 2), "legacy_ssim": ("legacy SSIM", 4), "legacy_nrmse": ("legacy NRMSE", 4),
}  # fmt: skip
HEAD = ("psnr", "gain", "ssim", "nrmse", "hfen", "band_error", "removed")
VOLUME = ("psnr", "ssim", "nrmse", "hfen", "band_error", "power_error", "legacy_psnr", "legacy_ssim", "legacy_nrmse")
DEFINITIONS = """\
Mean ± sample SD over the subjects. Data range: 99.9th percentile of the reference. Head: reference > 2 % of it, holes
filled. PSNR: 10 log10(range² / MSE). Gain: PSNR above zero-filled, paired. SSIM: 3D, Gaussian 11³ voxels, sigma 1.5,
K1 0.01, K2 0.03, mirrored borders. NRMSE: RMSE / range. HFEN: ‖LoG(x) − LoG(y)‖ / ‖LoG(y)‖, 15³ voxels, sigma 1.5. Band
error: relative L2 error outside the measured band (1: zero-filled, noise-free box). Power error: mean of
|10 log10(power / reference power)| over 12 radial shells outside the measured band up to Nyquist, floored at 40 dB.
Predictable error removed: (MSE zero-filled − MSE) / (MSE zero-filled − σ² (1 − measured share)), noise-free settings; σ
by the median absolute diagonal wavelet detail inside the head, an underestimate where the scanner interpolated or
smoothed. Legacy: volumes / maximum, PSNR with peak 1, SSIM in a uniform 7³ window with data range 2 and sample
covariance, border left out, Euclidean NRMSE. Noise: share of the 99.9th percentile, in each channel of k-space;
magnitude image. Consistency puts the measured k-space back; with noise it puts the noise back too. Thick slices:
Gaussian profile, full width at half maximum = distance; they alias, and consistency is off. Every network works inside
the same head region, found from its input; elsewhere the input stays."""
PUBLISHED = (
    ("source document, as printed, setting not stated", 0.620, 20.73, 0.788),
    ("earlier code, 5x5 (64 of 320 frequencies), HCP", 0.9275, 30.02, 0.2876),
    ("mDCSRN, re-implementation at HCP x4 (2x2), arXiv 2412.03379", 0.8941, 33.46, 0.1470),
    ("SuperFormer, same source and setting", 0.8982, 33.70, 0.1430),
    ("MTVNet, same source and setting", 0.9046, 34.04, 0.1374),
    ("RRDBNet3D, same source and setting", 0.9092, 34.31, 0.1331),
)
RATIO = "power_ratio_"
LEGACY_SETTINGS = ("5x5 (1,5,5)", "2x2 (1,2,2)")


def markdown(
    rows: Sequence[Row],
    methods: Sequence[Method],
    facts: Mapping[str, Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    seen: set[str],
    main: str,
) -> str:
    """Every table. `main` is the title of the method whose subjects and scanners are shown one by one."""
    parts = [DEFINITIONS, "", *costs(rows, methods)]
    for setting in [name for name in SETTINGS if select(rows, setting=name)]:
        for region, columns in (("head", HEAD), ("volume", VOLUME)):
            chosen = select(rows, setting=setting, region=region)
            subjects = len({row["subject"] for row in chosen})
            parts += ["", f"### {setting}, {region}, n = {subjects}", "", *means(chosen, columns)]
        parts += ["", f"{setting}, volume, power over the reference's by shell (1: Nyquist of an axis):", ""]
        parts += spectra(select(rows, setting=setting, region="volume"))
        parts += wilcoxon_lines(rows, setting)
        mine = select(rows, setting=setting, region="head", title=main)
        if mine:
            parts += ["", f"{main}, head, by subject, in the order of the reference's SNR:", "", *by_snr(mine, facts)]
            parts += ["", f"{main}, head, by scanner:", "", *scanners(mine, entries, seen)]
    return "\n".join([*parts, "", *published(rows), ""])


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def cell(numbers: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean ± sample SD; empty where there is none."""
    if not numbers:
        return ""
    deviation = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):{sign}.{digits}f}{deviation}"


def number(value: float, digits: int, sign: str = "") -> str:
    """A figure; empty where it is not defined."""
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else ""


def means(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Mean ± SD of every method."""
    shown = [name for name in columns if values(rows, name)]
    lines = []
    for title in titles(rows):
        lines.append([title, *figure_cells(select(rows, title=title), shown)])
    return table(["method", *(COLUMNS[name][0] for name in shown)], lines)


def figure_cells(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Mean ± SD of one method's figures, a cell for each column."""
    return [cell(values(rows, name), COLUMNS[name][1], "+" if name == "gain" else "") for name in columns]


def spectra(rows: Sequence[Row]) -> list[str]:
    """Mean power ratio of every method in each radial shell that was not measured."""
    shells = [key for key in sorted(rows[0]) if key.startswith(RATIO) and values(rows, key)]
    count = sum(key.startswith(RATIO) for key in rows[0])
    lines = [
        [title, *(number(statistics.fmean(values(select(rows, title=title), key)), 2) for key in shells)]
        for title in titles(rows)
    ]
    edges = [f"to {(int(key.removeprefix(RATIO)) + 1) / count:.2f}" for key in shells]
    return table(["method", *edges], lines)


def costs(rows: Sequence[Row], methods: Sequence[Method]) -> list[str]:
    """What each method takes: parameters, work, seconds of a volume, voxels seen in training."""
    lines = []
    for method in methods:
        spent = [row["seconds"] for row in select(rows, method=method.name, region="head", variant="")]
        cells = ["", "", ""]
        if method.weights is not None:
            work = flops_per_voxel(method.network) * (len(FLIPS) if method.flips else 1)
            cells = [f"{parameters(method.network):,}", f"{work:,.0f}", f"{method.voxels / 1e6:,.0f} M"]
            cells[2] = cells[2] if method.voxels else "not recorded"
        lines.append([method.title, *cells, number(statistics.median(spent), 1) if spent else ""])
    head = ["method", "parameters", "FLOP per voxel", "voxels seen", "median seconds per volume"]
    note = (
        "Seconds are cold and hold the consistency step; mDCSRN runs in the package's engine, peers in exact tiles of"
    )
    return [*table(head, lines), "", f"{note} plain torch: compare work by FLOP (a multiply-add is two)."]


def wilcoxon_lines(rows: Sequence[Row], setting: str) -> list[str]:
    """The tests of a setting as sentences."""
    lines = [""]
    for test in signed_ranks(rows, setting):
        difference = f"{test['mean']:+.2f} dB (worst {test['worst']:+.2f})"
        lines.append(
            f"- {test['method']} against the best other, {test['against']}: {difference}, paired Wilcoxon two-sided "
            f"p = {test['p']:.4g}, n = {test['n']} (no p below {test['smallest_p']:.4g} is possible)."
        )
    return lines if len(lines) > 1 else []


def by_snr(rows: Sequence[Row], facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gain against the reference's noise."""
    found, rank = against_snr(rows, facts)
    lines = [
        [
            line["subject"], number(line["snr"], 1), f"{line['noise']:.2%}", number(line["psnr"] - line["gain"], 2),
            number(line["psnr"], 2), number(line["gain"], 2, "+"), number(line["ceiling"], 2),
            number(line["removed"], 3),
        ]
        for line in found
    ]  # fmt: skip
    head = ["subject", "SNR", "σ / range", "zero-filled dB", "PSNR dB", "gain dB", "ceiling dB"]
    text = table([*head, "predictable error removed"], lines)
    return text if math.isnan(rank) else [*text, "", f"Spearman's rank correlation of gain and SNR: {rank:+.2f}."]


def scanners(rows: Sequence[Row], entries: Sequence[Mapping[str, Any]], seen: set[str]) -> list[str]:
    """Means by series of scans."""
    lines = [
        [
            line["series"], "yes" if line["seen"] else "no", str(line["n"]), number(line["psnr"], 2),
            number(line["gain"], 2, "+"), number(line["ssim"], 4), number(line["removed"], 3),
        ]
        for line in by_series(rows, entries, seen)
    ]  # fmt: skip
    head = ["series", "in training", "n", "PSNR dB", "gain dB", "SSIM", "predictable error removed"]
    return table(head, lines)


def published(rows: Sequence[Row]) -> list[str]:
    """Figures of papers and of the earlier code beside ours by the legacy definitions."""
    lines = [[source, f"{ssim:.4f}", f"{psnr:.2f}", f"{nrmse:.4f}"] for source, ssim, psnr, nrmse in PUBLISHED]
    for setting in LEGACY_SETTINGS:
        chosen = [row for row in select(rows, setting=setting, region="volume") if row["family"] != "peer"]
        for title in titles(chosen):
            mine = select(chosen, title=title)
            cells = [cell(values(mine, f"legacy_{name}"), d) for name, d in (("ssim", 4), ("psnr", 2), ("nrmse", 4))]
            lines.append([f"here: {title}, {setting}", *cells])
    note = "Published figures as they were printed: other data, and settings that differ; they rank nothing here."
    return [
        "### Beside published figures, legacy definitions",
        "",
        note,
        "",
        *table(["", "SSIM", "PSNR dB", "NRMSE"], lines),
    ]


def learning(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    """How those that were trained here got where they are: validation PSNR by generator updates."""
    trained = {title: curve for title, curve in curves.items() if curve}
    if not trained:
        return []
    most = max(map(len, trained.values()))
    note = "Head, consistency on, mean over `validation`, 2x2 (1,2,2), by parts of each one's own training."
    lines = [
        [title, f"{curve[-1][0]:,}", *(number(value, 2) for _, value in curve), *[""] * (most - len(curve))]
        for title, curve in trained.items()
    ]
    head = ["method", "steps", *(f"{part} of {most}" for part in range(1, most + 1))]
    return ["", "### Validation PSNR in the course of training, dB", "", note, "", *table(head, lines), ""]


def per_subject(rows: Sequence[Row]) -> str:
    """CSV text, one line for each row; empty cells where a figure is not defined."""
    ratios = sorted({key for row in rows for key in row if key.startswith(RATIO)})
    keys = ["subject", "setting", "region", "method", "family", "variant", *METRICS, "ceiling", "seconds", *ratios]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        cells = [row.get(key, "") for key in keys]
        writer.writerow(
            [f"{c:.6g}" if isinstance(c, float) and math.isfinite(c) else ("" if c != c else c) for c in cells]
        )
    return stream.getvalue()
