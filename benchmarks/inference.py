"""What makes inference fast, step by step, on one head volume: the table of benchmarks/inference.md.

    python benchmarks/inference.py [--size 256 320 320] [--threads 2] [--network shipped] [--rows baseline predict]

Each row is a process of its own and its result a file under runs/, so that a run can be cut off and goes on; a row that
is there is not measured again (--again). The volume is a real head where there is one (../shared/data or --scan),
zero-filled to 0.7 mm, padded to the size, reduced to half of the last two axes as a four times shorter scan is, and
stored as int16 with gzip; else a synthetic head. The baseline reads and writes the same files; by default its network
time is scaled from a few windows (--full runs them all: a quarter of an hour).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from machine import ALLOCATOR, allocator_environment, machine

from mdcsrn.benchmark.measure import Job, flops_per_voxel, measure, measure_apart, synthetic_head, watch
from mdcsrn.inference.backends.select import psnr
from mdcsrn.inference.planning.models import find_model
from mdcsrn.kspace import DegradationSpec, degrade, resample_grid
from mdcsrn.kspace.intensity import percentile
from mdcsrn.networks import MDCSRN, load_weights, save_weights
from mdcsrn.processor import usable_threads

ROOT = Path(__file__).resolve().parents[1]
SCAN = ROOT.parent / "shared" / "data" / "t1w" / "train" / "saganon-3y_T1w.nii.gz"
SPACING = 0.7
REFERENCE = "head only"
# Each adds one thing to the row before: backend, precision, region, channels last.
ENGINE: dict[str, tuple[str, str, str, bool]] = {
    "exact slabs": ("eager", "float32", "all", False),
    REFERENCE: ("eager", "float32", "head", False),
    "channels last": ("eager", "float32", "head", True),
    "bfloat16": ("eager", "bfloat16", "head", True),
    "compiler (OpenVINO bfloat16)": ("openvino", "bfloat16", "head", True),
    "OpenVINO float32": ("openvino", "float32", "head", True),
}
HUGE = {f"{name}, huge pages": name for name in (REFERENCE, "bfloat16", "compiler (OpenVINO bfloat16)")}
PREDICT = {
    "predict": [],
    "predict, float32": ["--backend", "openvino", "--precision", "float32"],
}
RANDOM = {"plain": None, "space_to_depth": (1, 2, 2)}  # networks without shipped weights: entry of each
ROWS = ("peak", "baseline", *ENGINE, *HUGE, *PREDICT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=3, type=int, default=(256, 320, 320), metavar=("D", "H", "W"))
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--network", choices=("shipped", *RANDOM), default="shipped")
    parser.add_argument("--weights", type=Path, help="of that network; default: the shipped ones, else random ones")
    parser.add_argument("--scan", type=Path, default=SCAN)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"only these: {'; '.join(ROWS)}")
    parser.add_argument("--windows", type=int, default=4, help="of the baseline that are run")
    parser.add_argument("--full", action="store_true", help="run the whole baseline")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/inference.md")
    parser.add_argument("--again", action="store_true", help="measure rows that are there too")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "inference")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(baseline_process(json.loads(options.child))))
        return
    folder = options.runs / f"{options.network}-{'x'.join(map(str, options.size))}-{options.threads}"
    folder.mkdir(parents=True, exist_ok=True)
    source, weights = make_input(folder, options), find_weights(folder, options)
    for row in ROWS if options.rows is None else options.rows:
        path = folder / f"{row.replace(' ', '_')}.json"
        if path.is_file() and not options.again:
            continue
        print(f"{row} ...", file=sys.stderr, flush=True)
        facts = run_row(row, folder, source, weights, options)
        if "error" in facts:
            print(f"  failed: {facts['error']}", file=sys.stderr)
            continue
        path.write_text(json.dumps(facts, indent=2) + "\n")
    table = markdown(folder, options, flops_per_voxel(load_weights(weights)))
    (folder / "table.md").write_text(table)
    print(table)
    if options.write:
        page = ROOT / "benchmarks" / "inference.md"
        begin, end = f"<!-- {options.network}: begin -->\n", f"<!-- {options.network}: end -->"
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}{table}{end}{rest.split(end)[1]}")


def make_input(folder: Path, options: argparse.Namespace) -> Path:
    """The scan as a scanner would give it (int16, gzip), and beside it the array that the network reads."""
    source = folder / "scan.nii.gz"
    if source.is_file() and (folder / "volume.npy").is_file():
        return source
    size = tuple(options.size)
    if options.scan.is_file():
        image = nib.as_closest_canonical(nib.load(options.scan))
        array = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))
        fine = [round(n * z / SPACING) for n, z in zip(array.shape, image.header.get_zooms(), strict=True)]
        low = degrade(fit(resample_grid(array, fine), size), DegradationSpec(reduction=(1, 2, 2)))
        low *= 4000 / float(percentile(low, 99.9))  # as scanners use their 12 bits
    else:
        low = synthetic_head(size) * 4000
    stored = torch.round(low).clamp(-32768, 32767).to(torch.int16).numpy()
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    nib.save(nib.Nifti1Image(stored, affine), source)
    scaled = torch.from_numpy(stored.astype(np.float32))
    np.save(folder / "volume.npy", (scaled / percentile(scaled, 99.9)).numpy())
    return source


def fit(array: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Pad with zeros or cut each axis about its middle."""
    for axis, wanted in enumerate(size):
        have = array.shape[axis]
        array = array.narrow(axis, max(have - wanted, 0) // 2, min(have, wanted))
        before = (wanted - array.shape[axis]) // 2
        pad = [0, 0] * (2 - axis) + [before, wanted - array.shape[axis] - before] + [0, 0] * axis
        array = torch.nn.functional.pad(array, pad)
    return array


def find_weights(folder: Path, options: argparse.Namespace) -> Path:
    """Weights to measure with; a random network of this kind changes the image by about as much as a trained one."""
    if options.weights is not None:
        return options.weights.resolve()
    if options.network == "shipped":
        return find_model().path
    path = folder / "random.pt"
    if not path.is_file():
        torch.manual_seed(0)
        network = MDCSRN(space_to_depth=RANDOM[options.network])
        torch.nn.init.normal_(network.recon.weight, std=1e-3)
        save_weights(path, network)
    return path


def run_row(row: str, folder: Path, source: Path, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in a process."""
    job = Job("engine", str(folder / "volume.npy"), str(weights), options.threads)
    if row == "peak":
        return measure_apart(Job("peak", threads=options.threads))
    if row == "baseline":
        wanted = {
            "source": str(source),
            "weights": str(weights),
            "threads": options.threads,
            "windows": None if options.full else options.windows,
            "folder": str(folder),
        }
        return timed([sys.executable, __file__, "--child", json.dumps(wanted)], options.threads)
    if row in PREDICT:
        target = folder / f"{row.replace(', ', '_')}.nii.gz"
        target.unlink(missing_ok=True)
        command = [sys.executable, "-m", "mdcsrn", "predict", str(source), "-o", str(target), "--same-grid", "--quiet"]
        return timed([*command, "--model", str(weights), *PREDICT[row]], options.threads)
    name = HUGE.get(row, row)
    backend, precision, region, last = ENGINE[name]
    result = str(folder / f"{row.replace(' ', '_')}.npy")
    job = Job("engine", job.volume, job.weights, job.threads, backend, precision, region, last, result=result)
    return measure_apart(job, ALLOCATOR if row in HUGE else None)


def timed(command: list[str], threads: int) -> dict[str, Any]:
    """Cold wall time and memory of a command; what it printed as JSON is added."""
    plain = {key: value for key, value in allocator_environment().items() if key not in ALLOCATOR}
    done = watch(command, {**plain, "OMP_NUM_THREADS": str(threads)})
    if done["code"] != 0:
        return {"error": done["stderr"].strip().splitlines()[-1:] or done["code"]}
    said = done["stdout"].strip().splitlines()
    facts = json.loads(said[-1]) if said and said[-1].startswith("{") else {}
    wall = done["wall_s"] + facts.get("not_run_s", 0.0)
    return {**facts, "seconds": wall, "peak_gib": done["peak_gib"]}


def baseline_process(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a MONAI user would write: read, scale, slide, scale back, write."""
    start = time.perf_counter()
    image = nib.load(wanted["source"])
    array = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))
    scale = float(percentile(array, 99.9))
    path = Path(wanted["folder"]) / "baseline_volume.npy"
    np.save(path, (array / scale).numpy())
    read = time.perf_counter() - start
    job = Job("baseline", str(path), wanted["weights"], wanted["threads"], windows=wanted["windows"])
    start = time.perf_counter()
    facts = measure(job)
    ran = time.perf_counter() - start
    start = time.perf_counter()
    nib.save(nib.Nifti1Image(array.numpy(), image.affine), Path(wanted["folder"]) / "baseline.nii.gz")
    write = time.perf_counter() - start
    run_share = facts["windows_run"] / facts["windows"]
    return {**facts, "read_s": read, "write_s": write, "ran_s": ran, "not_run_s": facts["seconds"] * (1 - run_share)}


def markdown(folder: Path, options: argparse.Namespace, flops: float) -> str:
    """The table of all rows that are there."""
    rows = {row: json.loads(p.read_text()) for row in ROWS if (p := folder / f"{row.replace(' ', '_')}.json").is_file()}
    about = {**machine(), "threads": options.threads}
    lines = [
        f"Network: {options.network}, {flops:,.0f} operations a voxel. Volume: {' x '.join(map(str, options.size))}. "
        f"Machine: {json.dumps(about)}.",
    ]
    peaks = rows.pop("peak", {})
    for precision in ("float32", "bfloat16"):
        if precision in peaks:
            peak = peaks[precision]
            lines.append(
                f"Measured peak, {precision}: {peak['gemm']:.0f} GFLOP/s (products), {peak['conv']:.0f} (conv)."
            )
    base = rows.get("baseline")
    if base and base["windows_run"] < base["windows"]:
        lines.append(f"The baseline is scaled from {base['windows_run']} of {base['windows']} windows.")
    lines += [
        "",
        "| row | seconds | faster | compile s | GiB | dB | computed | GFLOP/s | share of peak |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, facts in rows.items():
        cells = [row, f"{facts['seconds']:.1f}", f"{base['seconds'] / facts['seconds']:.1f}x" if base else ""]
        cells += [number(facts.get("compile_s"), ".1f"), number(facts.get("peak_gib"), ".2f")]
        cells += [number(error_db(folder, row), ".1f"), number(facts.get("computed_share"), ".2f")]
        cells.append(number(facts.get("gflops"), ".0f"))
        peak = peaks.get(facts.get("precision"))
        share = facts["gflops"] / max(peak["gemm"], peak["conv"]) if peak and "gflops" in facts else None
        cells.append(number(share, ".0%"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def error_db(folder: Path, row: str) -> float | None:
    """PSNR to the float32 result inside the same head mask; of ``predict`` to its own float32 run."""
    if row == "predict":
        paths = [folder / "predict.nii.gz", folder / "predict_float32.nii.gz"]
        if not all(path.is_file() for path in paths):
            return None
        ours, truth = (torch.from_numpy(np.asarray(nib.load(path).dataobj, dtype=np.float32)) for path in paths)
        return psnr(ours, truth, float(percentile(truth, 99.9)))
    result, reference = (folder / f"{name.replace(' ', '_')}.npy" for name in (row, REFERENCE))
    if row == REFERENCE or not result.is_file() or not reference.is_file():
        return None
    return psnr(torch.from_numpy(np.load(result)), torch.from_numpy(np.load(reference)), 1.0)


def number(value: float | None, form: str) -> str:
    return "" if value is None or not np.isfinite(value) else format(value, form)


if __name__ == "__main__":
    main()
