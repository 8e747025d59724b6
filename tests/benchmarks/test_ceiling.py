"""Noise and ceiling: a known sigma is found again, and a perfect restoration lands on the ceiling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ceiling import ceiling_psnr, measured_share, noise_sigma, removed_share, unpredictable_mse
from scipy.ndimage import gaussian_filter

from mdcsrn.errors import DataError
from mdcsrn.kspace import DegradationSpec, degrade, project
from mdcsrn.metrics import head_mask, psnr


def smooth_head(seed: int = 0, edge: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Smooth structure inside a ball, and where the ball is."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij"))
    texture = gaussian_filter(random.normal(size=(edge,) * 3), 2)
    return 500 + 100 * texture / texture.std(), (grid**2).sum(0) < 0.8**2


@pytest.mark.parametrize("sigma", [2.0, 10.0, 40.0])
def test_finds_a_known_sigma_despite_structure_and_air(sigma: float) -> None:
    clean, inside = smooth_head()
    noisy = (clean + np.random.default_rng(1).normal(0, sigma, clean.shape)) * inside
    found = noise_sigma(torch.from_numpy(noisy).float(), torch.from_numpy(inside))
    assert found == pytest.approx(sigma, rel=0.05), "the edge of the ball does not count"


def test_is_the_standard_deviation_of_magnitude_noise_at_high_signal() -> None:
    clean, inside = smooth_head(1)
    random = np.random.default_rng(2)
    magnitude = np.abs(clean * inside + random.normal(0, 15, clean.shape) + 1j * random.normal(0, 15, clean.shape))
    assert noise_sigma(torch.from_numpy(magnitude).float(), torch.from_numpy(inside)) == pytest.approx(15, rel=0.06)


def test_underestimates_after_interpolation_as_it_says() -> None:
    noise = torch.from_numpy(np.random.default_rng(3).normal(0, 10, (48, 48, 48))).float()
    filled = degrade(noise, DegradationSpec(reduction=(1, 1, 1.6)))
    inside = torch.ones(48, 48, 48, dtype=torch.bool)
    assert noise_sigma(filled, inside) < 0.7 * float(filled.std())


def test_fine_texture_raises_it_as_it_says(noisy_phantom: tuple[np.ndarray, float]) -> None:
    volume, sigma = torch.from_numpy(noisy_phantom[0]), noisy_phantom[1]
    assert sigma < noise_sigma(volume, head_mask(volume)) < 2 * sigma


def test_no_room_is_refused() -> None:
    with pytest.raises(DataError, match="inside"):
        noise_sigma(torch.rand(9, 9, 9), torch.zeros(9, 9, 9, dtype=torch.bool))


@pytest.mark.parametrize("reduction", [(1, 2, 2), (2, 2, 2), (1, 1, 4), (1, 5, 5)])
def test_the_clean_image_made_consistent_lies_on_the_ceiling(reduction: tuple[float, float, float]) -> None:
    """The best prediction knows the anatomy and measures the noise inside the band: what is left is the ceiling."""
    spec, sigma = DegradationSpec(reduction=reduction), 12.0
    clean = torch.from_numpy(smooth_head(4, 48)[0]).float()
    reference = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    best = project(clean, degrade(reference, spec), spec)
    share = measured_share(reference.shape, spec)
    assert psnr(best, reference, 700.0) == pytest.approx(ceiling_psnr(sigma, 700.0, share), abs=0.1)
    assert float((best - reference).square().mean()) == pytest.approx(unpredictable_mse(sigma, share), rel=0.03)


def test_share_removed_has_its_fixed_points() -> None:
    assert removed_share(28.0, 28.0, 34.0) == 0.0
    assert removed_share(28.0, 34.0, 34.0) == pytest.approx(1.0)
    assert removed_share(28.0, 27.0, 34.0) < 0
    halfway = -10 * math.log10((10**-2.8 + 10**-3.4) / 2)
    assert removed_share(28.0, halfway, 34.0) == pytest.approx(0.5)
    assert removed_share(28.0, 28.0 + 10 * math.log10(2), math.inf) == pytest.approx(0.5), "a noise-free reference"
    assert math.isnan(removed_share(34.0, 34.0, 30.0))
    assert measured_share((256, 320, 320), DegradationSpec(reduction=(1, 2, 2))) == pytest.approx((159 / 320) ** 2)
    assert ceiling_psnr(0.0, 1.0, 0.5) == math.inf
