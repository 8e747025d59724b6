"""From figures of single subjects to what a study says: gains, shares of the predictable error, tests, scanners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ceiling import ceiling_psnr, measured_share, removed_share
from cohort import series_of
from judge import Method
from scipy.stats import spearmanr, wilcoxon
from settings import SETTINGS

from mdcsrn.evaluation import ZERO_FILLED

Row = dict[str, Any]
METRICS = (
    *("psnr", "gain", "ssim", "nrmse", "hfen", "band_error", "power_error", "removed"),
    *("legacy_psnr", "legacy_ssim", "legacy_nrmse"),
)


def make_rows(
    records: Iterable[Mapping[str, Any]], methods: Sequence[Method], facts: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """One row for each subject, setting, method, variant and region.

    Args:
        records: what :func:`judge.judge` yields.
        methods: those that were judged.
        facts: of each subject's reference (:func:`judge.reference_facts`).

    Returns:
        Rows with `gain` over zero-filled, dB, and inside the head of noise-free settings `ceiling`, dB, and `removed`,
        the share of the predictable error that is removed.
    """
    named = {method.name: method for method in methods}
    rows = []
    for record in records:
        method = named[record["method"]]
        for variant, regions in record["figures"].items():
            for region, values in regions.items():
                row = {key: record[key] for key in ("subject", "setting", "method")}
                row |= {"title": ", ".join(filter(None, (method.title, variant))), "family": method.family}
                rows.append({**row, "variant": variant, "region": region, "seconds": record["seconds"], **values})
    keys = ("subject", "setting", "region")
    zero = {tuple(row[key] for key in keys): row["psnr"] for row in rows if row["method"] == ZERO_FILLED}
    for row in rows:
        start, reference = zero[tuple(row[key] for key in keys)], facts[row["subject"]]
        row["gain"] = row["psnr"] - start
        setting = SETTINGS[row["setting"]]
        if row["region"] == "head" and setting.is_linear:
            share = measured_share(reference["shape"], setting.band)
            row["ceiling"] = ceiling_psnr(reference["sigma"], reference["range"], share)
            row["removed"] = removed_share(start, row["psnr"], row["ceiling"])
    return rows


def select(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """Rows whose values are these."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def titles(rows: Iterable[Row]) -> list[str]:
    """Methods with their variants, in their order."""
    return list(dict.fromkeys(row["title"] for row in rows))


def values(rows: Iterable[Row], metric: str) -> list[float]:
    """A metric's finite values."""
    found = (row.get(metric, math.nan) for row in rows)
    return [value for value in found if math.isfinite(value)]


def signed_ranks(rows: Sequence[Row], setting: str) -> list[dict[str, Any]]:
    """Paired Wilcoxon signed-rank tests of each of our networks against the best method that is not ours, head PSNR.

    The best is that with the highest mean, with consistency or without. With n subjects no two-sided p can be below
    2 / 2^n: 0.0625 for five.
    """
    inside = select(rows, setting=setting, region="head")
    others = [row for row in inside if row["family"] != "ours"]
    best = max(titles(others), key=lambda title: np.mean(values(select(others, title=title), "psnr")))
    base = {row["subject"]: row["psnr"] for row in select(others, title=best)}
    results = []
    for title in titles(row for row in inside if row["family"] == "ours" and not row["variant"]):
        differences = [row["psnr"] - base[row["subject"]] for row in select(inside, title=title)]
        p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        results.append(
            {
                "method": title, "against": best, "n": len(differences), "mean": float(np.mean(differences)),
                "worst": min(differences), "p": p, "smallest_p": 2.0 ** (1 - len(differences)),
            }
        )  # fmt: skip
    return results


def by_series(rows: Sequence[Row], entries: Sequence[Mapping[str, Any]], seen: set[str]) -> list[dict[str, Any]]:
    """Means for each scanner's series, those of the training data first, then each group as a whole.

    Args:
        rows: of one method, setting and region.
        entries: of the judged section.
        seen: series in the training section.
    """
    series = {str(entry["subject"]): series_of(dict(entry)) for entry in entries}
    names = sorted({series[row["subject"]] for row in rows}, key=lambda name: (name not in seen, name))
    groups = [(name, name in seen, {name}) for name in names]
    groups += [(f"all {word}", known, {n for n in names if (n in seen) == known}) for word, known in WORDS.items()]
    lines = []
    for name, known, members in groups:
        chosen = [row for row in rows if series[row["subject"]] in members]
        if chosen:
            means = {metric: mean(values(chosen, metric)) for metric in ("psnr", "gain", "ssim", "removed")}
            lines.append({"series": name, "seen": known, "n": len(chosen), **means})
    return lines


WORDS = {"seen": True, "unseen": False}


def mean(numbers: Sequence[float]) -> float:
    """Mean, ``nan`` of nothing."""
    return float(np.mean(numbers)) if numbers else math.nan


def against_snr(rows: Sequence[Row], facts: Mapping[str, Mapping[str, Any]]) -> tuple[list[dict[str, Any]], float]:
    """Gain of each subject beside its reference's signal-to-noise ratio, and their rank correlation (Spearman).

    SNR is the mean signal in the head over sigma.
    """
    lines = []
    for row in rows:
        reference = facts[row["subject"]]
        sigma = reference["sigma"]
        snr = reference["signal"] / sigma if sigma else math.inf
        keys = ("subject", "psnr", "gain", "ceiling", "removed")
        lines.append({**{key: row.get(key, math.nan) for key in keys}, "snr": snr, "noise": sigma / reference["range"]})
    lines.sort(key=lambda line: line["snr"])
    few = len(lines) < 3
    rank = math.nan if few else float(spearmanr([x["snr"] for x in lines], [x["gain"] for x in lines]).statistic)
    return lines, rank
