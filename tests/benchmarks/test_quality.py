"""The whole benchmark as a user runs it, on volumes and steps so few that it proves the chain and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from study import select

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["2x2 (1,2,2)", "5x5 (1,5,5)"]
LIGHT = ["--steps-scale", "0.0003", "--knob", "patch_size=16", "batch_size=2", "volumes_per_group=1", "num_workers=0",
         "patches_per_volume=2", "precision=float32"]  # fmt: skip


def quality(datalist: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "quality.py"), "--datalist", str(datalist)]
    command += ["--output", str(output), "--no-shipped", "--backend", "eager", "--settings", *SETTINGS, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def tables_of(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in ("quality.md", "per_subject.csv", "quality.json")}


def test_trains_a_peer_judges_and_measures_nothing_twice(tiny_cohort: Path, tmp_path: Path) -> None:
    text = good(quality(tiny_cohort, tmp_path, "--train", "--only", "srcnn", *LIGHT))
    assert (tmp_path / "train" / "srcnn" / "model.pt").is_file()
    assert json.loads((tmp_path / "train" / "srcnn" / "trained.json").read_text()) == {"voxels": 2 * 2 * 16**3}
    assert "aa-04, 2x2 (1,2,2), SRCNN-3D 9-1-5, 64-32:" in text
    markdown = (tmp_path / "quality.md").read_text()
    for phrase in (
        "### 2x2 (1,2,2), head, n = 3", "### 5x5 (1,5,5), volume, n = 3", "| Lanczos |", "52,801 | 105,408",
        "SRCNN-3D 9-1-5, 64-32, without consistency", "earlier code, 5x5", "here: zero-filled, 5x5 (1,5,5)",
        "### Validation PSNR in the course", "| SRCNN-3D 9-1-5, 64-32 | 2 | 2",
    ):  # fmt: skip
        assert phrase in markdown, phrase
    content = json.loads((tmp_path / "quality.json").read_text())
    assert {row["setting"] for row in content["rows"] if row["method"] == "srcnn"} == {SETTINGS[0]}, "a 2x2 specialist"
    card = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "card.py"), str(tmp_path / "quality.json")]
    printed = subprocess.run(card, capture_output=True, text=True, check=True).stdout
    judged = select(content["rows"], method="srcnn", setting=SETTINGS[0], variant="", region="head")
    gain = np.mean([row["gain"] for row in judged])
    assert f"| SRCNN-3D 9-1-5, 64-32 |  | {gain:+.2f} |" in printed
    assert "| 5x5 (1,5,5) | cubic B-spline |" in printed
    first = tables_of(tmp_path)
    again = good(quality(tiny_cohort, tmp_path))
    assert " dB\n" not in again.split("Machine:")[0], "nothing was measured"
    assert tables_of(tmp_path) == first


def test_a_run_with_other_settings_and_an_orphan_are_refused(tiny_cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train" / "ours"
    folder.mkdir(parents=True)
    (folder / "contestant.json").write_text("{}")
    done = quality(tiny_cohort, tmp_path, "--train", "--only", "ours")
    assert done.returncode == 1
    assert "other settings" in done.stderr
    done = quality(tiny_cohort, tmp_path, "--train", "--only", "ours-gan")
    assert done.returncode == 1
    assert "starts from ours, which is not trained" in done.stderr


@pytest.mark.long
def test_every_contestant_trains_and_is_judged(tiny_cohort: Path, tmp_path: Path) -> None:
    pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    good(quality(tiny_cohort, tmp_path, "--train", *LIGHT, "--subjects", "1"))
    markdown = (tmp_path / "quality.md").read_text()
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from contestants import CONTESTANTS

    for contestant in CONTESTANTS.values():
        assert f"| {contestant.title} |" in markdown
    assert "- mDCSRN, residual, WGAN-GP against the best other" in markdown
