"""The tables of the model card from the figures of benchmarks/quality.py.

    python benchmarks/card.py runs/quality/quality.json

Prints Markdown: the shipped models at every setting, their gain by subject, and all networks at 2x2.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from settings import SETTINGS, SPECIALIST
from study import Row, mean, select, values
from tables import COLUMNS, figure_cells, number, table

from mdcsrn.evaluation import ZERO_FILLED

METHODS = {
    **{name: name for name in ("cubic B-spline", ZERO_FILLED)},
    "model": "`model`", "model-flips": "`model`, mean of 8 flips", "gan": "`gan`",
}  # fmt: skip
RAW = "without consistency"
FIGURES = ("psnr", "gain", "ssim", "nrmse", "hfen", "removed")


def figures(rows: Sequence[Row]) -> list[str]:
    """Every setting: the best baselines and the shipped models."""
    lines = []
    for setting in [name for name in SETTINGS if select(rows, setting=name)]:
        shown = setting
        for method, title in METHODS.items():
            for variant in ("", RAW) if method == "model" else ("",):
                chosen = select(rows, setting=setting, method=method, variant=variant)
                if chosen:
                    lines.append([shown, ", ".join(filter(None, (title, variant))), *figure_cells(chosen, FIGURES)])
                    shown = ""
    return table(["setting", "method", *(COLUMNS[name][0] for name in FIGURES)], lines)


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
    lines = [[title[n], *(number(gain, 2, "+") for gain in (*means[n], mean(means[n])))] for n in order]
    return table(["method", *SPECIALIST, "mean"], lines)


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
