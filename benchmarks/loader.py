"""Patches per second that the training loader feeds, against what a training step consumes: the ratio should be >= 2.

    python benchmarks/loader.py [--config configs/hardware/gpu.yaml] [--datalist F.json] [--set patch_size=32 ...]

Both come from the bundle's own training config. The loader is timed over whole groups of degraded volumes, alone, with
the workers that the config asks for (0: in this process, so that loading and steps take turns); the steps are timed on
batches already there, each kind of step by itself, and the fastest kind is what the loader must keep up with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from machine import machine, resolved
from monai.bundle import ConfigParser

from mdcsrn.engines import AdversarialTrainer

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", default=[], help="overlay of train.yaml; may be given repeatedly")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a knob of the config")
    parser.add_argument("--datalist", default="", help="datalist JSON; default: the embedded sample")
    parser.add_argument("--groups", type=int, default=2, help="groups of volumes to load for each stream")
    parser.add_argument("--steps", type=int, default=5, help="steps of each kind")
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as output:
        config = ConfigParser(
            ConfigParser.load_config_files([str(BUNDLE / "configs" / "train.yaml"), *arguments.config])
        )
        knobs = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in arguments.set)}
        knobs |= {"bundle_root": str(BUNDLE), "output_dir": output}
        knobs |= {"datalist": str(Path(arguments.datalist).resolve())} if arguments.datalist else {}
        config.update(knobs)
        names = ("patch_size", "batch_size", "num_workers", "streams", "patches_per_volume", "volumes_per_group")
        setting = {name: config.get_parsed_content(name) for name in names}
        setting |= {"precision": resolved(config["precision"])}
        figures: dict[str, Any] = {"machine": machine(), "setting": setting}
        loader = config.get_parsed_content("train#dataloader")
        figures["loader"], batches = time_loader(loader, config.get_parsed_content("train#dataset"), arguments.groups)
        figures["steps"] = time_steps(config.get_parsed_content("train#trainer"), batches, arguments.steps)
    figures["ratio"] = figures["loader"] / max(figures["steps"].values())
    show(figures)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")


def time_loader(loader: Any, dataset: Any, groups: int) -> tuple[float, list[dict[str, Any]]]:
    """Patches/s over whole groups of every stream, and some batches; start-up and the first round are not counted."""
    patches = dataset.volumes_per_group * dataset.patches_per_volume
    count = math.lcm(patches, dataset.batch_size) // dataset.batch_size * dataset.streams
    batches: Iterator[dict[str, Any]] = iter(loader)
    kept = list(itertools.islice(batches, min(4, count)))
    for _ in itertools.islice(batches, count - len(kept)):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(batches, groups * count):
        pass
    return groups * count * dataset.batch_size / (time.perf_counter() - start), kept


def time_steps(trainer: AdversarialTrainer, batches: list[dict[str, Any]], steps: int) -> dict[str, float]:
    """Patches/s of each kind of step: median, after one step to warm up."""
    rates = {}
    for kind in ("voxel", "critic", "adversarial"):
        seconds = []
        for batch in itertools.islice(itertools.cycle(batches), steps + 1):
            start = time.perf_counter()
            image, label = (batch[key].to(trainer.state.device) for key in ("image", "label"))
            if kind == "critic":
                trainer.critic_step(image, label, batch["coefficient"])
            else:
                trainer.generator_step(image, label, adversarial=kind == "adversarial")
            seconds.append(time.perf_counter() - start)  # a step ends with .item(): the device is done
        rates[kind] = len(image) / statistics.median(seconds[1:])
    return rates


def show(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print("machine   " + ", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    print("setting   " + ", ".join(f"{key} {value}" for key, value in figures["setting"].items()))
    print(f"loader    {figures['loader']:10.2f} patches/s")
    for kind, rate in figures["steps"].items():
        print(f"step      {rate:10.2f} patches/s  {kind}")
    verdict = "enough" if figures["ratio"] >= 2 else "below 2: the loader may keep training waiting"
    print(f"ratio     {figures['ratio']:10.2f}  loader to fastest step ({verdict})")


if __name__ == "__main__":
    main()
