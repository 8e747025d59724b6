"""A bundle of a 2D network end to end: scans plane by plane, a DICOM series, and pictures as their user has them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import skimage.io
import torch
from click.testing import CliRunner
from PIL import Image

from mdcsrn.cli.main import main
from mdcsrn.networks import EDSR, publish_weights, save_weights

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "edsr_x2"
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.1) @ np.diag([0.9, -1.1, 1.3]), [20.0, -12.0, -7.0]
)
KNOBS = {
    "network_def#width": 8, "network_def#blocks": 2, "patch_size": 32, "batch_size": 2, "patches_per_volume": 4,
    "volumes_per_group": 2, "voxel_steps": 24, "epoch_length": 12, "checkpoint_every": 12, "max_memory": 1.0,
    "num_workers": 0, "precision": "float32",
}  # fmt: skip


def bundle_run(*words: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle run`` in the shipped bundle's folder."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *map(str, words)], cwd=BUNDLE,
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def done(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output[-3000:]
    return result.stdout


def publish(home: Path, **arguments: int) -> Path:
    """The shipped bundle with small random weights."""
    shutil.copytree(BUNDLE, home, ignore=shutil.ignore_patterns("models", "runs"))
    torch.manual_seed(0)
    save_weights(home.parent / "trained.pt", EDSR(width=8, blocks=2, **arguments))
    publish_weights(home.parent / "trained.pt", home / "models", "model")
    return home


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("bundles") / "planes")


def zero_filled_by_numpy(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Onto a finer grid in k-space; the mean is kept, and the unpaired sample of an even axis is not used."""
    spectrum = np.fft.fftn(array.astype(np.float64)) * np.prod(shape) / array.size
    whole = np.zeros(shape, complex)
    kept = [np.flatnonzero(np.abs(np.rint(np.fft.fftfreq(n, 1 / n))) < n / 2) for n in array.shape]
    new = [np.where(k <= n // 2, k, k + m - n) for k, n, m in zip(kept, array.shape, shape, strict=True)]
    whole[np.ix_(*new)] = spectrum[np.ix_(*kept)]
    return np.fft.ifftn(whole).real


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_a_scan_plane_by_plane_along_any_axis(
    bundle: Path, make_head: Callable, save: Callable, tmp_path: Path, factor: tuple[int, int, int]
) -> None:
    scan = save(make_head((21, 34, 28)), tmp_path / "scan.nii.gz", OBLIQUE)
    words = ("predict", scan, "-o", tmp_path / "sr.nii.gz", "--factor", *factor, "--bundle", bundle)
    done(*words, "--report", tmp_path / "page.html")
    before, after = nib.load(scan), nib.load(tmp_path / "sr.nii.gz")
    assert after.shape == tuple(n * f for n, f in zip(before.shape, factor, strict=True))
    # New sample j lies at old index (j - m // 2) n / m + n // 2: a refined odd axis starts half an old voxel aside.
    shift = [n // 2 - (f * n // 2) / f for n, f in zip(before.shape, factor, strict=True)]
    expected = before.affine @ nib.affines.from_matvec(np.diag(1 / np.array(factor)), shift)
    np.testing.assert_allclose(after.affine, expected, atol=1e-4)
    values = after.get_fdata()
    assert np.abs(values - zero_filled_by_numpy(before.get_fdata(), after.shape)).max() > 1, "the network has a say"
    record = json.loads((tmp_path / "sr.json").read_text())
    assert record["inference"]["weights"]["bundle"] == "planes"
    assert record["certificate"]["after_rounding"]["relative_error"] < 1e-5
    # What was measured, by NumPy: all frequencies of the scan but the unpaired ones.
    ours, measured = np.fft.fftn(values) / values.size, np.fft.fftn(before.get_fdata()) / before.get_fdata().size
    low = [np.rint(np.fft.fftfreq(n, 1 / n)).astype(int) for n in before.shape]
    kept = [k[np.abs(k) < n / 2] for k, n in zip(low, before.shape, strict=True)]
    turn = np.ones((1, 1, 1), complex)
    for axis, (k, by) in enumerate(zip(kept, shift, strict=True)):
        turn = turn * np.exp(2j * np.pi * k * by / before.shape[axis]).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
    difference = ours[np.ix_(*kept)] - measured[np.ix_(*kept)] * turn
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(measured)
    assert "WRONG" not in done("verify", tmp_path / "sr.nii.gz")
    assert "What was measured is kept" in (tmp_path / "page.html").read_text()
    assert "done before" in done(*words, "--report", tmp_path / "page.html", "--resume")


def test_a_dicom_series_plane_by_plane(bundle: Path, shared_data: Path, tmp_path: Path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    with zipfile.ZipFile(shared_data / "dicom" / "philips_classic_mprage3d.zip") as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        slices = [pydicom.dcmread(io.BytesIO(archive.read(name)), force=True) for name in members]
    slices = sorted((s for s in slices if "PixelData" in s), key=lambda s: int(s.InstanceNumber))
    for number, dataset in enumerate(slices[len(slices) // 2 :][:4]):
        dataset.save_as(series / f"{number}.dcm")
    words = ("predict", series, "-o", tmp_path / "sr.nii.gz", "--bundle", bundle, "--dicom-out", tmp_path / "derived")
    done(*words)
    rows, columns = slices[0].Rows, slices[0].Columns
    assert sorted(nib.load(tmp_path / "sr.nii.gz").shape) == sorted((4, 2 * rows, 2 * columns))
    derived = [pydicom.dcmread(path) for path in sorted((tmp_path / "derived").iterdir())]
    assert {(d.Rows, d.Columns) for d in derived} == {(2 * rows, 2 * columns)}
    np.testing.assert_allclose(
        np.array(derived[0].PixelSpacing, float), np.array(slices[0].PixelSpacing, float) / 2, rtol=1e-4
    )
    assert "WRONG" not in done("verify", tmp_path / "sr.nii.gz", "--input", series)
    assert "done before" in done(*words, "--resume")


@pytest.fixture(scope="module")
def pictures(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real slices in class folders, their middles cut out."""
    images = shared_data.parent / "data_more" / "images" / "hku_3T"
    if not images.is_dir():
        pytest.skip("no folder of real pictures beside the real MRI")
    folder = tmp_path_factory.mktemp("pictures") / "all"
    for path in sorted(images.rglob("*_s[12].png")):
        array = skimage.io.imread(path)
        top, left = (n // 2 - 48 for n in array.shape)
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array[top : top + 96, left : left + 90]).save(target)
    return folder


def test_a_folder_of_pictures(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for kind in ("T1w", "T2w"):
        (source / kind).mkdir(parents=True)
        for path in sorted((pictures / kind).glob("*.png"))[:2]:
            shutil.copy(path, source / kind)
    given = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    words = ("predict", source, "-o", output, "--bundle", bundle)
    planned = json.loads(done(*words, "--dry-run", "--json"))
    assert [entry["status"] for entry in planned] == ["planned"] * 4
    assert not output.exists()
    assert "1 x 96 x 90 voxels of uint8" in done("info", source, "--bundle", bundle)
    done(*words)
    made = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert made == [name.replace(".png", "_sr.png") for name in given]
    assert skimage.io.imread(output / made[0]).shape == (192, 180)
    assert skimage.io.imread(output / made[0]).dtype == np.uint8
    again = json.loads(done(*words, "--resume", "--json"))
    assert [entry["status"] for entry in again] == ["skipped"] * 4
    (output / made[1]).unlink()
    again = json.loads(done(*words, "--resume", "--json"))
    assert sorted(entry["status"] for entry in again) == ["done", *["skipped"] * 3]
    assert "WRONG" not in done("verify", output / made[0], "--input", source / given[0])


@pytest.mark.long
def test_pictures_train_and_are_judged(pictures: Path, tmp_path: Path) -> None:
    done("data", "folder", pictures, "-o", tmp_path / "list.json", "--subject-pattern", r"hku-(\w+)_s")
    knobs = KNOBS | {"datalist": tmp_path / "list.json", "output_dir": tmp_path / "run"}
    words = [word for key, value in knobs.items() for word in (f"--{key}", str(value))]
    trained = bundle_run("training", "--config_file", "configs/train.yaml", *words)
    assert trained.returncode == 0, trained.stderr[-3000:]
    old, new = (torch.load(tmp_path / "run" / name, weights_only=True) for name in ("model_best.pt", "model.pt"))
    assert old.keys() == new.keys()
    knobs = {"datalist": tmp_path / "list.json", "checkpoint": tmp_path / "run" / "model.pt", "output_dir": tmp_path}
    words = [word for key, value in knobs.items() for word in (f"--{key}", str(value))]
    judged = bundle_run("evaluating", "--config_file", "configs/evaluate.yaml", *words)
    assert judged.returncode == 0, judged.stderr[-3000:]
    assert ",head,SR," in (tmp_path / "per_subject.csv").read_text()
    save_weights(tmp_path / "colour.pt", EDSR(width=8, blocks=2, channels=3))
    words[words.index("--checkpoint") + 1] = str(tmp_path / "colour.pt")
    refused = bundle_run("evaluating", "--config_file", "configs/evaluate.yaml", *words)
    assert refused.returncode != 0
    assert "takes other channels than the volumes have" in refused.stderr.splitlines()[-1]
