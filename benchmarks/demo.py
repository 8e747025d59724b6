"""The main job on the embedded sample: train, evaluate, restore a whole volume, show it. A demonstration, not a result.

    python benchmarks/demo.py [--output demo] [--seed 0]

The cohort is made of cubic warps of the MNI152 template, a blurred average of many people. Real scans are harder: the
figures of real data are in the bundle's README.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from machine import allocator_environment, machine

from mdcsrn.data.datalist import load_datalist
from mdcsrn.data.sample import sample_datalist
from mdcsrn.engines import Schedule
from mdcsrn.engines.progress import duration
from mdcsrn.files import atomic_write_text
from mdcsrn.io import read_volume
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.precision import resolve_precision, step_seconds
from mdcsrn.report import panel

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
DEMO = ROOT / "configs" / "hardware" / "demo.yaml"
BESIDE_TRAINING_S = 115.0  # sample, patches, optimiser, validation, evaluation, inference: measured on two AVX2 cores


def main() -> int:
    """Run the demonstration; 0 where SR beats zero-filling on the subject that was not trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "demo", help="folder of everything that is made")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    options = parser.parse_args()
    output: Path = options.output.resolve()
    started = time.monotonic()

    seconds, step = estimate()
    print(f"about {duration(seconds)} on this machine, where a training step takes {step:.2f} s", flush=True)
    print("1/4 sample: eight synthetic subjects from the MNI152 template", flush=True)
    sample = output / "sample"
    datalist = sample_datalist(sample)
    for part in ("train", "evaluate", "inference"):
        shutil.rmtree(output / part, ignore_errors=True)

    print("2/4 training: L1 phase, then WGAN-GP phase", flush=True)
    overlay = f"['configs/train.yaml','{DEMO}']"
    run_bundle("training", overlay, sample, output / "train", {"seed": options.seed})
    checkpoint = {"checkpoint": output / "train" / "model.pt"}

    print("3/4 evaluation on a subject that was not trained on", flush=True)
    run_bundle("evaluating", "configs/evaluate.yaml", sample, output / "evaluate", checkpoint)

    print("4/4 inference on the whole volume of that subject", flush=True)
    run_bundle("run", "configs/inference.yaml", sample, output / "inference", checkpoint)
    picture = draw(datalist, output)

    figures = head_psnr(output / "evaluate" / "per_subject.csv")
    improved = figures["SR"] > figures["zero-filled"]
    report = {
        "what": "a demonstration on warped variants of a template, not a result",
        "psnr_db": {"zero_filled": figures["zero-filled"], "sr": figures["SR"]},
        "gain_db": figures["SR"] - figures["zero-filled"],
        "setting": "2x2 low-pass of the last two axes, head mask, data range 99.9th percentile, consistency on",
        "sr_is_higher": improved,
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(),
    }
    atomic_write_text(output / "demo.json", json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    print(f"table: {output / 'evaluate' / 'per_subject.csv'}\npicture: {picture}\nfigures: {output / 'demo.json'}")
    if not improved:
        print("error: SR is not better than zero-filling", file=sys.stderr)
    return 0 if improved else 1


def estimate() -> tuple[float, float]:
    """Seconds of the whole demonstration, and of one training step, by timing one here."""
    knobs = yaml.safe_load(DEMO.read_text())
    schedule = Schedule(**{field.name: knobs[field.name] for field in dataclasses.fields(Schedule)})
    definition = {key: value for key, value in knobs["network_def"].items() if key != "_target_"}
    network = MDCSRN(**definition).to(memory_format=torch.channels_last_3d)  # as it is trained
    patch = torch.rand(knobs["batch_size"], 1, *[knobs["patch_size"]] * 3)
    precision = resolve_precision("auto", network, patch, training=True)
    step = step_seconds(network, patch, precision, training=True)
    return BESIDE_TRAINING_S + step * schedule.total_steps, step


def run_bundle(job: str, config: str, sample: Path, output: Path, settings: dict[str, object]) -> None:
    """One ``python -m monai.bundle run``, in the bundle's folder, as a user would type it."""
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", job, "--config_file", config]
    for name, value in {"dataset_dir": sample, "output_dir": output, **settings}.items():
        command += [f"--{name}", str(value)]
    result = subprocess.run(command, cwd=BUNDLE, env=allocator_environment(), check=False)
    if result.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed with exit code {result.returncode}")


def draw(datalist: str, output: Path) -> Path:
    """Picture of LR, SR, HR and both errors of the first test subject."""
    reference = read_volume(load_datalist(datalist, "test")[0]["image"])
    (restored,) = sorted((output / "inference").glob("*.nii.gz"))[:1]
    (low,) = sorted(Path(datalist).parent.glob("degraded-*/*.nii.gz"))[:1]
    picture = output / "demo.png"
    volumes = (read_volume(low).array, read_volume(restored).array, reference.array)
    panel(picture, *volumes, affine=reference.affine, title="Demonstration on a warped template, 2x2 low-pass")
    return picture


def head_psnr(table: Path) -> dict[str, float]:
    """PSNR in the head mask by method, of the one test subject."""
    with table.open(newline="") as stream:
        return {row["method"]: float(row["psnr"]) for row in csv.DictReader(stream) if row["region"] == "head"}


if __name__ == "__main__":
    sys.exit(main())
