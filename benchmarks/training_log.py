"""How a training run went, from its TensorBoard files: voxel loss, critic distance, penalty, validation, as Markdown.

python benchmarks/training_log.py runs/train/tensorboard [--points 12]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

VALIDATED = "validation/psnr"
CURVES = {
    "train/voxel_loss": "L1 loss (scaled units)",
    "train/distance": "critic distance, mean D(HR) - mean D(SR)",
    "train/penalty": "gradient penalty (unweighted)",
    "train/critic_gradient_norm": "gradient norm of the critic",
    "train/generator_gradient_norm": "gradient norm of the generator",
    VALIDATED: "validation PSNR, dB",
    "validation/ssim": "validation SSIM",
    "validation/nrmse": "validation NRMSE",
}


def main() -> None:
    """Print one table for each curve that was logged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="TensorBoard folder of a run")
    parser.add_argument("--points", type=int, default=12, help="rows of a table")
    options = parser.parse_args()
    for tag, name in CURVES.items():
        found = curve(options.folder, tag)
        if found:
            print("\n".join(table(name, found, options.points)))


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values of a scalar; of a step that a resumed run did again, the latter. Empty where there is none."""
    if not folder.is_dir():
        return []
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    if tag not in events.Tags()["scalars"]:
        return []
    return sorted({scalar.step: scalar.value for scalar in events.Scalars(tag)}.items())


def table(name: str, found: list[tuple[int, float]], points: int) -> list[str]:
    """Mean of the values in each of `points` equal parts of the curve."""
    steps, values = (np.array(column) for column in zip(*found, strict=True))
    lines = [f"\n| steps | {name} |", "|---|---|"]
    for part in np.array_split(np.arange(len(values)), min(points, len(values))):
        lines.append(f"| {steps[part[0]]}-{steps[part[-1]]} | {values[part].mean():.4g} |")
    return lines


if __name__ == "__main__":
    main()
