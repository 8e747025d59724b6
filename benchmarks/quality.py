"""Figures of trained weights on real scans: the bundle's evaluation at several settings, as Markdown.

    python benchmarks/quality.py --data FOLDER_WITH_INDEX_TSV [--checkpoint model.pt ...] [--section test]
    python benchmarks/quality.py --datalist DATALIST.json ...

Runs ``python -m monai.bundle run evaluating`` for each checkpoint and setting and prints, for each, the gain of every
subject over zero-filling and the mean of every method. Writes ``quality.md`` and the evaluations to --output.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

from machine import allocator_environment, machine

from mdcsrn.data.datalist import SplitRule, build_datalist, find_images, write_datalist
from mdcsrn.data.split import read_subjects_table
from mdcsrn.files import atomic_write_text, sha256

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
SETTINGS = {
    "2x2 (2,2,1)": {"reduction": [2, 2, 1], "window": "box", "noise": 0.0},
    "2x2 (1,2,2)": {"reduction": [1, 2, 2], "window": "box", "noise": 0.0},
}
Rows = list[dict[str, str]]


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of T1w scans with INDEX.tsv, whose split is used")
    source.add_argument("--datalist", type=Path, help="datalist JSON")
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[BUNDLE / "models" / "model.pt"])
    parser.add_argument("--section", default="test", help="section of the datalist")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "quality")
    options = parser.parse_args()
    output = options.output.resolve()
    datalist = options.datalist.resolve() if options.datalist else from_index(options.data.resolve(), output)

    text = [f"Machine: {json.dumps(machine())}", ""]
    for checkpoint in options.checkpoint:
        for name, degradation in SETTINGS.items():
            folder = output / checkpoint.stem / name.split()[1].strip("()").replace(",", "-")
            evaluate(checkpoint.resolve(), degradation, datalist, options.section, options.precision, folder)
            with (folder / "per_subject.csv").open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            text += [f"### {checkpoint.name} (sha256 {sha256(checkpoint)[:12]}), {name}, {options.precision}", ""]
            text += [*gains(rows), "", *means(rows), ""]
    atomic_write_text(output / "quality.md", "\n".join(text))
    print("\n".join(text))


def from_index(folder: Path, output: Path) -> Path:
    """Datalist of the T1w scans of a folder with INDEX.tsv, with that table's split."""
    images = [path for path in find_images(folder) if "t1w" in path.relative_to(folder).parts]
    rule = SplitRule({}, table=read_subjects_table(folder / "INDEX.tsv"))
    content, _ = build_datalist(images, folder, output, rule, "T1w")
    return write_datalist(content, output / "datalist.json")


def evaluate(
    checkpoint: Path, degradation: dict[str, object], datalist: Path, section: str, precision: str, folder: Path
) -> None:
    """One run of the bundle's evaluation."""
    settings = {"checkpoint": checkpoint, "datalist": datalist, "section": section, "output_dir": folder}
    settings |= {"precision": precision, "degradation": json.dumps(degradation)}
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "evaluating"]
    command += ["--config_file", "configs/evaluate.yaml"]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, cwd=BUNDLE, env=allocator_environment(), check=True, stdout=subprocess.DEVNULL)


def gains(rows: Rows) -> list[str]:
    """Head-mask PSNR of zero-filled and of SR for each subject."""
    head = {(row["subject"], row["method"]): float(row["psnr"]) for row in rows if row["region"] == "head"}
    lines = ["| subject | zero-filled dB | SR without consistency dB | SR dB | gain dB |", "|---|---|---|---|---|"]
    for subject in dict.fromkeys(row["subject"] for row in rows):
        zero, raw, sr = (head[subject, m] for m in ("zero-filled", "SR without consistency", "SR"))
        lines.append(f"| {subject} | {zero:.2f} | {raw:.2f} | {sr:.2f} | {sr - zero:+.2f} |")
    return lines


def means(rows: Rows) -> list[str]:
    """Mean ± SD of each method in both regions."""
    lines = ["| region | method | PSNR dB | SSIM | NRMSE | band error |", "|---|---|---|---|---|---|"]
    for region in ("head", "volume"):
        for method in dict.fromkeys(row["method"] for row in rows):
            chosen = [row for row in rows if row["region"] == region and row["method"] == method]
            cells = [spread([float(row[m]) for row in chosen], d) for m, d in FIGURES.items()]
            lines.append(f"| {region} | {method} | {' | '.join(cells)} |")
    return lines


FIGURES = {"psnr": 2, "ssim": 4, "nrmse": 4, "band_error": 3}


def spread(values: list[float], digits: int) -> str:
    """Mean ± sample SD."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
