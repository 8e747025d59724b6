"""Picture models as baselines: where their samples lie, what they are fed, which files they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcsrn.errors import CheckpointError, GeometryError
from mdcsrn.evaluation import upsample
from mdcsrn.evaluation.picture_models import PictureModel, pixel_grid, refine_planes
from mdcsrn.kspace import DegradationSpec, degrade, resample_grid
from mdcsrn.kspace.intensity import intensity_scale

PAIRS = [(1, 2), (0, 1), (0, 2)]


def enlarging(scale: int, mode: str = "bicubic", channels: int = 1) -> PictureModel:
    """What models for pictures are trained to improve upon: interpolation with aligned edges."""
    return PictureModel(mode, nn.Upsample(scale_factor=scale, mode=mode), scale, channels)


def blob(shape: tuple[int, int, int]) -> Tensor:
    """Smooth, off centre, zero at the borders, without a symmetry."""
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) / n for n in shape], indexing="ij")
    wide = torch.exp(-sum((a - c) ** 2 for a, c in zip(axes, (0.45, 0.55, 0.4), strict=True)) / 0.02)
    ripple = 1 + 0.4 * torch.sin(9 * axes[0] + 14 * axes[1] - 11 * axes[2])
    return (700 * wide * ripple).float()


def acquired(volume: Tensor, axes: tuple[int, int], scale: int) -> Tensor:
    a, b, c = (scale if axis in axes else 1 for axis in range(3))
    return degrade(volume, DegradationSpec(reduction=(a, b, c), grid="acquired"))


def decibels(result: Tensor, truth: Tensor) -> float:
    return float(10 * torch.log10(truth.max() ** 2 / (result - truth).square().mean()))


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 30), st.integers(3, 60), st.integers(0, 10**6))
def test_scale_one_is_the_grid_change_of_k_space(old: int, new: int, seed: int) -> None:
    """Only the samples of a grid that is not finer are lost; `resample_grid` is tested against NumPy."""
    new = max(old, new)
    samples = torch.from_numpy(np.random.default_rng(seed).random((1, 1, old)))
    expected = resample_grid(samples, (1, 1, new))
    assert np.allclose(pixel_grid(old, new, 1) @ samples[0, 0].numpy(), expected[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [48, 60, 84, 47, 50])
def test_pixels_lie_between_reference_samples(scale: int, size: int) -> None:
    """A wave that the scan measures is found at r i + (r - 1) / 2, for even and odd grids, divisible or not."""
    j = np.arange(size)
    wave = np.cos(2 * np.pi * 3 * j / size + 0.7)
    low = acquired(torch.from_numpy(wave).float().expand(1, 2, size).contiguous(), (1, 2), scale)[0, 0].double()
    pixels = scale * np.arange(-(-size // scale)) + (scale - 1) / 2
    found = pixel_grid(len(low), size, scale) @ low.numpy()
    assert np.allclose(found, np.cos(2 * np.pi * 3 * pixels / size + 0.7), atol=1e-5)


@pytest.mark.parametrize("axes", PAIRS)
@pytest.mark.parametrize(("scale", "shape"), [(2, (44, 48, 52)), (3, (48, 54, 42)), (4, (48, 56, 64))])
def test_no_shift_costs_decibels(axes: tuple[int, int], scale: int, shape: tuple[int, int, int]) -> None:
    """Bicubic enlargement of pictures does as well as trilinear on our grid, or better; fed as it is, far worse."""
    truth = blob(shape)
    low = acquired(truth, axes, scale)
    placed = decibels(refine_planes(low, shape, enlarging(scale)), truth)
    assert placed > decibels(upsample(low, shape, "trilinear"), truth)
    planes = low.movedim(axes, (-2, -1))[:, None]
    direct = nn.functional.interpolate(planes, scale_factor=scale, mode="bicubic")[:, 0].movedim((-2, -1), axes)
    assert placed > decibels(direct, truth) + 10


@pytest.mark.parametrize("axes", PAIRS)
@pytest.mark.parametrize(("scale", "shape"), [(2, (46, 51, 43)), (3, (48, 51, 46)), (4, (47, 50, 53))])
def test_no_shift_on_grids_that_divide_by_nothing(
    axes: tuple[int, int], scale: int, shape: tuple[int, int, int]
) -> None:
    truth = blob(shape)
    low = acquired(truth, axes, scale)
    placed = decibels(refine_planes(low, shape, enlarging(scale)), truth)
    assert placed > decibels(upsample(low, shape, "trilinear"), truth)


@pytest.mark.parametrize("scale", [2, 4])
def test_nearest_is_the_scan_at_the_pixels(scale: int) -> None:
    truth = blob((5, 48, 48))
    low = acquired(truth, (1, 2), scale)
    fine = degrade(truth, DegradationSpec(reduction=(1, scale, scale)))
    shifted = torch.fft.fft2(fine.double())  # independent: half a pixel by the linear phase of the reference grid
    k = torch.fft.fftfreq(48, dtype=torch.float64) * 2 * torch.pi * (scale - 1) / 2
    shifted = torch.fft.ifft2(shifted * torch.exp(1j * (k[:, None] + k[None, :]))).real[:, ::scale, ::scale]
    expected = shifted.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    assert torch.allclose(refine_planes(low, truth.shape, enlarging(scale, "nearest")).double(), expected, atol=0.02)


def test_units_are_those_of_the_volume_and_nothing_is_clipped() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return nn.functional.interpolate(x, scale_factor=2) * torch.tensor([1.0, 2.0, 6.0])[:, None, None] - 1

    truth = blob((3, 40, 40)) - 20
    truth[1, 20, 20] = 5000
    low = acquired(truth, (1, 2), 2)
    unit = float(intensity_scale(low))
    result = refine_planes(low, truth.shape, PictureModel("watch", Watch(), 2, channels=3))
    assert len(seen) == 3
    assert seen[1].shape == (1, 3, 20, 20)
    assert torch.equal(seen[1][:, 0], seen[1][:, 2])
    assert float(seen[1].max()) > 1.2, "more than the 99.9th percentile"
    expected = refine_planes(low, truth.shape, enlarging(2, "nearest")) * 3 - unit  # the mean of 1, 2 and 6 is 3
    assert float(expected.min()) < 0
    assert torch.allclose(result, expected, rtol=1e-4, atol=1e-2)
    both = refine_planes(torch.stack([low, low]), truth.shape, enlarging(2, "nearest"))
    assert both.shape == (2, *truth.shape)
    black = refine_planes(torch.zeros(1, 4, 4), (1, 8, 8), enlarging(2))
    assert float(black.abs().max()) == 0


def test_a_model_may_change_its_input_in_place() -> None:
    """As RCAN does; colours must not share their memory, and no plane may see what another one left."""

    class Careless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x *= 255
            return nn.functional.interpolate(x, scale_factor=2) / 255

    low = acquired(blob((4, 40, 40)), (1, 2), 2)
    before = low.clone()
    result = refine_planes(low, (4, 40, 40), PictureModel("careless", Careless(), 2, channels=3))
    assert torch.allclose(result, refine_planes(low, (4, 40, 40), enlarging(2, "nearest")), atol=1e-3)
    assert torch.equal(low, before)


@pytest.mark.parametrize(("size", "seen"), [
    ({"minimum": 64}, (64, 64)), ({"multiple": 16}, (32, 48)), ({"square": True}, (35, 35)),
    ({"minimum": 20, "multiple": 8, "square": True}, (40, 40)), ({"minimum": 200}, (200, 200)), ({}, (20, 35)),
])  # fmt: skip
def test_planes_are_padded_as_the_model_wants(size: dict, seen: tuple[int, int]) -> None:
    shapes = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shapes.append(tuple(x.shape[-2:]))
            return nn.functional.interpolate(x, scale_factor=2)

    low = acquired(blob((2, 40, 70)), (1, 2), 2)
    result = refine_planes(low, (2, 40, 70), PictureModel("watch", Watch(), 2, **size))
    assert set(shapes) == {seen}
    assert torch.equal(result, refine_planes(low, (2, 40, 70), enlarging(2, "nearest")))


@pytest.mark.parametrize("reduction", [(2, 2, 2), (1, 1, 2), (1, 2, 3), (1, 3, 3), (1, 1, 1)])
def test_another_reduction_is_refused_in_one_line(reduction: tuple[float, float, float]) -> None:
    low = degrade(blob((24, 24, 24)), DegradationSpec(reduction=reduction, grid="acquired"))
    with pytest.raises(GeometryError, match=r"refines both axes of a plane by 2.*\[1, 2, 2\]"):
        refine_planes(low, (24, 24, 24), enlarging(2))


def test_a_model_that_gives_something_else_is_named() -> None:
    for network in (nn.Identity(), nn.Flatten()):
        with pytest.raises(CheckpointError, match="odd gives no refined picture"):
            refine_planes(torch.rand(2, 8, 8), (2, 16, 16), PictureModel("odd", network, 2))
