"""The tables of the model card from the figures of benchmarks/quality.py.

python benchmarks/card.py runs/quality/quality.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from settings import SETTINGS, SPECIALIST
from study import Row, mean, select, values
from tables import cell, number, table

from mdcsrn.evaluation import ZERO_FILLED

METHODS = {"cubic B-spline": "cubic B-spline", ZERO_FILLED: ZERO_FILLED, "model": "`model`", "gan": "`gan`"}
METHODS["model-flips"] = "`model`, mean of 8 flips"
RAW = "without consistency"
FIGURES = {"psnr": ("PSNR dB", 2), "gain": ("gain dB", 2), "ssim": ("SSIM", 4), "nrmse": ("NRMSE", 4),
           "hfen": ("HFEN", 3), "removed": ("removed", 2)}  # fmt: skip


def figures(rows: Sequence[Row]) -> list[str]:
    """Every setting: the best baselines and the shipped models."""
    lines = []
    for setting in [name for name in SETTINGS if select(rows, setting=name)]:
        shown = setting
        for method, title in METHODS.items():
            for variant in ("", RAW) if method == "model" else ("",):
                chosen = select(rows, setting=setting, method=method, variant=variant)
                if chosen:
                    cells = [_figure(chosen, name, digits) for name, (_, digits) in FIGURES.items()]
                    lines.append([shown, ", ".join(filter(None, (title, variant))), *cells])
                    shown = ""
    return table(["setting", "method", *(title for title, _ in FIGURES.values())], lines)


def _figure(rows: Sequence[Row], name: str, digits: int) -> str:
    if name == "gain" and rows[0]["method"] == ZERO_FILLED:
        return ""
    return cell(values(rows, name), digits, "+" if name == "gain" else "")


def gains(rows: Sequence[Row]) -> list[str]:
    """Of `model`, by subject and setting."""
    mine = select(rows, method="model", variant="")
    settings = [name for name in SETTINGS if select(mine, setting=name)]
    lines = []
    for subject in dict.fromkeys(row["subject"] for row in mine):
        here = [select(mine, subject=subject, setting=setting)[0]["gain"] for setting in settings]
        lines.append([subject, *(number(gain, 2, "+") for gain in here)])
    return table(["subject", *settings], lines)


def contest(rows: Sequence[Row]) -> list[str]:
    """Everyone's mean gain at the settings of the specialists, the best first."""
    names = dict.fromkeys(row["method"] for row in rows)
    means = {
        name: [mean(values(select(rows, method=name, setting=s, variant=""), "gain")) for s in SPECIALIST]
        for name in names
    }
    title = {row["method"]: row["title"] for row in rows if not row["variant"]}
    order = sorted(names, key=lambda name: -sum(means[name]))
    return table(["method", *SPECIALIST], [[title[n], *(number(g, 2, "+") for g in means[n])] for n in order])


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="quality.json")
    content = json.loads(parser.parse_args().figures.read_text())
    rows = [{k: math.nan if v is None else v for k, v in row.items()} for row in select(content["rows"], region="head")]
    for title, lines in (("Figures", figures(rows)), ("Gain by subject", gains(rows)), ("All", contest(rows))):
        print(f"{title}, {content['section']}:\n", *lines, "", sep="\n")


if __name__ == "__main__":
    main()
