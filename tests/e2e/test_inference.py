"""`python -m monai.bundle run --config_file configs/inference.yaml`: a user's files in, restored files out."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.engines import save_weights
from mdcsrn.kspace import DegradationSpec, certify
from mdcsrn.networks import MDCSRN
from mdcsrn.processor import has_bfloat16

SHAPE = (23, 30, 27)


OBLIQUE_FLIPPED = np.array(
    [[-0.78, 0.12, 0.31, 91.5], [0.15, 1.06, -0.22, -120.25], [-0.09, 0.2, 1.97, -63.125], [0, 0, 0, 1]]
)


SHEARED_LEFT_HANDED = np.array([[0.7, 0.1, 0, -80], [0, -0.7, 0.05, 40], [0.02, 0, 2.2, 9.5], [0, 0, 0, 1]])


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


@pytest.mark.parametrize("affine", [OBLIQUE_FLIPPED, SHEARED_LEFT_HANDED], ids=["oblique", "left-handed"])
def test_geometry_intensity_and_consistency(
    affine: np.ndarray,
    infer: Callable,
    make_head: Callable,
    numpy_low_pass: Callable,
    save: Callable,
    tmp_path: Path,
    files: Callable,
) -> None:
    measured = numpy_low_pass(make_head(SHAPE), (1, 2, 2))
    source = save(measured, tmp_path / "head.nii.gz", affine)
    done = infer(source)
    assert done.code == 0, done.err
    assert files(tmp_path / "out") == ["head_sr.nii.gz"]
    image = nib.load(tmp_path / "out" / "head_sr.nii.gz")
    assert image.shape == SHAPE
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_slope_inter() in ((1.0, 0.0), (None, None))
    np.testing.assert_allclose(image.affine, nib.load(source).affine, rtol=0, atol=1e-5)
    restored = values(tmp_path / "out" / "head_sr.nii.gz")
    assert np.linalg.norm(restored - measured) > 1e-3 * np.linalg.norm(measured)  # the network did something
    certificate = certify(torch.from_numpy(restored), torch.from_numpy(measured), DegradationSpec(reduction=(1, 2, 2)))
    assert certificate.relative_error <= 1e-5
    np.testing.assert_allclose(restored.mean(), measured.mean(), rtol=1e-5)


def test_the_units_of_the_input_are_those_of_the_output(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    array = make_head(SHAPE)
    save(array, tmp_path / "in" / "a.nii.gz")
    save(1000 * array, tmp_path / "in" / "b.nii")
    save(np.rint(array).astype(np.int16), tmp_path / "in" / "integer.nii.gz")
    done = infer(tmp_path / "in", "--precision=float32")
    assert done.code == 0, done.err
    assert files(tmp_path / "out") == ["a_sr.nii.gz", "b_sr.nii.gz", "integer_sr.nii.gz"]
    a, b, integer = (values(tmp_path / "out" / f"{name}_sr.nii.gz") for name in ("a", "b", "integer"))
    np.testing.assert_allclose(b, 1000 * a, rtol=0, atol=1e-5 * np.abs(b).max())
    np.testing.assert_allclose(integer, a, rtol=0, atol=3)  # half a unit of rounding, sharpened
    assert np.abs(a).max() == pytest.approx(array.max(), rel=0.5)


def test_a_folder_keeps_its_structure(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    for index, name in enumerate(("sub-01/anat/T1w.nii.gz", "sub-02/anat/T1w.nii.gz", "top.nii.gz")):
        save(make_head((16, 14, 12), seed=index), tmp_path / "in" / name)
    done = infer(tmp_path / "in")
    assert done.code == 0, done.err
    expected = ["sub-01/anat/T1w_sr.nii.gz", "sub-02/anat/T1w_sr.nii.gz", "top_sr.nii.gz"]
    assert files(tmp_path / "out") == expected
    for name in expected:
        before = values(tmp_path / "in" / name.replace("_sr", ""))
        after = values(tmp_path / "out" / name)
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_tiles_and_postfix_are_knobs(infer: Callable, make_head: Callable, save: Callable, tmp_path: Path) -> None:
    source = save(make_head((40, 33, 35)), tmp_path / "head.nii.gz")
    whole = infer(source, "--output_postfix=whole", "--precision=float32")
    tiled = infer(source, "--output_postfix=tiled", "--precision=float32", "--max_memory=0.0048")
    assert [whole.code, tiled.code] == [0, 0], whole.err + tiled.err
    a, b = (values(tmp_path / "out" / f"head_{name}.nii.gz") for name in ("whole", "tiled"))
    assert np.abs(a - b).max() <= 1e-4 * np.abs(a).max()


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")
def test_precision_is_a_knob(infer: Callable, make_head: Callable, save: Callable, tmp_path: Path) -> None:
    source = save(make_head((40, 33, 35)), tmp_path / "head.nii.gz")
    runs = [infer(source, f"--output_postfix={name}", f"--precision={name}") for name in ("float32", "bfloat16")]
    assert [run.code for run in runs] == [0, 0], runs[1].err
    full, half = (values(tmp_path / "out" / f"head_{name}.nii.gz") for name in ("float32", "bfloat16"))
    assert 1e-6 < np.abs(full - half).max() / np.abs(full).max() <= 0.02


def test_the_degradation_decides_what_is_put_back(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path
) -> None:
    array = make_head(SHAPE)
    source = save(array, tmp_path / "head.nii.gz")
    overlay = "['configs/inference.yaml','../../configs/degradation/iso_2.yaml']"
    done = infer(source, "--config_file", overlay)
    assert done.code == 0, done.err
    result, given = torch.from_numpy(values(tmp_path / "out" / "head_sr.nii.gz")), torch.from_numpy(array)
    assert certify(result, given, DegradationSpec(reduction=(2, 2, 2))).relative_error <= 1e-5
    assert certify(result, given, DegradationSpec(reduction=(1, 2, 2))).relative_error > 1e-4


def test_a_second_run_replaces_the_first(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    source = save(make_head((16, 14, 12)), tmp_path / "head.nii.gz")
    target = tmp_path / "out" / "head_sr.nii.gz"
    assert infer(source).code == 0
    first = target.read_bytes()
    target.write_bytes(b"old")
    assert infer(source).code == 0
    assert values(target) == pytest.approx(np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(first)).dataobj))
    assert files(tmp_path / "out") == ["head_sr.nii.gz"]


@pytest.mark.long
def test_the_bare_command_restores_the_embedded_sample(bundle: Path, tmp_path: Path) -> None:
    """A real process, the shipped weights, no option at all; in a copy of the folder, which it writes to."""
    pytest.importorskip("nilearn")
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("runs", "eval"))
    environment = os.environ | {"PYTHONPATH": str(bundle.parents[1])}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = (folder / "runs" / "inference").iterdir()
    (source,) = (folder / "runs" / "sample").rglob(f"degraded-*/{result.name.replace('_sr', '')}")
    (truth,) = (p for p in (folder / "runs" / "sample").rglob(source.name) if p != source)
    restored, low, full = (values(path) for path in (result, source, truth))
    np.testing.assert_allclose(nib.load(result).affine, nib.load(truth).affine, rtol=0, atol=1e-5)
    certificate = certify(torch.from_numpy(restored), torch.from_numpy(low), DegradationSpec(reduction=(1, 2, 2)))
    assert certificate.relative_error <= 1e-5
    assert np.square(restored - full).mean() < np.square(low - full).mean()


LONG_SHAPE = (256, 320, 320)


@pytest.mark.long
def test_a_large_head_within_eight_gib(
    make_head: Callable, numpy_low_pass: Callable, save: Callable, run_bundle: Callable, tmp_path: Path
) -> None:
    """256x320x320 from file to file. One block instead of four, so that it takes minutes; the memory of a tile of
    the full network is measured in tests/inference/test_memory.py, and what is outside tiles is the same here.
    """
    torch.manual_seed(0)
    network = MDCSRN(blocks=1)
    torch.nn.init.normal_(network.recon.weight, std=0.02)
    save_weights(tmp_path / "b1.pt", network)
    measured = numpy_low_pass(make_head(LONG_SHAPE), (1, 2, 2))
    source = save(measured, tmp_path / "head.nii.gz", OBLIQUE_FLIPPED)
    options = ["--network_def#blocks=1", f"--checkpoint={tmp_path / 'b1.pt'}", "--precision=auto"]
    config = ("run", "--config_file", "configs/inference.yaml")
    done = run_bundle(*config, f"--input={source}", f"--output_dir={tmp_path / 'out'}", *options, seconds=1500)
    assert done.code == 0, done.err
    assert done.gib <= 8
    image = nib.load(tmp_path / "out" / "head_sr.nii.gz")
    assert image.shape == LONG_SHAPE
    np.testing.assert_allclose(image.affine, nib.load(source).affine, rtol=0, atol=1e-5)
    restored, given = torch.from_numpy(np.asarray(image.dataobj)), torch.from_numpy(measured)
    assert certify(restored, given, DegradationSpec(reduction=(1, 2, 2))).relative_error <= 1e-5
    assert float((restored - given).norm() / given.norm()) > 1e-3
