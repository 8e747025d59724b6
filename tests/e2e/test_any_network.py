"""A network that nothing in the package knows: trained, evaluated, run over volumes, verified, exported, offered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
TOY = Path(__file__).with_name("toy_network.py")
TRAINING = {
    "patch_size": 16, "batch_size": 2, "patches_per_volume": 4, "volumes_per_group": 2, "voxel_steps": 6,
    "adversarial_steps": 0, "critic_warmup": 0, "epoch_length": 3, "checkpoint_every": 3, "max_memory": 1.0,
    "num_workers": 0, "precision": "float32",
}  # fmt: skip


def run(module: str, *words: object, cwd: Path = BUNDLE, code: int = 0) -> subprocess.CompletedProcess[str]:
    """``python -m module words`` where the toy networks are in the catalogue."""
    command = [sys.executable, str(TOY), module, *map(str, words)]
    paths = os.pathsep.join([str(ROOT), str(TOY.parent)])
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def options(knobs: dict[str, object]) -> list[str]:
    return [word for key, value in knobs.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_head: Callable, save: Callable) -> Path:
    folder = tmp_path_factory.mktemp("study")
    content: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for number, section in enumerate(("training", "training", "validation", "test")):
        name = f"sub-{number}.nii.gz"
        save(make_head((32, 34 + number, 36), seed=number), folder / name)
        content[section].append({"image": name, "subject": f"sub-{number}"})
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def weights(study: Path) -> Path:
    """Trained by the bundle's own configuration."""
    knobs = TRAINING | {"datalist": study / "datalist.json", "output_dir": study / "run"}
    definition = {"network_def": "{'_target_': 'toy_network.Toy', 'width': 4}"}
    run("monai.bundle", "run", "training", "--config_file", "configs/train.yaml", *options(knobs | definition))
    return study / "run" / "model.pt"


def test_evaluated(study: Path, weights: Path) -> None:
    knobs = {"checkpoint": weights, "datalist": study / "datalist.json", "output_dir": study / "evaluation"}
    run("monai.bundle", "run", "evaluating", "--config_file", "configs/evaluate.yaml", *options(knobs))
    assert ",head,SR," in (study / "evaluation" / "per_subject.csv").read_text()


def test_predicted_and_verified(study: Path, weights: Path, tmp_path: Path) -> None:
    scan, output = study / "sub-3.nii.gz", tmp_path / "out.nii.gz"
    run("mdcsrn", "predict", scan, "-o", output, "--factor", 1, 1, 2, "--model", weights, "--uncertainty")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["inference"]["weights"]["architecture"] == {"width": 4}
    assert record["inference"]["backend"] == "eager"
    run("mdcsrn", "verify", output, "--input", scan)
    planned = run("mdcsrn", "predict", scan, "-o", output, "--factor", 1, 1, 2, "--model", weights, "--dry-run")
    assert "GiB" in planned.stdout
    # Tiles of a small memory give what one tile gives.
    again = tmp_path / "again.nii.gz"
    words = ("--factor", 1, 1, 2, "--model", weights, "--uncertainty", "--precision", "float32")
    run("mdcsrn", "predict", scan, "-o", again, *words)
    found = [np.asarray(nib.load(path).dataobj) for path in (output, again)]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-2 * np.abs(found[1]).max())


def test_run_for_inference(study: Path, weights: Path, tmp_path: Path) -> None:
    knobs = {"checkpoint": weights, "input": study / "sub-3.nii.gz", "output_dir": tmp_path}
    run("monai.bundle", "run", "run", "--config_file", "configs/inference.yaml", *options(knobs))
    (result,) = tmp_path.rglob("*.nii.gz")
    assert nib.load(result).shape == nib.load(study / "sub-3.nii.gz").shape


def test_fine_tuned(study: Path, weights: Path, tmp_path: Path) -> None:
    knobs = TRAINING | {"start": weights, "datalist": study / "datalist.json", "output_dir": tmp_path}
    files = "['configs/train.yaml', 'configs/finetune.yaml']"
    run("monai.bundle", "run", "training", "--config_file", files, *options(knobs))
    old, new = (torch.load(path, weights_only=True) for path in (weights, tmp_path / "model.pt"))
    assert old.keys() == new.keys()
    assert not torch.equal(old["first.weight"], new["first.weight"])


@pytest.mark.parametrize(
    ("form", "suffix"), [("torchscript", "ts"), ("pt2", "pt2"), ("onnx", "onnx"), ("openvino", "xml")]
)
def test_exported(study: Path, weights: Path, tmp_path: Path, form: str, suffix: str) -> None:
    output = tmp_path / f"toy.{suffix}"
    words = ("--model", weights, "--format", form, "-o", output, "--volume", study / "sub-3.nii.gz")
    run("mdcsrn", "bundle", "export", "mdcsrn_wgan_gp", *words)
    record = json.loads(Path(f"{output}.json").read_text())
    assert record["check"]["relative_error"] <= 1e-5
    assert record["architecture"] == {"width": 4}


def test_a_network_of_the_acquired_planes(study: Path, tmp_path: Path) -> None:
    """Doubles two axes from the acquired matrix; the affine and consistency are those of the plan."""
    weights = tmp_path / "doubling.pt"
    make = "import toy_network as t; from mdcsrn.networks import save_weights; save_weights(r'{}', t.Doubling())"
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TOY.parent)])}
    subprocess.run([sys.executable, "-c", make.format(weights)], env=variables, check=True)
    scan, output = study / "sub-3.nii.gz", tmp_path / "out.nii.gz"
    run("mdcsrn", "predict", scan, "-o", output, "--factor", 1, 2, 2, "--model", weights)
    before, after = nib.load(scan), nib.load(output)
    assert after.shape == (before.shape[0], 2 * before.shape[1], 2 * before.shape[2])
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["certificate"]["after_rounding"]["relative_error"] <= 1e-5
    run("mdcsrn", "verify", output, "--input", scan)
    refused = run(
        "mdcsrn", "predict", scan, "-o", tmp_path / "no.nii.gz", "--factor", 1, 1, 2, "--model", weights, code=3
    )
    assert "refines the acquired matrix by (1, 2, 2)" in refused.stderr
    assert "--factor 1 2 2" in refused.stderr


def test_a_critic_restores_nothing(study: Path, tmp_path: Path) -> None:
    from mdcsrn.networks import Critic, save_weights

    save_weights(tmp_path / "critic.pt", Critic("light"))
    words = ("-o", tmp_path / "x.nii.gz", "--factor", 1, 1, 2, "--model", tmp_path / "critic.pt")
    done = run("mdcsrn", "predict", study / "sub-3.nii.gz", *words, code=5)
    assert "holds no generator" in done.stderr
