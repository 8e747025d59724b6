"""Label maps carried to other grids: SimpleITK's nearest neighbour as reference, landmarks, edges and ties."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import DataError
from mdcsrn.inference.labels import carry_labels
from mdcsrn.io import Volume
from mdcsrn.kspace import grid_affine

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def labels(shape: tuple[int, int, int], affine: np.ndarray, seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).integers(0, 5, shape).astype(np.float32), affine, np.dtype(np.uint8))


def affine_of(angles: tuple[float, ...], spacing: tuple[float, ...], flips: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ np.diag(np.multiply(spacing, flips))
    affine[:3, 3] = (12.3, -45.6, 7.8)
    return affine


def itk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(-300, 300).map(lambda i: i / 100)] * 3),  # ITK cannot invert with 1e-308 in a matrix
    st.tuples(*[st.floats(0.5, 3)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.integers(2, 12)] * 3),
    st.tuples(*[st.integers(1, 17)] * 3),
    st.integers(0, 99),
)
def test_itk_agrees_away_from_ties(angles, spacing, flips, old, new, seed) -> None:
    affine = affine_of(angles, spacing, flips)
    source = labels(old, affine, seed)
    target = grid_affine(torch.from_numpy(affine), old, new).numpy()
    carried = carry_labels(source, target, new)
    reference = sitk.Resample(
        itk(source.array, affine), itk(np.zeros(new, np.float32), target), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    expected = sitk.GetArrayFromImage(reference).transpose(2, 1, 0)
    index = np.stack(np.meshgrid(*map(np.arange, new), indexing="ij")).reshape(3, -1)
    there = (np.linalg.solve(affine, target) @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    tie = (np.abs(there - np.floor(there) - 0.5) < 1e-4).any(axis=0).reshape(new)  # either neighbour is as near
    np.testing.assert_array_equal(carried.array[~tie], expected[~tie])
    assert set(np.unique(carried.array)) <= {0, *np.unique(source.array)}
    assert carried.dtype == np.uint8
    np.testing.assert_array_equal(carried.affine, target)


def test_the_same_grid_changes_nothing() -> None:
    source = labels((6, 7, 8), affine_of((0.3, 0.1, -0.4), (1, 1.2, 2), (1, -1, 1)))
    np.testing.assert_array_equal(carry_labels(source, source.affine, source.shape).array, source.array)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_grid_and_back_is_the_same_map(factor: int) -> None:
    source = labels((6, 7, 8), affine_of((0.3, 0.1, -0.4), (1, 1.2, 2), (-1, -1, 1)))
    fine = tuple(n * factor for n in source.shape)
    affine = grid_affine(torch.from_numpy(source.affine), source.shape, fine).numpy()
    carried = carry_labels(source, affine, fine)
    np.testing.assert_array_equal(carry_labels(carried, source.affine, source.shape).array, source.array)
    # Inside, each label keeps its volume: every voxel becomes factor^3 voxels.
    inner = np.pad(source.array[1:-1, 1:-1, 1:-1], 1)
    carried = carry_labels(source.replace(inner), affine, fine)
    old, new = np.bincount(inner.ravel().astype(int)), np.bincount(carried.array.ravel().astype(int))
    np.testing.assert_array_equal(new[1:], old[1:] * factor**3)


def test_a_map_of_another_orientation_lands_at_the_same_place() -> None:
    affine = affine_of((0.0, 0.0, 0.0), (1, 1, 1), (1, 1, 1))
    array = np.zeros((5, 6, 7), np.float32)
    array[1, 2, 3] = 4
    turned = affine @ np.array(
        [[0, 0, -1, 4], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]
    )  # axes permuted, one flipped
    there = np.zeros((6, 7, 5), np.float32)
    there[2, 3, 3] = 4
    np.testing.assert_array_equal(carry_labels(Volume(there, turned), affine, (5, 6, 7)).array, array)


def test_ties_fall_to_one_side_throughout() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 3, 3))
    affine = affine_of((0.7, -0.3, 1.1), (0.9, 1.1, 1.3), (1, 1, 1))
    half = np.eye(4)
    half[0, 3] = 0.5  # every sample lies between two old ones
    carried = carry_labels(Volume(ramp, affine), affine @ half, (63, 3, 3))
    np.testing.assert_array_equal(carried.array, ramp[1:])


def test_outside_the_field_of_view_is_background() -> None:
    source = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    shifted = np.eye(4)
    shifted[:3, 3] = -2
    carried = carry_labels(source, shifted, (8, 8, 8)).array
    assert carried.sum() == 64
    assert carried[2:6, 2:6, 2:6].all()
    far = np.eye(4)
    far[0, 3] = 100
    with pytest.raises(DataError, match="lies elsewhere"):
        carry_labels(source, far, (8, 8, 8))


def test_labels_that_float32_cannot_hold_are_refused() -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, 1] = 2**25
    with pytest.raises(DataError, match="too large to be exact"):
        carry_labels(Volume(array, np.eye(4)), np.eye(4), (3, 3, 3))
