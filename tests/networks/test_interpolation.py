"""Keys' interpolation against Pillow, parabolas and the formula, and its place on the grid against k-space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, decimate, low_pass
from mdcsrn.networks import CubicUpsample
from mdcsrn.networks.interpolation import CubicDownsample, phase_weights

FACTORS = [2, 3, 4, 8]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pillow(image: np.ndarray, r: int) -> np.ndarray:
    """Pillow's bicubic, of the same kernel, with its window moved so that sample j lies at r j; borders replicated."""
    height, width = image.shape
    pad = 4
    padded = Image.fromarray(np.pad(image, pad, mode="edge").astype(np.float32))
    edge = pad + 0.5 - 0.5 / r
    box = (edge, edge, edge + width, edge + height)
    return np.asarray(padded.resize((r * width, r * height), Image.Resampling.BICUBIC, box=box))


@pytest.mark.parametrize("r", FACTORS)
@pytest.mark.parametrize("shape", [(7, 10), (12, 9)])
def test_as_pillow(r: int, shape: tuple[int, int]) -> None:
    image = random(*shape)
    found = CubicUpsample(r)(image.float()[None, None, None])[0, 0, 0]
    np.testing.assert_allclose(found.numpy(), pillow(image.numpy(), r), atol=2e-6)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_samples_pass_unchanged_at_r_j(r: int, height: int, width: int) -> None:
    image = random(2, 1, 3, height, width)
    result = CubicUpsample(r)(image)
    assert result.shape == (2, 1, 3, r * height, r * width)
    assert torch.equal(result[..., ::r, ::r], image)


@pytest.mark.parametrize("r", FACTORS)
def test_parabolas_are_exact(r: int) -> None:
    j = torch.arange(12, dtype=torch.float64)
    fine = torch.arange(12 * r, dtype=torch.float64) / r

    def parabola(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return 0.3 * y[:, None] ** 2 - y[:, None] * x[None] + 0.7 * x[None] ** 2 - 2

    inner = slice(2 * r, -3 * r)
    found = CubicUpsample(r)(parabola(j, j))[inner, inner]
    torch.testing.assert_close(found, parabola(fine, fine)[inner, inner])


@pytest.mark.parametrize("r", FACTORS)
def test_weights_sum_to_one(r: int) -> None:
    for weights in phase_weights(r):
        assert sum(weights) == pytest.approx(1, abs=1e-14)
        assert weights[::-1] in [pytest.approx(other, abs=1e-14) for other in phase_weights(r)]


@pytest.mark.parametrize("m", [16, 17, 20, 21])
@pytest.mark.parametrize("r", FACTORS)
def test_on_the_grid_of_a_zero_filled_image(r: int, m: int) -> None:
    """Of a band-limited image the acquired samples are its every r-th, and no other shift interpolates it as well."""
    n = r * m
    tight = DegradationSpec((1, 2 * r, 2 * r))  # half of the acquired band: cubic interpolation is then good
    fine = low_pass(random(1, n, n, seed=m), tight)
    acquired = decimate(fine, (1, r, r))
    torch.testing.assert_close(acquired, fine[:, ::r, ::r])
    guess = CubicUpsample(r)(acquired)
    inner = slice(3 * r, -3 * r)  # k-space is periodic, the interpolation is not

    def error(shift: int) -> float:
        moved = guess.roll((shift, shift), (-2, -1))
        return float((moved - fine)[:, inner, inner].square().mean().sqrt())

    errors = {shift: error(shift) for shift in range(-r, r + 1)}
    assert min(errors, key=errors.__getitem__) == 0
    assert errors[0] < 0.5 * min(errors[-1], errors[1])


def test_nothing_to_learn_or_to_store() -> None:
    module = CubicUpsample(4)
    assert not list(module.parameters())
    assert not module.state_dict()


def test_stays_in_the_precision_of_the_input_under_autocast() -> None:
    image = random(1, 1, 2, 8, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = CubicUpsample(2)(image)
    assert torch.equal(found, CubicUpsample(2)(image))


def test_one_is_the_identity_and_others_are_refused() -> None:
    image = random(1, 1, 2, 3, 4)
    assert CubicUpsample(1)(image) is image
    for scale in (0, -2, 1.5, True):
        with pytest.raises(ConfigError, match="whole number"):
            CubicUpsample(scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("r", [2, 3, 4])
def test_thinning_as_pillow(r: int) -> None:
    """Pillow's antialiased reduction, its window moved so that sample j lies at r j."""
    image = random(8 * r, 9 * r).float()
    pad = 4 * r
    padded = Image.fromarray(np.pad(image.numpy(), pad, mode="edge"))
    edge = pad + 0.5 - 0.5 * r
    height, width = image.shape
    size = (width // r, height // r)
    expected = padded.resize(size, Image.Resampling.BICUBIC, box=(edge, edge, edge + width, edge + height))
    np.testing.assert_allclose(CubicDownsample(r)(image).numpy(), np.asarray(expected), atol=2e-6)


@pytest.mark.parametrize("r", [2, 3, 4])
def test_thinning_lets_hardly_anything_above_the_new_grid_through(r: int) -> None:
    n = 24 * r
    phase = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    above = torch.cos(20 * phase).expand(n, n)  # the new grid's highest frequency is 12
    below = torch.cos(4 * phase).expand(n, n)
    inner = slice(4, -4)
    assert CubicDownsample(r)(above)[inner, inner].abs().max() < 0.1
    kept = CubicDownsample(r)(below)[inner, inner]
    assert (kept - below[::r, ::r][inner, inner]).abs().max() < 0.05


def test_the_factor_of_thinning() -> None:
    image = random(3, 5, 7)
    assert torch.equal(CubicDownsample(1)(image), image)
    for wrong in (0, 1.5, True):
        with pytest.raises(ConfigError, match="whole number"):
            CubicDownsample(wrong)  # type: ignore[arg-type]
