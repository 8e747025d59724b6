"""``mdcsrn benchmark`` as a user runs it, and the figures it rests on against independent counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mdcsrn.benchmark.measure import (
    Job,
    flops_per_voxel,
    measure_apart,
    synthetic_head,
    watch,
    windows_of,
)
from mdcsrn.cli.main import main
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.networks import MDCSRN, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = MDCSRN(2, 2, 4)
    torch.nn.init.normal_(network.recon.weight, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_weights(path, network)
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mdcsrn", "benchmark", "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_json_names_machine_rows_and_what_is_absent(weights: Path) -> None:
    done = run("--size", 16, 20, 18, "--model", weights, "--backends", "eager,cuda", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["shape"] == [16, 20, 18]
    assert report["threads"] == 1
    assert all(value > 0 for peak in report["peak_gflops"].values() for value in peak.values())
    rows = {(row["backend"], row["precision"]): row for row in report["rows"]}
    assert list(rows)[:2] == [("baseline", "float32"), ("eager", "float32")]
    for key, row in rows.items():
        assert "error" not in row, row
        assert row["seconds"] > 0
        assert row["peak_gib"] is None or 0.1 < row["peak_gib"] < 8  # torch alone takes more than 0.1
        assert row["faster"] == pytest.approx(report["rows"][0]["seconds"] / row["seconds"])
        if key not in (("baseline", "float32"), ("eager", "float32")):
            assert 30 < row["psnr_db"] < 120
    if not torch.cuda.is_available():
        assert "CUDA" in report["absent"]["cuda"]


@pytest.mark.long
def test_table_of_a_scan(weights: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).gamma(2.0, 100.0, (12, 30, 30)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii.gz")
    done = run(tmp_path / "scan.nii.gz", "--size", 16, 16, 16, "--model", weights, "--backends", "cuda")
    assert done.returncode == 0, done.stderr
    assert "scan.nii.gz, 12 x 16 x 16" in done.stdout  # the middle of what is there
    assert "eager float32" in done.stdout  # the reference, even where it was not asked for
    assert "MONAI sliding window" in done.stdout
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--backends", "eager,tensorrt"), 4),
        (("--bundle", "none_such"), 4),
        (("missing.nii.gz",), 3),
        (("--size", "4", "4", "4"), 2),
    ],
)
def test_bad_settings_end_with_a_line(arguments: tuple[str, ...], code: int) -> None:
    done = CliRunner().invoke(main, ["benchmark", *arguments])
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)  # one line, and no traceback


def test_operations_of_a_voxel() -> None:
    assert flops_per_voxel(MDCSRN()) == 819_712  # DESIGN 8: 409,856 multiply-adds
    folded = MDCSRN(space_to_depth=(1, 2, 2))
    # Multiply-adds counted by hand: the same blocks on a quarter of the cells, four channels in and out.
    assert flops_per_voxel(folded) == 2 * (409_856 + 3 * 864 + 3 * 416) / 4


def test_windows_are_monais() -> None:
    from monai.data.utils import dense_patch_slices

    for shape in ((256, 320, 320), (64, 96, 96), (10, 65, 112), (64, 64, 113)):
        padded = [max(size, 64) for size in shape]
        assert windows_of(shape) == len(dense_patch_slices(padded, (64, 64, 64), (48, 48, 48)))
    assert windows_of((256, 320, 320)) == 245


def test_the_most_memory_of_another_process() -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak is read from /proc")
    code = "import time; block = bytearray(300 * 2**20); time.sleep(0.3); del block; time.sleep(0.3); print('done')"
    done = watch([sys.executable, "-c", code])
    assert done["code"] == 0
    assert done["stdout"] == "done\n"
    assert 0.29 < done["peak_gib"] < 0.4  # what was given back counts too
    assert done["wall_s"] >= 0.6


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    facts = measure_apart(Job("engine", str(tmp_path / "none.npy"), str(tmp_path / "none.pt"), 1, "eager", "float32"))
    assert list(facts) == ["error"]
    assert "none.pt" in facts["error"]


def test_engine_and_whole_baseline_agree(weights: Path, tmp_path: Path) -> None:
    """The baseline blends windows; on a volume of one window it is the network itself."""
    volume = synthetic_head((64, 64, 64))
    np.save(tmp_path / "volume.npy", volume.numpy())
    results = []
    for kind in ("baseline", "engine"):
        target = tmp_path / f"{kind}.npy"
        job = Job(kind, str(tmp_path / "volume.npy"), str(weights), 1, "eager", "float32", result=str(target))
        assert "error" not in measure_apart(job)
        results.append(np.load(target))
    assert np.abs(results[0] - results[1]).max() <= 1e-4 * np.abs(results[0]).max()
    assert np.abs(results[0] - volume.numpy()).max() > 1e-3  # the network did something


def test_synthetic_head_is_a_head() -> None:
    head = synthetic_head((48, 64, 64))
    assert torch.equal(head, synthetic_head((48, 64, 64)))
    assert float(np.percentile(head.numpy(), 99.9)) == pytest.approx(1, abs=1e-4)
    spectrum = np.abs(np.fft.fftn(head.numpy().astype(np.float64)))
    assert spectrum[:, 16:48].max() < 1e-4 * spectrum.max()  # half of the band of the last two axes is empty
    assert 0.2 < float(head_region(head).float().mean()) < 0.75


@pytest.mark.long
def test_the_table_of_the_page_row_by_row(weights: Path, tmp_path: Path) -> None:
    """On a small synthetic head: rows are kept, and the second run measures nothing."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "inference.py"
    command = [sys.executable, str(script), "--size", "16", "24", "28", "--threads", "1", "--weights", str(weights)]
    command += ["--scan", str(tmp_path / "none.nii.gz"), "--runs", str(tmp_path), "--windows", "1"]
    command += ["--rows", "peak", "baseline", "head only", "exact slabs", "predict"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "failed" not in first.stderr, first.stderr
    for row in ("baseline", "head only", "exact slabs", "predict"):
        assert f"| {row} |" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout == first.stdout
    assert second.stderr == ""
