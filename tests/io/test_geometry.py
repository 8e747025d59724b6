"""Affines are compared at the corners of the volume, everywhere with one tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import from_numpy

from mdcsrn.errors import GeometryError
from mdcsrn.io import Volume, check_affine, check_same_grid
from mdcsrn.io.geometry import (
    CORNER_TOLERANCE_VOXELS,
    MIN_AXES_SINE,
    corners_apart,
    corners_apart_mm,
    has_independent_axes,
)
from mdcsrn.transforms import CheckVolume

OBLIQUE = np.array([[0.7, 0.1, -0.2, -90], [-0.1, 0.8, 0.1, 60], [0.2, -0.1, 0.9, -40], [0, 0, 0, 1.0]])
SHAPE = (6, 7, 8)
ARRAY = np.random.default_rng(0).random(SHAPE).astype(np.float32)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_a_shift_in_voxels_is_what_it_is(shift):
    moved = OBLIQUE.copy()
    moved[:3, 3] += OBLIQUE[:3, :3] @ shift
    assert corners_apart(OBLIQUE, moved, SHAPE) == pytest.approx(np.abs(shift).max(), abs=1e-9)
    assert corners_apart_mm(OBLIQUE, moved, SHAPE) == pytest.approx(np.abs(OBLIQUE[:3, :3] @ shift).max(), abs=1e-9)


def test_distances_are_those_of_the_worst_of_all_voxels():
    other = OBLIQUE + np.random.default_rng(1).normal(0, 0.01, (4, 4)) * [[1], [1], [1], [0]]
    voxels = np.array([(*index, 1) for index in np.ndindex(SHAPE)]).T
    in_mm = np.abs((other @ voxels - OBLIQUE @ voxels)[:3]).max()
    in_voxels = np.abs(np.linalg.inv(OBLIQUE) @ other @ voxels - voxels).max()
    assert corners_apart_mm(OBLIQUE, other, SHAPE) == pytest.approx(in_mm)
    assert corners_apart(OBLIQUE, other, SHAPE) == pytest.approx(in_voxels)


@pytest.mark.parametrize(("factor", "same"), [(0.0, True), (0.9, True), (1.1, False), (1000, False)])
def test_same_grid_holds_up_to_the_tolerance_at_the_far_corner(factor, same):
    stretched = OBLIQUE.copy()
    stretched[:3, 0] *= 1 + factor * CORNER_TOLERANCE_VOXELS / (SHAPE[0] - 1)
    volumes = Volume(ARRAY, stretched), Volume(ARRAY, OBLIQUE), Path("a.nii"), Path("b.nii")
    if same:
        check_same_grid(*volumes)
    else:
        with pytest.raises(GeometryError, match=r"a\.nii and b\.nii have different affines.*0\.001 voxel"):
            check_same_grid(*volumes)


def test_other_shapes_are_refused():
    with pytest.raises(GeometryError, match="differ in shape"):
        check_same_grid(Volume(ARRAY[1:], OBLIQUE), Volume(ARRAY, OBLIQUE), Path("a"), Path("b"))


@pytest.mark.parametrize(("sine", "sound"), [(2.0, True), (0.5, False), (1e-3, False), (0.0, False)])
def test_files_and_transforms_share_one_limit_for_singular_affines(sine, sound):
    affine = np.eye(4)
    affine[:2, 1] = (1, sine * MIN_AXES_SINE)  # nearly along the first axis
    assert has_independent_axes(affine) == sound
    image = MetaTensor(from_numpy(ARRAY[None]), affine=from_numpy(affine))
    if sound:
        check_affine(affine, "x")
        CheckVolume()(image)
    else:
        with pytest.raises(GeometryError, match="singular affine"):
            check_affine(affine, "x")
        with pytest.raises(GeometryError, match="singular affine"):
            CheckVolume()(image)
