"""Who takes part in the benchmark, as data, and how each is trained: one engine, one data set, the same knobs for all.

All train by ``configs/specialist.yaml``: 2x2 on a random pair of axes, with random contrast, shading and resolution;
the universal model goes on from ours by ``configs/universal.yaml``. Networks of up to twice the work of ours per voxel
see the same number of voxels; a heavier one gets the same work (so it sees fewer, and the table says so). Peers that
learned nothing or diverged with the shared knobs have rates or a precision of their own, found on training patches.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import peers  # noqa: F401 - enters the peers into the catalogue of networks
from machine import allocator_environment
from work import flops_per_voxel

from mdcsrn.engines import Schedule
from mdcsrn.errors import ConfigError
from mdcsrn.files import atomic_write_text, read_mapping
from mdcsrn.networks import MDCSRN, build_network

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
CONFIGS = ("configs/train.yaml", "configs/specialist.yaml")
UNIVERSAL = "configs/universal.yaml"
STEPS = 8000  # of a specialist, at --steps-scale 1: batches of 4 patches of 32^3, 1.05e9 voxels
VALIDATIONS = 5  # in a run
HEAVY = 2.0  # times our work per voxel: above it, same work instead of same voxels
SHARED = {"rate_final": 0.02, "ema_decay": 0.998}  # the specialist's own values are those of a first stage
WEIGHTS, DONE, OVERLAY, BOARD = "model.pt", "trained.json", "contestant.json", "tensorboard"


@dataclass(frozen=True)
class Contestant:
    """One network of the benchmark.

    Attributes:
        name: of its folder and on the command line.
        title: in the tables.
        network: name and constructor arguments.
        ours: one of our variants; peers are what ours are tested against.
        universal: trained on random reductions, windows and noise, and so judged at every setting.
        parent: the contestant whose weights it starts from.
        knobs: of the training config, beyond those that all share.
    """

    name: str
    title: str
    network: Mapping[str, Any]
    ours: bool = False
    universal: bool = False
    parent: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def configs(self) -> tuple[str, ...]:
        """Config files, in the bundle's folder."""
        return (*CONFIGS, UNIVERSAL) if self.universal else CONFIGS


def mdcsrn(residual: bool = True, space_to_depth: list[int] | None = None) -> dict[str, Any]:
    """Our network, b4u4 k16."""
    return {"name": "MDCSRN", "arguments": {"residual": residual, "space_to_depth": space_to_depth}}


def peer(name: str) -> dict[str, Any]:
    """A peer with its own default size."""
    return {"name": name, "arguments": {}}


CRITIC = {
    "voxel_steps": 0,
    "critic_warmup": 2000,
    "adversarial_steps": 1500,
    "critic_per_generator": 3,
    "extra_critic_steps": 0,
    "adversarial_rate": 5.0e-5,
    "critic_rate": 2.0e-4,
    "adversarial_weight": 1.5e-3,
}
CONTESTANTS = {
    entry.name: entry
    for entry in (
        Contestant("published", "mDCSRN as published (no residual)", mdcsrn(residual=False), ours=True),
        Contestant("ours", "mDCSRN, residual", mdcsrn(), ours=True),
        Contestant("ours-gan", "mDCSRN, residual, WGAN-GP", mdcsrn(), ours=True, parent="ours", knobs=CRITIC),
        Contestant("ours-s2d-122", "mDCSRN, space-to-depth 1x2x2", mdcsrn(space_to_depth=[1, 2, 2]), ours=True),
        Contestant("ours-s2d-222", "mDCSRN, space-to-depth 2x2x2", mdcsrn(space_to_depth=[2, 2, 2]), ours=True),
        Contestant(
            "universal", "mDCSRN universal, space-to-depth 2x2x2", mdcsrn(space_to_depth=[2, 2, 2]), ours=True,
            universal=True, parent="ours-s2d-222",
        ),
        # Adam moves all weights of the last convolution alike: 4,000 and 23,328 of them (ours: 416) are far too fast.
        Contestant("srcnn", "SRCNN-3D 9-1-5, 64-32", peer("SRCNN3D"), knobs={"last_rate": 0.01}),
        Contestant("srresnet", "SRResNet-3D 8x32", peer("SRResNet3D"), knobs={"last_rate": 0.003}),
        Contestant("edsr", "EDSR-3D 16x32", peer("EDSR3D")),
        # No normalisation, and weights that start at a tenth of the usual: it diverges at 1e-3. Last layer as all.
        Contestant(
            "rrdbnet", "RRDBNet-3D 2x24, growth 12", peer("RRDBNet3D"),
            knobs={"voxel_rate": 3.0e-4, "last_rate": 0.3},
        ),
        Contestant("unet", "MONAI UNet 64-128-256-512", peer("MonaiUNet")),
        # In bfloat16 the gradient of its innermost convolutions, on 2x2x2 voxels, is infinite after a few steps. Its
        # attention sees far, so a validation tile is half a head.
        Contestant(
            "swinunetr", "MONAI SwinUNETR 24", peer("MonaiSwinUNETR"),
            knobs={"precision": "float32", "max_memory": 7.0},
        ),
    )
}  # fmt: skip


def planned_steps(contestant: Contestant, scale: float = 1.0) -> int:
    """Generator steps with the voxel loss: the rule of this module's first lines."""
    if "voxel_steps" in contestant.knobs:
        return int(contestant.knobs["voxel_steps"])
    if contestant.universal:
        return max(1, round(scale * read_mapping(BUNDLE / UNIVERSAL)["voxel_steps"]))
    heavier = flops_per_voxel(build_network(contestant.network)) / flops_per_voxel(MDCSRN())
    return max(1, round(scale * STEPS / (heavier if heavier > HEAVY else 1.0)))


def overlay(
    contestant: Contestant, folder: Path, scale: float = 1.0, knobs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What is laid over the two config files for a contestant.

    Args:
        contestant: who.
        folder: of all training runs; the parent's weights lie there.
        scale: of the steps.
        knobs: of the config, last of all.

    Returns:
        Plain values.
    """
    module = "mdcsrn.networks" if contestant.network["name"] == "MDCSRN" else "peers"
    definition = {"_target_": f"{module}.{contestant.network['name']}", **contestant.network["arguments"]}
    values: dict[str, Any] = {"network_def": definition, "critic_warmup": 0, "adversarial_steps": 0, **SHARED}
    for name, value in contestant.knobs.items():
        values[name] = max(1, round(scale * value)) if name in ("critic_warmup", "adversarial_steps") else value
    values["voxel_steps"] = planned_steps(contestant, scale)
    if contestant.parent:
        values["start"] = str(folder / contestant.parent / WEIGHTS)
    schedule = Schedule(**{f.name: values[f.name] for f in fields(Schedule) if f.name in values})
    values["epoch_length"] = max(math.ceil(schedule.total_steps / VALIDATIONS), min(schedule.total_steps, VALIDATIONS))
    return {**values, **(knobs or {})}


def train(
    contestant: Contestant, datalist: Path, folder: Path, scale: float = 1.0, knobs: Mapping[str, Any] | None = None
) -> Path:
    """Train a contestant, or go on where its last checkpoint stands, or do nothing where it is trained already.

    Args:
        contestant: who.
        datalist: JSON.
        folder: of all training runs; this one's is `folder` / its name.
        scale: of the steps.
        knobs: see :func:`overlay`.

    Returns:
        Its weights.

    Raises:
        ConfigError: the folder holds a run with other settings, or the parent is not trained.
        SystemExit: the training failed.
    """
    output = folder / contestant.name
    wanted = json.dumps(overlay(contestant, folder, scale, knobs), indent=2) + "\n"
    record = output / OVERLAY
    if record.is_file() and record.read_text() != wanted:
        raise ConfigError(f"{output} holds a run with other settings", remedy="remove it, or give another --output")
    if contestant.parent and not (folder / contestant.parent / DONE).is_file():
        raise ConfigError(f"{contestant.name} starts from {contestant.parent}, which is not trained", remedy="train it")
    if (output / DONE).is_file():
        return output / WEIGHTS
    atomic_write_text(record, wanted)
    files = ",".join(f"'{name}'" for name in (*contestant.configs, record))
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]"]
    command += ["--datalist", str(datalist), "--output_dir", str(output)]
    path = os.pathsep.join(filter(None, (str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, cwd=BUNDLE, env={**allocator_environment(), "PYTHONPATH": path}, check=False)
    if done.returncode:
        raise SystemExit(f"error: the training of {contestant.name} ended with exit code {done.returncode}")
    voxels = seen_voxels(contestant, json.loads(wanted))
    if contestant.parent:
        voxels += json.loads((folder / contestant.parent / DONE).read_text())["voxels"]
    atomic_write_text(output / DONE, json.dumps({"voxels": voxels}) + "\n")
    return output / WEIGHTS


def seen_voxels(contestant: Contestant, values: Mapping[str, Any]) -> int:
    """Voxels that a run's generator learns from: updates x patches x voxels of a patch; its parent's not counted."""
    knobs: dict[str, Any] = {}
    for name in contestant.configs:
        knobs |= read_mapping(BUNDLE / name)
    knobs |= values
    updates = knobs["voxel_steps"] + knobs["adversarial_steps"]
    return int(updates * knobs["batch_size"] * knobs["patch_size"] ** 3)
