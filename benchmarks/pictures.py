"""Before and after on scans that nobody has a reference for: thick slices and an enhanced DICOM series.

python benchmarks/pictures.py --data FOLDER [--model FILE] [--output runs/pictures]

FOLDER holds `thick/` and `dicom/`. Each scan goes through `mdcsrn predict` as a user runs it; the picture has three
planes and an enlarged part: linear interpolation, the network's input (zero-filled), the result, and what was added.
The figures beside it (pictures.json) say how much was added where, and whether it has a pattern of the network's cells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mdcsrn.evaluation.baselines import upsample
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.io import read_volume
from mdcsrn.io.sources import find_cases, load_case
from mdcsrn.metrics import head_mask
from mdcsrn.report.panel import busiest_part
from mdcsrn.report.views import PLANES, Image, Scene, make_scene

COLUMNS = ("linear interpolation", "zero-filled (input)", "mdcsrn predict", "added (result − input)")
CELL, GAP, TOP = 3.0, 0.05, 0.55  # inches
WHITE_PERCENT = 90.0  # of the head's voxels: fat may be white, the brain shall be seen
ADDED_LIMIT = 0.25  # of white: end of the scale of what was added


@dataclass(frozen=True)
class Scan:
    """A scan and what is asked for it."""

    name: str
    source: str
    options: tuple[str, ...]
    words: str


T1W, FLAIR = "thick/oms-long-01-study1_T1w.nii.gz", "thick/oms-long-01-study1_FLAIR.nii.gz"
XA30 = "dicom/siemens_xa30_enhanced_t1tfl.zip"
GAUSSIAN = ("--slice-profile", "gaussian")
SCANS = (
    Scan("thick_t1w", T1W, ("--factor", "1", "1", "3"), "2D T1w, slices 3 mm apart, 3 times finer"),
    Scan("thick_t1w_gaussian", T1W, ("--factor", "1", "1", "3", *GAUSSIAN), "the same, --slice-profile gaussian"),
    Scan("thick_flair", FLAIR, ("--factor", "1", "1", "4"), "2D FLAIR, slices 4 mm apart, 4 times finer"),
    Scan("xa30", XA30, ("--factor", "2", "2", "2"), "3D T1w, enhanced DICOM, 2 mm, 2 times finer"),
)


def main() -> None:
    """Predict, draw, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with thick/ and dicom/")
    parser.add_argument("--model", help="file with weights, or a model of the default bundle")
    parser.add_argument("--output", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--only", help="scans whose name holds this")
    options = parser.parse_args()
    figures = {}
    for scan in SCANS:
        if options.only is None or options.only in scan.name:
            figures |= one(scan, options.data, options.output, options.model)
    target = options.output / "pictures.json"
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def one(scan: Scan, data: Path, output: Path, model: str | None) -> dict[str, Any]:
    """Predict a source and draw each of its cases."""
    source, folder, figures = data / scan.source, output / scan.name, {}
    words = ["predict", source, "-o", folder, *scan.options, *(["--model", model] if model else []), "--quiet"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "mdcsrn", *map(str, words)], check=True)
    for number, case in enumerate(find_cases(source)):
        loaded = load_case(case)
        (path,) = folder.rglob(f"{loaded.name}_sr.json")
        record = json.loads(path.read_text())
        plan, restored = Plan.from_dict(record["plan"]), read_volume(path.with_suffix(".nii.gz"))
        array = torch.from_numpy(loaded.volume.array)
        with torch.inference_mode():
            low = plan.low(array).numpy()
            linear = upsample(array, plan.shape, "trilinear").numpy()
        volumes = {"linear": linear, "low": low, "sr": restored.array, "added": restored.array - low}
        name = scan.name if number == 0 else f"{scan.name}_{number + 1}"
        weights = record["inference"]["weights"]
        title = f"{scan.words}; weights {weights['file']} {weights['sha256'][:8]}"
        draw(output / f"{name}.png", make_scene(volumes, "sr", plan.affine), title)
        figures[name] = {"source": loaded.name, **measured(low, restored.array, plan), **of_record(record)}
    return figures


def of_record(record: dict[str, Any]) -> dict[str, Any]:
    """What the sidecar says that belongs beside a picture."""
    certificate, inference = record["certificate"] or {}, record["inference"]
    return {
        "decision": record["plan"]["decision"],
        "voxel_mm": [round(edge, 3) for edge in record["plan"]["spacing_mm"]],
        "consistency_relative_error": {
            name: certificate[name]["relative_error"] for name in certificate if isinstance(certificate[name], dict)
        },
        "backend": f"{inference['backend']} {inference['precision']}",
        "network_s": record["timings_s"].get("network"),
        "warnings": [notice["name"] for notice in record["warnings"]],
    }


def measured(low: NDArray[np.float32], restored: NDArray[np.float32], plan: Plan) -> dict[str, Any]:
    """How much was added where, in percent of the 99.9th percentile, and how regular it is.

    `outside_over_inside`: RMS of what was added outside the head over that inside it; ghosts would raise it.
    `edge_gain`: mean gradient magnitude inside the head, result over input, per axis.
    `band_edge_gain`: power of the result over that of the input just inside the measured band, per refined axis: above
    1, stripes and noise that the scan has at its own resolution are amplified.
    `cell_pattern`: per axis, power of what was added at the highest frequency (one voxel up, one down: a pattern of the
    network's cells) over that of frequencies just below.
    `cell_spread_percent`: how strong that pattern is: largest less smallest mean of what was added, over the eight
    places of a 2 x 2 x 2 cell, inside the head, % of the 99.9th percentile.
    """
    inside = head_mask(torch.from_numpy(restored)).numpy()
    peak, added = float(np.percentile(restored, 99.9)), restored - low
    outside, within = (float(np.sqrt(np.square(added[region]).mean())) for region in (~inside, inside))
    edges, bands, cells = [], {}, []
    for axis, (n, acquired) in enumerate(zip(plan.shape, plan.acquired_shape, strict=True)):
        head = np.take(inside, range(1, n), axis=axis)
        steps = [np.abs(np.diff(volume, axis=axis))[head].mean() for volume in (restored, low)]
        edges.append(round(float(steps[0] / steps[1]), 3))
        powers = {name: power(volume, axis) for name, volume in (("sr", restored), ("low", low), ("added", added))}
        if acquired < n:
            edge = slice(int(0.44 * acquired), int(0.49 * acquired))
            bands[axis] = round(float(powers["sr"][edge].mean() / powers["low"][edge].mean()), 3)
        size = n // 2 * 2
        near = powers["added"][round(0.40 * size) : round(0.48 * size)].mean()
        cells.append(round(float(powers["added"][-1] / near), 3))
    corners = [tuple(slice(start, None, 2) for start in corner) for corner in product((0, 1), repeat=3)]
    places = [float(added[corner][inside[corner]].mean()) for corner in corners]
    return {
        "added_rms_percent": round(100 * within / peak, 3),
        "outside_over_inside": round(outside / within, 3),
        "edge_gain": edges,
        "band_edge_gain": bands,
        "cell_pattern": cells,
        "cell_spread_percent": round(100 * (max(places) - min(places)) / peak, 3),
    }


def power(volume: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Mean power of the frequencies 0 to 1/2 of an axis, of its even part where the size is odd; (n // 2 + 1,)."""
    even = np.take(volume, range(volume.shape[axis] // 2 * 2), axis=axis)
    spectrum = np.fft.rfft(even, axis=axis)
    return np.square(np.abs(spectrum)).mean(axis=tuple(a for a in range(3) if a != axis))


def draw(path: Path, scene: Scene, title: str) -> None:
    """Write the picture: rows of planes and an enlarged part, columns as in `COLUMNS`."""
    rows: list[tuple[str, list[Image], float]] = []
    for plane in PLANES:
        cells = [scene.cut(name, plane) for name in ("linear", "low", "sr", "added")]
        height, width = scene.pixel(plane)
        rows.append((plane.name, cells, cells[0].shape[0] * height / (cells[0].shape[1] * width)))
    for name, cells, _ in rows[:]:
        part = busiest_part(cells[2], np.abs(cells[3]))
        small = [cell[part] for cell in cells]
        height, width = scene.pixel(next(plane for plane in PLANES if plane.name == name))
        rows.append((f"{name} ×3", small, small[0].shape[0] * height / (small[0].shape[1] * width)))
    white = float(np.percentile(scene.volumes["sr"][scene.volumes["sr"] > 0.1 * scene.peak], WHITE_PERCENT))
    wide = CELL * len(COLUMNS) + GAP * (len(COLUMNS) - 1) + 0.3
    high = TOP + sum(CELL * ratio + GAP for _, _, ratio in rows)
    figure = Figure(figsize=(wide, high), facecolor="black")
    FigureCanvasAgg(figure)
    y = high - TOP
    for name, cells, ratio in rows:
        y -= CELL * ratio
        for column, cell in enumerate(cells):
            x = 0.3 + column * (CELL + GAP)
            axes = figure.add_axes((x / wide, y / high, CELL / wide, CELL * ratio / high))
            axes.set_axis_off()
            added = column == 3
            limits = (-ADDED_LIMIT, ADDED_LIMIT) if added else (0.0, 1.0)
            colours = "RdBu_r" if added else "gray"
            axes.imshow(
                cell / white, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest"
            )
            if name == "axial":
                axes.set_title(COLUMNS[column], color="#f2f2f2", fontsize=10, pad=3)
        figure.text(
            0.15 / wide, (y + CELL * ratio / 2) / high, name, color="#f2f2f2", rotation=90, ha="center", va="center"
        )
        y -= GAP
    figure.text(0.3 / wide, 1 - 0.08 / high, title, color="#f2f2f2", fontsize=11, weight="bold", va="top")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")


if __name__ == "__main__":
    main()
