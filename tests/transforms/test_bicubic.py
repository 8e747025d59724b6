"""Bicubic reduction against Pillow, its blur against SciPy, and where its samples are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks import EDSR
from mdcsrn.transforms import BicubicDownsample, BicubicDownsampled


def pillow(plane: np.ndarray, factor: int) -> np.ndarray:
    h, w = (n // factor for n in plane.shape)
    box = (0, 0, w * factor, h * factor)  # the exact factor; pixels behind the box still have a say
    return np.asarray(Image.fromarray(plane).resize((w, h), Image.Resampling.BICUBIC, box=box))


@settings(max_examples=40, deadline=None)
@given(
    factor=st.sampled_from((2, 3, 4)), size=st.tuples(st.integers(8, 40), st.integers(8, 40)), axis=st.integers(0, 2),
    blur=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_against_pillow_and_scipy(factor: int, size: tuple, axis: int, blur: bool, seed: int) -> None:
    planes = np.random.default_rng(seed).normal(100, 50, (2, *size)).astype(np.float32)
    expected = np.stack([pillow(plane, factor) for plane in planes])
    if blur:  # 3 pixels: truncated at one sigma
        expected = np.stack([gaussian_filter(plane, 1.0, truncate=1.0, mode="mirror") for plane in expected])
    volume = torch.from_numpy(np.moveaxis(planes, 0, axis).copy())[None]
    low = BicubicDownsample(factor, 1.0 if blur else None, axis=axis)(volume)
    np.testing.assert_allclose(np.moveaxis(low[0].numpy(), axis, 0), expected, atol=2e-3)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sigma", [None, 1.0])
@pytest.mark.parametrize("place", ["edges", "samples"])
def test_the_affine_says_where_the_samples_are(factor: int, axis: int, sigma: float | None, place: Any) -> None:
    """A linear ramp of world coordinates is interpolated exactly: inside, each new pixel holds its own position."""
    affine = torch.tensor(
        [[0.9, 0.1, 0, -40], [-0.1, 1.1, 0.2, 12], [0, 0.1, 1.2, 3], [0, 0, 0, 1]], dtype=torch.float64
    )
    before = affine.clone()
    shape = [3 if other == axis else 37 for other in range(3)]
    index = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in shape], indexing="ij"))
    world = torch.einsum("ij,jdhw->idhw", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    low = BicubicDownsample(factor, sigma, axis=axis, place=place)(MetaTensor(world, affine=affine))
    index = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in low.shape[1:]], indexing="ij"))
    there = torch.einsum("ij,jdhw->idhw", low.affine[:3, :3], index) + low.affine[:3, 3, None, None, None]
    inside = (slice(None), *[slice(None) if other == axis else slice(3, -3) for other in range(3)])
    np.testing.assert_allclose(low.as_tensor()[inside], there[inside], atol=1e-6)
    np.testing.assert_array_equal(affine, before)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_samples_are_kept_where_asked_for(factor: int) -> None:
    """Pillow's reduction of one column by an odd box that is centred on each old sample; edges: other places."""
    plane = np.random.default_rng(0).normal(100, 50, (40, 41)).astype(np.float32)
    low = BicubicDownsample(factor, place="samples")(torch.from_numpy(plane)[None, None])[0, 0].numpy()
    assert low.shape == (40 // factor, 41 // factor)
    picture = Image.fromarray(plane)
    for i, j in ((3, 4), (5, 5), (4, 6)):
        y, x = i * factor + 0.5, j * factor + 0.5  # a pixel's centre in Pillow's coordinates
        box = (x - factor / 2, y - factor / 2, x + factor / 2, y + factor / 2)
        one = picture.resize((1, 1), Image.Resampling.BICUBIC, box=box)
        assert low[i, j] == pytest.approx(np.asarray(one).item(), abs=2e-3)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("place", ["edges", "samples"])
def test_where_the_networks_put_the_result(factor: int, place: Any) -> None:
    """Registered by phase correlation: with shared samples in place; with shared edges (factor - 1) / 2 pixels off.

    That shift is what a network has to learn from pairs that share their edges.
    """
    texture = gaussian_filter(np.random.default_rng(1).normal(size=(96, 96)), 2.0 * factor, mode="wrap")
    plane = (texture * np.outer(np.hanning(96), np.hanning(96))).astype(np.float32)  # nothing at the border
    low = BicubicDownsample(factor, place=place)(torch.from_numpy(plane)[None, None])
    start = EDSR(scale=factor, width=4, blocks=1)  # starts as interpolation onto its grid
    with torch.no_grad():
        made = start(low[None])[0, 0, 0].numpy()
    found, *_ = phase_cross_correlation(plane, made, upsample_factor=100, normalization=None)
    np.testing.assert_allclose(found, [(factor - 1) / 2 if place == "edges" else 0] * 2, atol=0.1)


def test_the_field_of_view_keeps_its_edge_and_a_constant_its_value() -> None:
    low = BicubicDownsample(4, sigma=1.0)(MetaTensor(torch.full((1, 1, 16, 24), 7.0), affine=torch.eye(4)))
    np.testing.assert_allclose(low, np.full((1, 1, 4, 6), 7.0), rtol=1e-6)
    corner = low.affine @ torch.tensor([0, -0.5, -0.5, 1], dtype=low.affine.dtype)
    np.testing.assert_allclose(corner, (0, -0.5, -0.5, 1))
    np.testing.assert_allclose(
        low.affine, torch.as_tensor([[1, 0, 0, 0], [0, 4, 0, 1.5], [0, 0, 4, 1.5], [0, 0, 0, 1]])
    )


def test_the_dictionary_version_leaves_other_keys_and_the_input_alone() -> None:
    image = MetaTensor(torch.rand(1, 1, 20, 24), affine=torch.eye(4))
    data = {"image": image, "label": image}
    made = BicubicDownsampled("image", factor=2, sigma=1.0)(data)
    assert made["label"] is image
    np.testing.assert_array_equal(image.affine, np.eye(4))
    np.testing.assert_array_equal(made["image"], BicubicDownsample(2, 1.0)(image))
    assert BicubicDownsample()(torch.rand(1, 1, 9, 9, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    "values",
    [
        {"factor": 1},
        {"factor": 1.5},
        {"factor": True},
        {"sigma": 0},
        {"sigma": -1},
        {"size": 4},
        {"axis": 3},
        {"place": "x"},
    ],
)
def test_values_out_of_range(values: dict) -> None:
    with pytest.raises(ConfigError):
        BicubicDownsample(**values)


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 1, 7, 9), (1, 9, 1, 9)])
def test_volumes_that_do_not_fit(shape: tuple) -> None:
    with pytest.raises(GeometryError):
        BicubicDownsample(4)(torch.rand(shape))
