"""fastMRI's metrics against scikit-image, written as its own evaluation script has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mdcsrn.cli.evaluate import command
from mdcsrn.errors import ConfigError, DataError, GeometryError
from mdcsrn.io import Volume, write_volume
from mdcsrn.metrics import fastmri_metrics


def reference_figures(truth: np.ndarray, made: np.ndarray) -> dict[str, float]:
    peak = truth.max()
    slices = [structural_similarity(t, m, data_range=peak) for t, m in zip(truth, made, strict=True)]
    return {
        "fastmri_psnr": peak_signal_noise_ratio(truth, made, data_range=peak),
        "fastmri_ssim": float(np.mean(slices)),
        "fastmri_nmse": float(np.linalg.norm(truth - made) ** 2 / np.linalg.norm(truth) ** 2),
    }


def pair(shape: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.abs(rng.normal(1, 1, shape)) * np.linspace(0.2, 3, shape[0])[:, None, None] * scale
    return truth.astype(np.float32), (truth + rng.normal(0, 0.2 * scale, shape)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(7, 20), st.integers(7, 20)), scale=st.sampled_from((1e-5, 1.0, 4e3)),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_against_scikit_image(shape: tuple, scale: float, seed: int) -> None:
    truth, made = pair(shape, scale, seed)
    found = fastmri_metrics(torch.from_numpy(made), torch.from_numpy(truth))
    expected = reference_figures(truth.astype(np.float64), made.astype(np.float64))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_range_is_the_volume_s() -> None:
    truth, made = pair((4, 16, 16))
    of_slices = [structural_similarity(t, m, data_range=t.max()) for t, m in zip(truth, made, strict=True)]
    found = fastmri_metrics(torch.from_numpy(made), torch.from_numpy(truth))["fastmri_ssim"]
    assert abs(found - np.mean(of_slices)) > 0.01


def test_what_has_no_figure() -> None:
    volume = torch.rand(2, 8, 8)
    with pytest.raises(GeometryError):
        fastmri_metrics(volume[:1], volume)
    with pytest.raises(ConfigError, match="range"):
        fastmri_metrics(volume, torch.zeros(2, 8, 8))
    with pytest.raises(ConfigError, match="of a volume"):
        fastmri_metrics(volume[0], volume[0])
    with pytest.raises(DataError, match="SSIM window"):
        fastmri_metrics(volume[:, :6], volume[:, :6])


def test_evaluate_prints_them_beside_ours(tmp_path: Path) -> None:
    truth, made = pair((3, 14, 15))
    files = [write_volume(Volume(a, np.eye(4)), tmp_path / f"{n}.nii") for n, a in (("made", made), ("truth", truth))]
    arguments = ["--prediction", str(files[0]), "--reference", str(files[1]), "--json", str(tmp_path / "f.json")]
    plain = CliRunner().invoke(command, arguments)
    assert "fastMRI" not in plain.output
    ours = json.loads((tmp_path / "f.json").read_text())["rows"]
    result = CliRunner().invoke(command, [*arguments, "--convention", "fastmri"])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "f.json").read_text())
    expected = reference_figures(truth.astype(np.float64), made.astype(np.float64))
    assert content["rows"][1] == ours[1] | {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()}
    assert content["rows"][0] == ours[0], "of the whole volume alone"
    assert "maximum of the reference volume" in content["setting"]["fastMRI"]
    assert "fastMRI NMSE" in result.output
    assert f"{expected['fastmri_psnr']:.2f}" in result.output
