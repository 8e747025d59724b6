"""Geometry of the plans: landmarks of any affine stay, left and right never swap, samples are where the affine says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts

THREE_D = ScanFacts(acquisition="3D")


def random_affine(rng):
    """Oblique, anisotropic, flipped and left-handed in turn."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.uniform(0.4, 3, 3) * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    return affine


def random_task(rng, spacing):
    if rng.random() < 0.5:
        return Task("factor", factor=tuple(float(f) for f in rng.uniform(1, 4, 3)))
    return Task("to-spacing", spacing=tuple(float(s / f) for s, f in zip(spacing, rng.uniform(1, 4, 3), strict=True)))


def test_landmarks_of_ten_thousand_affines_stay():
    """27 landmarks a volume, in voxels of the result: found through the affine, and through the rule of DESIGN 2.5."""
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        affine = random_affine(rng)
        n = rng.integers(2, 6, 3)
        volume = Volume(rng.random(n).astype(np.float32) + 1, affine)
        plan = make_plan(volume, THREE_D, random_task(rng, volume.spacing))
        m = np.array(plan.shape)
        landmarks = np.array(list(itertools.product(*[(0, (size - 1) / 2, size - 1) for size in n])))
        world = landmarks @ affine[:3, :3].T + affine[:3, 3]
        there = (world - plan.affine[:3, 3]) @ np.linalg.inv(plan.affine[:3, :3]).T
        assert np.abs(there - ((landmarks - n // 2) * m / n + m // 2)).max() < 1e-3
        directions = plan.affine[:3, :3] / plan.spacing
        np.testing.assert_allclose(directions, affine[:3, :3] / volume.spacing, atol=1e-9)  # no axis turned or flipped


@pytest.mark.parametrize("seed", range(60))
def test_samples_are_where_the_affine_says(seed):
    """A function of world coordinates, sampled on the input's grid, comes back sampled on the result's grid.

    Cosines with whole cycles over the field of view are band-limited and periodic: k-space zero-filling is exact.
    """
    rng = np.random.default_rng(seed)
    affine = random_affine(rng)
    n = rng.integers(4, 12, 3)
    to_index = np.linalg.inv(affine)
    cycles = np.array([rng.integers(-((size - 1) // 2), (size - 1) // 2 + 1, 5) for size in n]).T
    phases, heights = rng.uniform(0, 2 * np.pi, 5), rng.uniform(1, 10, 5)

    def function(world):
        position = (world @ to_index[:3, :3].T + to_index[:3, 3]) / n
        return 100 + sum(
            h * np.cos(2 * np.pi * position @ c + p) for h, c, p in zip(heights, cycles, phases, strict=True)
        )

    def sampled(matrix, shape):
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        return function(index @ matrix[:3, :3].T + matrix[:3, 3])

    volume = Volume(sampled(affine, n).astype(np.float32), affine)
    plan = make_plan(volume, THREE_D, random_task(rng, volume.spacing))
    low = plan.low(torch.from_numpy(volume.array)).numpy()
    np.testing.assert_allclose(low, sampled(plan.affine, plan.shape), atol=1e-3)
