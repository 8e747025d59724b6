"""The region that may change: it holds the head, no far air, no holes, and sees the input alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from mdcsrn.inference.planning.head_region import CELL, head_region
from mdcsrn.io import read_volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.kspace.intensity import percentile
from mdcsrn.metrics import head_mask

FAR = 4 * CELL  # voxels: one cell of margin, one that the head may only touch, on a diagonal


def scaled(volume: Tensor) -> Tensor:
    return volume / percentile(volume, 99.9)


def ellipsoid(shape, seed=0, noise=0.01, centre=(0.5, 0.5, 0.5)) -> Tensor:
    """A bright shell around a dark inside, as skull-less tissue around ventricles, in magnitude noise."""
    axes = [(torch.arange(n) - c * (n - 1)) / (0.35 * n) for n, c in zip(shape, centre, strict=True)]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    generator = torch.Generator().manual_seed(seed)
    image = ((radius < 1) & (radius > 0.3)).float()
    return (image + noise * torch.randn(shape, generator=generator)).abs()


def blocks_of(image: Tensor) -> list[Tensor]:
    """The cells of an image, cut at its far faces."""
    parts = [image]
    for axis in range(3):
        parts = [block for part in parts for block in part.split(CELL, dim=axis)]
    return parts


# Skull-stripped, whole head with noisy air, T2-weighted, thick slices.
SCANS = (
    "t1w/test/ds002748-68_T1w.nii.gz",
    "t1w/test/ds000011-06_T1w.nii.gz",
    "t1w/test/fnndsc-adi_T1w.nii.gz",
    "t2w/M2307_T2w.nii.gz",
    "thick/ds000011-01_inplaneT2.nii.gz",
)


@pytest.mark.parametrize("name", SCANS)
def test_a_real_head_lies_inside(shared_data, name) -> None:
    truth = torch.from_numpy(read_volume(shared_data / name).array)
    low = degrade(truth, DegradationSpec((1.0, 2.0, 2.0)))
    region, head = head_region(scaled(low)), head_mask(truth)
    signal, missing = truth.double().square(), (truth - low).double().square()
    # 0.9967 to 1.0000 seen; the least where air noise is above the mask's own 2 %.
    assert float(signal[head & region].sum() / signal[head].sum()) > 0.995
    # Of what is to be restored: 0.963 to 1.0000 seen; the rest is noise of the air that the mask takes for head.
    assert float(missing[head & region].sum() / missing[head].sum()) > 0.96
    near = ndimage.maximum_filter(head.numpy().astype(np.uint8), 2 * FAR + 1, mode="constant") > 0
    assert not (region.numpy() & ~near).any(), "nothing of the air far from the head"


def test_the_region_is_looked_for_in_the_input_alone(shared_data) -> None:
    """Detail beyond the measured band has no say: truth and input give the same region but for a few cells."""
    truth = torch.from_numpy(read_volume(shared_data / SCANS[0]).array)
    low = degrade(truth, DegradationSpec((2.0, 2.0, 1.0)))
    ours, theirs = head_region(scaled(low)), head_region(scaled(truth))
    assert float((ours ^ theirs).float().mean()) < 0.03


def test_holes_are_filled_and_far_air_is_left_out() -> None:
    image = ellipsoid((64, 72, 80))
    region = head_region(image)
    assert bool(region[32, 36, 40])
    assert bool(region[image > 0.5].all())
    assert np.array_equal(ndimage.binary_fill_holes(region.numpy()), region.numpy())
    assert ndimage.label(region.numpy())[1] == 1
    for corner in (region[:8, :8, :8], region[-8:, -8:, -8:], region[:8, -8:, :8]):
        assert not bool(corner.any())


def test_dust_and_ghosts_are_left_out_but_not_a_second_part() -> None:
    image = torch.zeros(64, 64, 64)
    image[8:32, 8:56, 8:56] = 1.0
    image[52:55, 30:33, 30:33] = 1.0  # a few voxels of dust
    image[44:56, 44:64, 4:16] = 0.5  # a real second part
    region = head_region(image)
    assert not bool(region[50:58, 28:36, 28:36].any())
    assert bool(region[image == 0.5].all())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 13), (3, 2, 1), (20, 20, 20)])
def test_a_flat_volume_is_all_region(value, shape) -> None:
    assert bool(head_region(torch.full(shape, value)).all())


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 999))
def test_any_size_of_anything(shape, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(shape, generator=generator).exp() * (torch.rand(shape, generator=generator) > 0.98)
    region = head_region(image)
    assert region.shape == image.shape
    assert region.dtype == torch.bool
    assert bool(region.any()), "there is always something to do"
    means = [block.mean() for block in blocks_of(image)]
    if max(means) <= 0.03:
        assert bool(region.all())
    elif len(means) == 1:
        assert bool(region.all()), "one cell"


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(24, 48)] * 3), st.sets(st.integers(0, 2)), st.integers(0, 99))
def test_a_mirrored_head_has_the_mirrored_region(shape, axes, seed) -> None:
    """Exactly so where cells fall together, else within the cell that a mirrored grid is shifted by."""
    image, dims = ellipsoid(shape, seed, centre=(0.5, 0.45, 0.55)), sorted(axes)
    back = head_region(image.flip(dims)).flip(dims)
    region = head_region(image)
    if all(shape[axis] % CELL == 0 for axis in dims):
        assert torch.equal(back, region)
    grown = [ndimage.binary_dilation(one.numpy(), np.ones((3, 3, 3)), iterations=2 * CELL) for one in (region, back)]
    assert not (back.numpy() & ~grown[0]).any()
    assert not (region.numpy() & ~grown[1]).any()
    assert bool((back & region)[image > 0.5].all())


def test_the_sign_and_a_gain_up_to_one_do_not_matter() -> None:
    image = ellipsoid((40, 44, 48))
    assert torch.equal(head_region(-image), head_region(image))
    assert head_region(0.5 * image).sum() <= head_region(image).sum()
    assert bool(head_region(0.5 * image)[image > 0.5].all())


def test_the_input_stays_as_it_is() -> None:
    image = ellipsoid((20, 21, 22))
    before = image.clone()
    head_region(image)
    assert torch.equal(image, before)
