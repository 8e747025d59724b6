"""Judge the networks that refine planes: PSNR and SSIM of each slice, T1w and T2w, against interpolation.

    python benchmarks/planes.py --data FOLDER_WITH_INDEX_TSV [--bundles edsr_x2 mdcsrn_wgan_gp:2] [--write]

Low-passed test volumes (box, both axes of a plane) are restored plane by plane, across the first array axis. Each slice
with at least a tenth of the fullest slice's head voxels has its figures in two dimensions: PSNR, SSIM (Gaussian 11x11,
sigma 1.5) in the head mask, data range = 99.9th percentile of the reference volume. They are averaged over slices, then
over people. "bicubic" is Keys' cubic convolution (a = -1/2) of the acquired matrix, whose samples are those of the
low-passed volume. "power error" is that of the spectrum outside the measured band, in the head of the whole volume
(`mdcsrn.metrics.power_error`): 0 where the power is the reference's, 40 dB where there is none; it does not ask whether
the detail is in the right place. A model of a bundle other than its first is BUNDLE/MODEL; a network of volumes, which
has no factor of its own, is given one: BUNDLE:2. `--write` puts the rows into benchmarks/planes.md, where those of
bundles that were not judged now stay.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch import Tensor

from mdcsrn.inference import ExactTiledInferer
from mdcsrn.inference.planning.models import find_model
from mdcsrn.io.formats import read_image
from mdcsrn.kspace import DegradationSpec, decimate, degrade, project
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.metrics import data_range, head_mask, power_error, psnr, ssim
from mdcsrn.networks.interpolation import CubicUpsample

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = [
    "edsr_x2", "mdcsrn_wgan_gp:2", "srgan_x3", "srgan_x3/gan", "srgan_x3/parent", "mdcsrn_wgan_gp:3",
    "wdsr_x4", "srrescycgan_fastmri", "srrescycgan_fastmri/gan", "srrescycgan_fastmri/parent", "mdcsrn_wgan_gp:4",
]  # fmt: skip
HEAD = (
    "| bundle | test | method | PSNR dB | over bicubic (range) | SSIM | over bicubic | power error dB |",
    "|---|---|---|---|---|---|---|---|",
)
HEAD_SHARE = 0.1
# Test people of both contrasts; no weights of a bundle were trained on any of them.
T2W_TEST = ("M2208", "M2307")


def people(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Contrast, subject and file of the test volumes of a folder with INDEX.tsv."""
    with (folder / "INDEX.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            t1w = row["modality"] == "T1w" and row["split"] == "test" and row["file"].startswith("t1w/")
            if t1w or row["subject"] in T2W_TEST:
                yield row["modality"], row["subject"], folder / row["file"]


def cropped(volume: Tensor, scale: int) -> Tensor:
    """Sizes that the factor divides, cut at the centre."""
    for axis in (1, 2):
        size = volume.shape[axis] // scale * scale
        volume = volume.narrow(axis, (volume.shape[axis] - size) // 2, size)
    return volume.contiguous()


def methods(low: Tensor, spec: DegradationSpec, scale: int, network: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and restored volumes, (D, H, W) in the unit of `low`."""
    acquired = decimate(low, (1, scale, scale))
    yield "nearest", acquired.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    yield "bicubic", CubicUpsample(scale)(acquired)
    yield "zero-filled", low
    factor = intensity_scale(low)
    inferer = ExactTiledInferer(max_memory=2.0, precision="float32", zero_filled=True)
    with torch.inference_mode():
        raw = inferer((low / factor)[None, None], network)[0, 0] * factor
    yield "network alone", raw
    yield "network, consistency", project(raw, low, spec)


def figures(result: Tensor, reference: Tensor, spec: DegradationSpec) -> tuple[float, float, float]:
    """Mean PSNR (dB) and SSIM over the slices of one person, and the power error (dB) of the volume."""
    peak, mask = data_range(reference), head_mask(reference)
    filled = mask.flatten(1).sum(1)
    chosen = torch.nonzero(filled >= HEAD_SHARE * filled.max())[:, 0].tolist()
    decibels = [psnr(result[i], reference[i], peak, mask[i]) for i in chosen]
    similar = [ssim(result[i], reference[i], peak, mask[i], spatial_dims=2) for i in chosen]
    return float(np.mean(decibels)), float(np.mean(similar)), power_error(result, reference, spec, mask)


def judge(bundle: str, folder: Path) -> list[str]:
    """Rows of a table in Markdown."""
    name, _, given = bundle.partition(":")
    home, _, model = name.partition("/")
    network = find_model(home, model or None).network
    scale = int(given or network.traits.scale[-1])
    spec = DegradationSpec(reduction=(1, scale, scale))
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    seconds = []
    for contrast, subject, path in people(folder):
        reference = cropped(torch.from_numpy(read_image(path).array), scale)
        low = degrade(reference, spec)
        start = time.perf_counter()
        for name, result in methods(low, spec, scale, network):
            found.setdefault((contrast, name), []).append(figures(result, reference, spec))
        seconds.append(time.perf_counter() - start)
        print(f"{bundle} {subject}: {seconds[-1]:.0f} s", flush=True)
    rows = []
    for (contrast, name), values in found.items():
        table = np.asarray(values)
        gain = table - np.asarray(found[contrast, "bicubic"])
        spread = f"{gain[:, 0].min():+.2f} to {gain[:, 0].max():+.2f}"
        cells = (f"{table[:, 0].mean():.2f}", f"{gain[:, 0].mean():+.2f} ({spread})", f"{table[:, 1].mean():.4f}")
        cells = (*cells, f"{gain[:, 1].mean():+.4f}", f"{table[:, 2].mean():.2f}")
        rows.append(f"| {bundle} | {contrast}, {len(table)} people | {name} | {' | '.join(cells)} |")
    return rows


def merged(rows: list[str], page: Path) -> list[str]:
    """New rows, and those of the page that are of other bundles, in the order of :data:`BUNDLES`."""

    def bundle(row: str) -> str:
        return row.split("|")[1].strip()

    new = {bundle(row) for row in rows}
    old = [
        row for row in page.read_text(encoding="utf-8").splitlines() if row.startswith("| ") and bundle(row) in BUNDLES
    ]
    every = [*rows, *(row for row in old if bundle(row) not in new)]
    return sorted(every, key=lambda row: BUNDLES.index(bundle(row)) if bundle(row) in BUNDLES else len(BUNDLES))


def main() -> None:
    """Judge the bundles and print, or write, one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with INDEX.tsv")
    parser.add_argument("--bundles", nargs="+", default=BUNDLES, help="names")
    parser.add_argument("--write", action="store_true", help="into benchmarks/planes.md")
    options = parser.parse_args()
    rows = [row for bundle in options.bundles for row in judge(bundle, options.data)]
    page = ROOT / "benchmarks" / "planes.md"
    if options.write:
        rows = merged(rows, page)
    table = "\n".join([*HEAD, *rows])
    print(table)
    if options.write:
        about = (__doc__ or "").strip()
        text = f"# Planes: the two-dimensional bundles\n\n{about}\n\nMachine: {json.dumps(machine())}.\n\n{table}\n"
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
