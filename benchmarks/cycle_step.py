"""Seconds of one training step of SRResCycGAN at full size, and of the epoch of fastMRI slices that they add up to.

    python benchmarks/cycle_step.py [--batch 8] [--patch 320] [--steps 3] [--threads 1] [--precision float32]

All four networks of the published widths (one channel), random patches, both generators and both critics updated. The
perceptual loss is computed by a VGG19 of random weights, which costs what the real one does; `--no-perceptual` leaves
it out. The first step is not counted; medians of the others are printed. An epoch has 21,423 slices, a step takes one
batch of them. Beside the seconds that pass stand the processor's own: with one thread they are what a step takes on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import machine
from torch import nn

from mdcsrn.engines import CycleSchedule, CycleStep, CycleTrainer, Part
from mdcsrn.losses import FeatureLoss
from mdcsrn.losses.vgg19 import LAYERS
from mdcsrn.networks import CycleDiscriminatorHR, CycleDiscriminatorLR, CycleGeneratorHR, CycleGeneratorLR

SLICES = 21_423  # of an epoch, in the document that publishes 52 hours for it
SCALE = 4


def random_vgg19(folder: Path) -> Path:
    """A file with the convolutions of VGG19, random, scaled so that features neither vanish nor overflow."""
    state = {}
    for place, before, after in LAYERS.values():
        state[f"features.{place}.weight"] = torch.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{place}.bias"] = torch.zeros(after)
    torch.save(state, folder / "vgg19.pt")
    return folder / "vgg19.pt"


def part(network: nn.Module) -> Part:
    """A network with its optimiser."""
    return Part(network, torch.optim.Adam(network.parameters(), lr=1e-4))


def trainer(options: argparse.Namespace) -> CycleTrainer:
    """The trainer of the bundle's configuration, without data."""
    with tempfile.TemporaryDirectory() as folder:
        perceptual = FeatureLoss(random_vgg19(Path(folder)), distance="l1") if options.perceptual else None
    return CycleTrainer(
        device="cpu",
        train_data_loader=[],
        generator_hr=part(CycleGeneratorHR(SCALE)),
        generator_lr=part(CycleGeneratorLR(SCALE)),
        critic_hr=part(CycleDiscriminatorHR()),
        critic_lr=part(CycleDiscriminatorLR()),
        schedule=CycleSchedule(),
        epoch_length=1,
        perceptual_loss=perceptual,
        perceptual_weight=1.0 if options.perceptual else 0.0,
        precision=options.precision,
    )


def step_seconds(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds of each step but the first: passed, and of the processor."""
    engine, seconds = trainer(options), list[tuple[float, float]]()
    edge = options.patch // SCALE
    for number in range(options.steps + 1):
        batch = {
            "image": torch.rand(options.batch, 1, 1, edge, edge),
            "label": torch.rand(options.batch, 1, 1, options.patch, options.patch),
        }
        start, work = time.perf_counter(), time.process_time()
        engine.train_step(CycleStep.CYCLE, batch)
        seconds.append((time.perf_counter() - start, time.process_time() - work))
        print(f"step {number}: {seconds[-1][0]:.1f} s, of the processor {seconds[-1][1]:.1f} s", flush=True)
    return seconds[1:]


def main() -> None:
    """Measure, project and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=320, help="edge of the result's patch; the critic needs 188")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--perceptual", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    seconds = step_seconds(options)
    steps = -(-SLICES // options.batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    about = "with" if options.perceptual else "without"
    print(
        f"\n{options.batch} x {options.patch // SCALE} -> {options.patch}, {options.precision}, {about} perceptual loss"
    )
    print(f"{options.threads} threads, load of the machine before: {load:.1f}; {json.dumps(machine())}")
    print(f"peak memory {peak:.1f} GiB; epoch of {SLICES:,} slices: {steps:,} steps")
    for kind, values in zip(("passed", "of the processor"), zip(*seconds, strict=True), strict=True):
        median = statistics.median(values)
        hours = steps * median / 3600
        print(f"seconds {kind}: {median:.1f} a step, {median / options.batch:.2f} a slice; {hours:.0f} h an epoch")


if __name__ == "__main__":
    main()
