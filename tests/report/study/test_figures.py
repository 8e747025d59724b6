"""Figures of a study against scikit-image, its short scans against Pillow, and how they are averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from mdcsrn.evaluation.baselines import upsample
from mdcsrn.io.volume import Volume
from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.report.analysis import plane_fidelity
from mdcsrn.report.study import summary
from mdcsrn.report.study.methods import methods_of
from mdcsrn.report.study.people import Person
from mdcsrn.report.study.run import BINS, SliceCurve, run_study
from mdcsrn.report.study.shortening import shifted, shortening


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_figures_are_those_of_scikit_image(make_head: Callable[..., np.ndarray], axis: int) -> None:
    truth = make_head((20, 26, 24))
    noisy = truth + np.random.default_rng(1).normal(0, 30, truth.shape).astype(np.float32)
    mask, peak = truth > 300, 1400.0
    psnr, ssim = plane_fidelity(truth, noisy, peak, {"head": mask}, axis)["head"]
    counted = np.flatnonzero(np.isfinite(psnr))
    assert 8 < counted.size < truth.shape[axis]
    for index in counted:
        plane, other, inside = (np.take(a, index, axis) for a in (truth, noisy, mask))
        error = np.mean((plane[inside].astype(float) - other[inside]) ** 2)
        assert psnr[index] == pytest.approx(10 * np.log10(peak**2 / error), abs=1e-3)
        _, full = structural_similarity(
            plane.astype(float), other.astype(float), data_range=peak, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        assert ssim[index] == pytest.approx(full[inside].mean(), abs=1e-4)


def test_bicubic_is_the_cubic_convolution_of_the_networks() -> None:
    picture = torch.rand(3, 10, 12)
    assert torch.allclose(upsample(picture, (3, 20, 24), "bicubic"), CubicUpsample(2)(picture), atol=1e-6)


@pytest.mark.parametrize(("name", "factor"), [("bicubic_x2", 2), ("bicubic_x3", 3), ("bicubic_x4", 4)])
def test_a_bicubic_short_scan_is_pillows_of_the_moved_reference(
    make_head: Callable[..., np.ndarray], name: str, factor: int
) -> None:
    truth = make_head((3, 50, 62))
    short = shortening(name)
    reference = short.fitted(Volume(truth, np.eye(4)))
    acquired = short.acquire(reference)
    d, h, w = reference.shape
    assert acquired.shape == (3, h // factor, w // factor)
    assert (h % factor, w % factor) == (0, 0)
    moves = [0.0] + [n // 2 - factor * (n // factor // 2) - (factor - 1) / 2 for n in (h, w)]
    moved = shifted(reference.array, moves)
    size = (w // factor, h // factor)
    pillow = np.stack([np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in moved])
    assert np.abs(acquired.array - pillow).max() < 1e-2
    centre = acquired.affine @ [1, h // factor // 2, w // factor // 2, 1]
    assert centre[:3] == pytest.approx((reference.affine @ [1, h // 2, w // 2, 1])[:3])


def test_a_smooth_spot_keeps_its_place_through_a_bicubic_study() -> None:
    """Every method starts from samples that lie where it thinks they lie: no shift by part of a voxel."""
    axes = [np.arange(n) - c for n, c in zip((4, 80, 84), (2, 38.3, 43.6), strict=True)]
    spot = np.exp(-(axes[1][:, None] ** 2 + axes[2] ** 2) / 72)[None].repeat(4, axis=0).astype(np.float32)
    for name in ("bicubic_x2", "bicubic_x3", "bicubic_x4_gaussian"):
        short = shortening(name)
        restored = upsample(torch.from_numpy(short.acquire(Volume(spot, np.eye(4))).array), spot.shape, "bicubic")[2]
        for axis, expected in ((0, 38.3), (1, 43.6)):
            profile = restored.sum(1 - axis).numpy()
            assert np.average(np.arange(profile.size), weights=profile) == pytest.approx(expected, abs=0.05), name


def curve(position: list[float], values: list[float], angle: float = 0.0) -> SliceCurve:
    array = np.array(values)
    return SliceCurve("T1w", "a", angle, "head", "m", np.arange(len(values)), np.array(position), array, array / 100)


def test_means_over_people_of_different_sizes() -> None:
    one, two = curve([0, 50, 100], [20, 30, 20]), curve([100, 60, 20], [10, 10, 10], 15.0)
    mean = summary.per_slice([one, two], "psnr")
    at = dict(zip(summary.GRID.tolist(), mean.tolist(), strict=True))
    assert at[0.0] == 20, "only one reaches there"
    assert at[50.0] == 20
    assert at[100.0] == 15
    assert summary.mean([one, two], "psnr") == pytest.approx((70 / 3 + 10) / 2)
    assert summary.per_angle([one, two], (0.0, 15.0), "psnr") == pytest.approx([70 / 3, 10])


def test_histogram_holds_every_voxel_and_is_centred() -> None:
    counts = np.random.default_rng(0).multinomial(10_000, np.full(BINS, 1 / BINS))
    for limit in (0.1, 1.0, 7.3, 50.0):
        centres, shares = summary.histogram(counts, limit)
        assert shares.sum() == pytest.approx(1)
        assert centres[len(centres) // 2] == 0
        assert centres == pytest.approx(-centres[::-1])
        assert 0.9 * limit - 0.02 <= centres[-1] <= 1.1 * limit + 0.02
        assert len(centres) <= 130


def test_the_brain_is_counted_by_itself(make_head: Callable[..., np.ndarray], tmp_path: Path) -> None:
    truth = make_head((16, 32, 36))
    inside = np.zeros(truth.shape, np.uint8)
    inside[5:11, 10:22, 10:26] = 1
    for name, array in (("a.nii.gz", truth), ("m.nii.gz", inside)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name)
    short = shortening("hcp_2x2")
    methods = methods_of(short, [], ["zero-filled"])
    done = []
    person = Person("a", "T1w", tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    study = run_study([person], short, methods, (0.0, 30.0), after=lambda: done.append(1))
    assert len(done) == 4
    assert study.methods == ("bicubic", "zero-filled")
    assert study.regions("T1w") == ("head", "brain")
    upright = {c.region: c for c in study.curves if c.angle == 0 and c.method == "zero-filled"}
    assert upright["brain"].slices.tolist() == [5, 6, 7, 8, 9, 10]
    assert upright["head"].slices.size > 8
    low = methods.all["zero-filled"](short.acquire(Volume(truth, np.eye(4))), (16, 32, 36), "T1w")
    error = (low - truth)[7][inside[7] > 0].astype(float)
    peak = np.percentile(truth, 99.9)
    expected = 10 * np.log10(peak**2 / np.mean(error**2))
    assert upright["brain"].psnr[2] == pytest.approx(expected, abs=0.02)
    assert study.counts["T1w", "brain", "bicubic"].sum() == pytest.approx(2 * inside.sum(), rel=0.05)
    lines = summary.table(study).splitlines()
    assert lines[0].split("\t") == list(summary.COLUMNS)
    assert len(lines) == 1 + sum(c.slices.size for c in study.curves)
