"""How a training run went, from its TensorBoard files: voxel loss, critic distance, penalty, validation, as Markdown.

python benchmarks/training_log.py runs/train/tensorboard [--points 12]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = {
    "train/voxel_loss": "L1 loss (scaled units)",
    "train/distance": "critic distance, mean D(HR) - mean D(SR)",
    "train/penalty": "gradient penalty (unweighted)",
    "train/critic_gradient_norm": "gradient norm of the critic",
    "train/generator_gradient_norm": "gradient norm of the generator",
    "validation/psnr": "validation PSNR, dB",
    "validation/ssim": "validation SSIM",
    "validation/nrmse": "validation NRMSE",
}


def main() -> None:
    """Print one table for each curve that was logged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="TensorBoard folder of a run")
    parser.add_argument("--points", type=int, default=12, help="rows of a table")
    options = parser.parse_args()
    events = EventAccumulator(str(options.folder), size_guidance={"scalars": 0})
    events.Reload()
    for tag, name in CURVES.items():
        if tag in events.Tags()["scalars"]:
            print("\n".join(table(name, events.Scalars(tag), options.points)))


def table(name: str, scalars: list, points: int) -> list[str]:  # type: ignore[type-arg]  # TensorBoard has no types
    """Mean of the values in each of `points` equal parts of the curve."""
    steps = np.array([scalar.step for scalar in scalars])
    values = np.array([scalar.value for scalar in scalars])
    lines = [f"\n| steps | {name} |", "|---|---|"]
    for part in np.array_split(np.arange(len(values)), min(points, len(values))):
        lines.append(f"| {steps[part[0]]}-{steps[part[-1]]} | {values[part].mean():.4g} |")
    return lines


if __name__ == "__main__":
    main()
