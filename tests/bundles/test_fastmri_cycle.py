"""The cycle bundle on real .h5 files: `mdcsrn data fastmri` makes the list, and four networks are trained from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from monai.bundle import ConfigWorkflow

from mdcsrn.cli.main import main

HOME = Path(__file__).resolve().parents[2] / "bundles" / "srrescycgan_fastmri"
FILES = ("knee_larson_coronal_fatsat.h5", "hku-6A-0055T_T2w.h5", "hku-6B-0055T_T2w.h5", "hku-7A-0055T_T2w.h5")
KNOBS = {
    "network_def#width": 4, "network_def#blocks": 1, "back#width": 4, "back#blocks": 1, "critic_hr#width": 2,
    "critic_lr#width": 2, "critic_layers": 5, "patch_size": 48, "batch_size": 2, "patches_per_volume": 2,
    "volumes_per_group": 1, "num_workers": 0, "perceptual_weight": 0, "voxel_steps": 0, "cycle_steps": 2,
    "epoch_length": 2, "precision": "float32",
}  # fmt: skip
LOSSES = {"adversarial_hr_loss", "adversarial_lr_loss", "total_variation_loss", "voxel_loss", "cycle_loss"}


@pytest.mark.long
def test_files_become_a_list_and_the_list_trains(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("h5py")
    source, folder = shared_data.parent / "data_more" / "kspace", tmp_path / "h5"
    if not all((source / file).is_file() for file in FILES):
        pytest.skip(f"no .h5 files at {source}")
    folder.mkdir()
    for file in FILES:
        (folder / file).symlink_to(source / file)
    words = ["data", "fastmri", str(folder), "-o", str(tmp_path / "list"), "--split", "0.4", "0.3", "0.3"]
    done = CliRunner().invoke(main, [*words, "--subject-pattern", "(hku-..|knee)"])
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(HOME)
    given = {**KNOBS, "datalist": str(tmp_path / "list" / "datalist.json"), "output_dir": str(tmp_path / "out")}
    workflow = ConfigWorkflow(["configs/train.yaml"], "train", run_id="training", logging_file=False, **given)
    workflow.initialize()
    workflow.run()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert trainer.state.output.keys() >= LOSSES
    assert "perceptual_loss" not in trainer.state.output
    assert workflow.parser.get_parsed_content("validate#evaluator").state.metrics["psnr"] > 15
