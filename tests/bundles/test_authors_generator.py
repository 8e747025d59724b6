"""The cycle bundle trains the generator of its method's authors, and what it leaves predicts and is evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from mdcsrn.inference import RunSettings, Task, predict
from mdcsrn.io.volume import Volume
from mdcsrn.networks import SRResDNet, load_weights

HOME = Path(__file__).resolve().parents[2] / "bundles" / "srrescycgan_fastmri"
KNOBS: dict[str, Any] = {
    "network_def": {"_target_": "mdcsrn.networks.SRResDNet", "scale": 4, "width": 8, "blocks": 1},
    "back#width": 4, "back#blocks": 1, "critic_hr#width": 2, "critic_lr#width": 2, "critic_layers": 5,
    "patch_size": 80, "batch_size": 1, "patches_per_volume": 1, "volumes_per_group": 1, "num_workers": 0,
    "perceptual_weight": 0, "voxel_steps": 1, "cycle_steps": 1, "epoch_length": 2, "precision": "float32",
}  # fmt: skip


@pytest.fixture
def planes(tmp_path: Path) -> Path:
    """A datalist of three volumes of planes, one in each section."""
    random, sections = np.random.default_rng(0), {}
    for number, section in enumerate(("training", "validation", "test")):
        file = f"sub-{number}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(random.random((3, 88, 84), dtype=np.float32), np.eye(4)), tmp_path / file)
        sections[section] = [{"image": file, "subject": f"sub-{number}"}]
    (tmp_path / "datalist.json").write_text(json.dumps(sections))
    return tmp_path / "datalist.json"


def run(config: str, kind: str, action: str, **knobs: Any) -> ConfigWorkflow:
    workflow = ConfigWorkflow([f"configs/{config}.yaml"], kind, run_id=action, logging_file=False, **knobs)
    workflow.initialize()
    workflow.run()
    return workflow


def test_it_trains_predicts_and_is_evaluated(planes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    trained = run("train", "train", "training", **KNOBS, datalist=str(planes), output_dir=str(tmp_path / "out"))
    output = trained.parser.get_parsed_content("train#trainer").state.output
    assert {"cycle_loss", "adversarial_hr_loss", "adversarial_lr_loss"} <= output.keys(), "the last step is adversarial"
    weights = tmp_path / "out" / "model.pt"
    network = load_weights(weights)
    assert isinstance(network, SRResDNet)
    assert (network.scale, network.width, network.blocks) == (4, 8, 1)
    tail = [value.detach() for name, value in network.named_parameters() if "tail" in name]
    assert max(float(value.abs().max()) for value in tail) > 0, "the last convolution starts at zero, and has moved"

    random = np.random.default_rng(1)
    scan = Volume(random.random((2, 11, 12), dtype=np.float32) + 1, np.diag([2.0, 4.0, 4.0, 1.0]))
    settings = RunSettings(maps=False, precision="float32")
    found = predict(scan, Task("factor", factor=(1, 4, 4)), settings, model=weights).volume
    assert found.shape == (2, 44, 48)
    np.testing.assert_allclose(np.diag(found.affine)[:3], [2, 1, 1])
    assert found.array.mean() == pytest.approx(scan.array.mean(), rel=1e-4)  # consistency keeps it

    given = {"checkpoint": str(weights), "datalist": str(planes), "precision": "float32"}
    run("evaluate", "eval", "evaluating", **given, output_dir=str(tmp_path / "eval"))
    rows = (tmp_path / "eval" / "per_subject.csv").read_text()
    assert all(word in rows for word in ("sub-2", "zero-filled", "nearest"))
