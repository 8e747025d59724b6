"""Fine-tuning as a user does it: a folder, a datalist, training from a shipped model, a prediction with the result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from monai.bundle import ConfigParser

from mdcsrn.cli.main import main
from mdcsrn.files import sha256
from mdcsrn.networks import load_weights, save_weights
from mdcsrn.networks.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
FILES = ["configs/train.yaml", "configs/finetune.yaml"]
SHIPPED = BUNDLE / "models" / "model.pt"
FEW = {
    "voxel_steps": 6, "epoch_length": 3, "checkpoint_every": 3, "log_every": 1, "num_workers": 0, "patch_size": 16,
    "batch_size": 2, "patches_per_volume": 2, "volumes_per_group": 1, "precision": "float32", "rate_warmup": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_head: Callable, save: Callable) -> Path:
    """Five people in a folder, and the datalist that ``mdcsrn data folder`` makes of it."""
    home = tmp_path_factory.mktemp("study")
    for number in range(5):
        save(make_head((40, 42, 38), number), home / "scans" / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii.gz")
    options = ["-o", str(home / "datalist.json"), "--split", "0.6", "0.2", "0.2", "--no-check-band"]
    done = CliRunner().invoke(main, ["data", "folder", str(home / "scans"), *options])
    assert done.exit_code == 0, done.output
    return home


def training(**knobs: Any) -> list[str]:
    return ["run", "training", "--config_file", str(FILES), *[f"--{key}={value}" for key, value in knobs.items()]]


def losses(text: str) -> list[float]:
    """Of each step, in order, as the log gives them."""
    return [float(value) for value in re.findall(r"Iter: \d+/\d+ -- loss: ([\d.]+)", text)]


def first_loss(knobs: dict[str, Any], start: Path) -> tuple[float, float]:
    """L1 of the first batch: of the weights that training starts from, and of the input itself."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / name) for name in FILES])
    parser.update({**knobs, "bundle_root": str(BUNDLE), "start": str(start), "device": "$torch.device('cpu')"})
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    network = load_weights(start).train()  # statistics are those of the batch, as in training
    with torch.no_grad():
        restored = network(batch["image"])
    return (
        float(np.abs(restored.numpy() - batch["label"].numpy()).mean()),
        float(np.abs(batch["image"].numpy() - batch["label"].numpy()).mean()),
    )


def test_from_the_shipped_model_to_a_prediction(
    study: Path, run_bundle: Callable, numpy_low_pass: Callable, make_head: Callable, save: Callable, tmp_path: Path
) -> None:
    knobs = {**FEW, "datalist": study / "datalist.json", "output_dir": tmp_path / "out"}
    done = run_bundle(*training(**knobs))
    assert done.code == 0, done.err[-3000:]

    found = losses(done.out + done.err)
    expected, untouched = first_loss({key: str(v) if isinstance(v, Path) else v for key, v in knobs.items()}, SHIPPED)
    assert len(found) == FEW["voxel_steps"]
    assert abs(found[0] - expected) <= 1e-4, "the log has four digits"
    assert abs(untouched - expected) > 1e-3, "a network that starts from nothing would show"

    tuned, shipped = load_weights(tmp_path / "out" / "model.pt"), load_weights(SHIPPED)
    assert tuned.architecture == shipped.architecture
    for (name, new), old in zip(tuned.named_parameters(), shipped.parameters(), strict=True):
        change = float((new - old).detach().norm() / old.detach().norm())
        assert 0 < change < 0.2, name
    facts = read_weights(tmp_path / "out" / "model.pt").facts
    assert facts["start"] == sha256(SHIPPED)
    assert facts["step"] == FEW["voxel_steps"]

    scan = save(numpy_low_pass(make_head((32, 40, 36), 9), (1, 2, 2)), tmp_path / "new_T1w.nii.gz")
    options = ["--model", str(tmp_path / "out" / "model.pt"), "--backend", "eager", "--precision", "float32"]
    predicted = CliRunner().invoke(main, ["predict", str(scan), "-o", str(tmp_path / "sr.nii.gz"), *options])
    assert predicted.exit_code == 0, predicted.output
    record = json.loads((tmp_path / "sr.json").read_text())
    assert record["weights_sha256"] == sha256(tmp_path / "out" / "model.pt")
    assert not np.array_equal(nib.load(tmp_path / "sr.nii.gz").get_fdata(), nib.load(scan).get_fdata())


@pytest.mark.parametrize("kind", ["missing", "damaged", "another network", "a network that is stated"])
def test_a_start_that_cannot_be_is_named(
    kind: str, study: Path, run_bundle: Callable, weights: Path, tmp_path: Path
) -> None:
    start, more = tmp_path / "start.pt", {}
    if kind == "damaged":
        start.write_bytes(weights.read_bytes()[:1000])
    elif kind == "another network":  # of train.yaml alone, whose network is stated
        save_weights(start, load_weights(weights))
    elif kind == "a network that is stated":
        save_weights(start, load_weights(weights))
        more = {"network_def#growth": 8}
    files = FILES[:1] if kind == "another network" else FILES
    given = {**FEW, "datalist": study / "datalist.json", "output_dir": tmp_path / "out", "start": start, **more}
    command = training(**given)
    command[3] = str(files)
    done = run_bundle(*command)
    assert done.code not in (0, -14)
    assert done.last_line.startswith("error: "), done.err[-2000:]
    assert str(start) in done.last_line
    if "network" in kind:
        assert "belongs to another network" in done.last_line
        assert "growth" in done.last_line
    assert not list((tmp_path / "out").rglob("*.pt"))
