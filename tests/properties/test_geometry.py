"""World coordinates over random affines: landmarks stay within 1e-3 voxel, left and right never swap.

Two kinds of evidence: the affines of 10,000 grids against an independent rule (the field of view keeps its periodic
samples; each volume's middle sample is its origin), and real resamplings of a blob whose centre of mass is measured.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mdcsrn.inference.planning.plan import Plan
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.formats import read_image_header
from mdcsrn.kspace import grid_affine, resample_grid

COUNT = 10_000
VOXEL = 1e-3  # the promise
TO_LPS = np.array([-1.0, -1.0, 1.0])


def random_affines(count: int, seed: int = 0) -> np.ndarray:
    """Oblique, flipped (half of them left-handed), anisotropic and a little sheared affines, (count, 4, 4), float64."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(count, rng=rng).as_matrix()
    turn[: count // 10] = np.eye(3)  # some are straight
    shear = np.broadcast_to(np.eye(3), (count, 3, 3)).copy()
    for row, column in ((0, 1), (0, 2), (1, 2)):
        shear[:, row, column] = rng.uniform(-0.2, 0.2, count) * (rng.random(count) < 0.5)
    spacing = np.exp(rng.uniform(np.log(0.3), np.log(6), (count, 3))) * rng.choice([-1, 1], (count, 3))
    affines = np.broadcast_to(np.eye(4), (count, 4, 4)).copy()
    affines[:, :3, :3] = turn @ shear * spacing[:, None, :]
    affines[:, :3, 3] = rng.uniform(-300, 300, (count, 3))
    return affines


def random_shapes(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Old and new grids of 1 to 400 samples per axis, finer or coarser."""
    rng = np.random.default_rng(seed)
    old = rng.integers(1, 401, (count, 3))
    new = np.maximum(1, np.rint(old * np.exp(rng.uniform(np.log(0.4), np.log(4), (count, 3)))).astype(int))
    return old, new


def landmarks(shape: np.ndarray) -> np.ndarray:
    """Corners, middles of edges and faces, and the middle of grids: homogeneous voxel indices (..., 4, 27)."""
    steps = np.stack(np.meshgrid(*[(0.0, 0.5, 1.0)] * 3, indexing="ij")).reshape(3, 27)
    index = steps * (np.asarray(shape)[..., None] - 1)
    return np.concatenate([index, np.ones_like(index[..., :1, :])], axis=-2)


def test_the_affines_are_what_they_should_be() -> None:
    affines = random_affines(COUNT)
    signs = np.sign(np.linalg.det(affines[:, :3, :3]))
    assert 0.4 < np.mean(signs < 0) < 0.6
    assert len(np.unique(affines.round(9), axis=0)) == COUNT
    spacing = np.linalg.norm(affines[:, :3, :3], axis=1)
    assert np.median(spacing.max(axis=1) / spacing.min(axis=1)) > 2


def test_landmarks_stay_on_10000_resampled_grids() -> None:
    affines, (old, new) = random_affines(COUNT), random_shapes(COUNT)
    resampled = np.stack(
        [
            grid_affine(torch.from_numpy(a), n, m).numpy()
            for a, n, m in zip(affines, old.tolist(), new.tolist(), strict=True)
        ]
    )
    world = affines @ landmarks(old)
    there = np.linalg.solve(resampled, world)[:, :3]
    # Independent rule: the middle samples coincide, and a step of one field of view is a step of one field of view.
    expected = (landmarks(old)[:, :3] - (old // 2)[..., None]) * (new / old)[..., None] + (new // 2)[..., None]
    assert np.abs(there - expected).max() < VOXEL
    assert (np.sign(np.linalg.det(resampled[:, :3, :3])) == np.sign(np.linalg.det(affines[:, :3, :3]))).all()
    # Each axis still runs the same way: its direction cosines are those of before.
    before = affines[:, :3, :3] / np.linalg.norm(affines[:, :3, :3], axis=1, keepdims=True)
    after = resampled[:, :3, :3] / np.linalg.norm(resampled[:, :3, :3], axis=1, keepdims=True)
    assert np.abs(before - after).max() < 1e-9


def random_tasks(spacing: np.ndarray, seed: int = 2) -> list[Task]:
    """Finer grids by factor, to a spacing, and to a spacing that is met exactly by padding; for voxels (count, 3)."""
    rng = np.random.default_rng(seed)
    found = []
    for i, edges in enumerate(spacing):
        finer = np.exp(rng.uniform(0, np.log(2.5), 3))
        share = rng.integers(2, 6, 3)  # of share + some samples: a multiple of it can always be reached
        exact = edges * share / (share + rng.integers(0, 4, 3))
        tasks = (
            Task("factor", factor=tuple(finer.tolist())),
            Task("to-spacing", spacing=tuple((edges / finer).tolist())),
            Task("to-spacing", spacing=tuple(exact.tolist()), exact_field=True),
        )
        found.append(tasks[i % 3])
    return found


def test_landmarks_stay_on_the_grids_of_plans() -> None:
    count = 600
    affines = random_affines(count, seed=3)
    shapes = np.random.default_rng(4).integers(2, 14, (count, 3))
    spacing = np.linalg.norm(affines[:, :3, :3], axis=1)
    kinds, padded = set(), 0
    for affine, shape, task in zip(affines, shapes, random_tasks(spacing), strict=True):
        volume = Volume(np.random.default_rng(0).random(shape).astype(np.float32), affine)
        plan = make_plan(volume, ScanFacts(acquisition="3D"), task)
        kinds.add(plan.kind)
        padded += plan.padding != ((0, 0), (0, 0), (0, 0))
        # Old sample p lies at p + before on the padded grid; then the rule of the test above.
        before = np.array([pair[0] for pair in plan.padding])
        field = shape + np.array([sum(pair) for pair in plan.padding])
        ratio = np.array(plan.shape) / field
        expected = (landmarks(shape)[:3].T + before - field // 2) * ratio + np.array(plan.shape) // 2
        there = np.linalg.solve(plan.affine, affine @ landmarks(shape))[:3].T
        assert np.abs(there - expected).max() < VOXEL
        assert np.sign(np.linalg.det(plan.affine[:3, :3])) == np.sign(np.linalg.det(affine[:3, :3]))
        if task.exact_field:
            np.testing.assert_allclose(plan.spacing, task.spacing, rtol=1.1e-4)
    assert kinds >= {"factor", "to-spacing"}
    assert padded > 50


def test_landmarks_survive_files(tmp_path: Path) -> None:
    for i, affine in enumerate(random_affines(250, seed=5)):
        shape = tuple(np.random.default_rng(i).integers(2, 6, 3).tolist())
        volume = Volume(np.random.default_rng(i).random(shape).astype(np.float32), affine)
        path = write_volume(volume, tmp_path / "a.nii")
        again = read_image_header(path).affine
        # A header holds float32: judge at the size of a real scan, where its errors are largest.
        marks = landmarks(np.array((256, 320, 320)))
        there = np.linalg.solve(affine, again @ marks)
        assert np.abs(there - marks).max() < VOXEL, i
        assert np.sign(np.linalg.det(again[:3, :3])) == np.sign(np.linalg.det(affine[:3, :3]))
        np.testing.assert_allclose(nib.load(path).affine, again, atol=1e-6)  # nibabel reads the same sform


def blob(shape: tuple[int, ...], centre: np.ndarray, width: float = 1.6) -> np.ndarray:
    """A Gaussian at a real-valued place: wide enough to be band-limited, narrow enough to vanish at the edges."""
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.exp(-sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) / (2 * width**2))


def centre_of_mass(array: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(array))


@pytest.mark.parametrize("seed", range(40))
def test_a_blob_stays_where_it_is_in_the_world(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    affine = random_affines(1000, seed=6)[seed * 20]
    shape = tuple(rng.integers(24, 32, 3).tolist())  # short enough that no band edge is looked for
    centre = (np.array(shape) - 1) / 2 + rng.uniform(-2, 2, 3)
    array = blob(shape, centre)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    task = random_tasks(np.broadcast_to(spacing, (seed + 1, 3)), seed=7)[seed]
    volume = Volume((1000 * array).astype(np.float32), affine)
    plan: Plan = make_plan(volume, ScanFacts(acquisition="3D"), task)
    fine = plan.low(torch.from_numpy(volume.array).double()).numpy()
    assert fine.shape == plan.shape
    measured = plan.affine @ np.append(centre_of_mass(fine), 1)
    true = affine @ np.append(centre, 1)
    apart = np.linalg.solve(affine[:3, :3], (measured - true)[:3])  # in voxels of the scan
    assert np.abs(apart).max() < VOXEL
    if is_brick(affine):  # ITK knows no shear
        path = write_volume(Volume(fine.astype(np.float32), plan.affine), tmp_path / "fine.nii.gz")
        image = sitk.ReadImage(str(path), sitk.sitkFloat64)
        index = centre_of_mass(sitk.GetArrayFromImage(image).transpose(2, 1, 0))
        world = np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist())) * TO_LPS
        apart = np.linalg.solve(affine[:3, :3], world - true[:3])
        assert np.abs(apart).max() < VOXEL


def is_brick(affine: np.ndarray) -> bool:
    """True where the axes are perpendicular."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-6))


def test_itk_compares_some_of_the_blobs() -> None:
    assert 3 <= sum(map(is_brick, random_affines(1000, seed=6)[::20][:40])) < 40


@pytest.mark.parametrize("seed", range(12))
def test_left_stays_left(seed: int) -> None:
    """A strong blob on the person's left and a weak one on the right, seen again after resampling, in the world."""
    rng = np.random.default_rng(seed)
    affine = random_affines(1000, seed=8)[seed * 7]
    shape = tuple(rng.integers(28, 34, 3).tolist())
    middle = (np.array(shape) - 1) / 2
    along = np.linalg.solve(affine[:3, :3], [-1.0, 0, 0])  # towards the left in voxels: RAS+, so left is negative x
    step = along / np.abs(along).max() * 5
    array = 1000 * (2 * blob(shape, middle + step) + blob(shape, middle - step))
    left, right = (affine @ np.append(middle + s, 1) for s in (step, -step))
    assert left[0] < right[0]
    new = tuple(int(n * f) for n, f in zip(shape, rng.uniform(1, 2, 3), strict=True))
    fine = resample_grid(torch.from_numpy(array), new).numpy()
    to_voxel = np.linalg.inv(grid_affine(torch.from_numpy(affine), shape, new).numpy())
    values = [float(ndimage.map_coordinates(fine, (to_voxel @ p)[:3, None], order=3)[0]) for p in (left, right)]
    assert values[0] == pytest.approx(2000, rel=0.05)
    assert values[1] == pytest.approx(1000, rel=0.05)


def test_a_shift_of_half_a_voxel_would_be_seen() -> None:
    """The measure of these tests is sharp: the naive rule (edges of the field of view aligned) fails it by far."""
    affine, shape, new = np.eye(4), (32, 32, 32), (64, 64, 64)
    fine = resample_grid(torch.from_numpy(blob(shape, np.array([15.3, 16.1, 14.8]))), new).numpy()
    naive = np.diag([0.5, 0.5, 0.5, 1.0])
    naive[:3, 3] = -0.25
    apart = (naive @ np.append(centre_of_mass(fine), 1))[:3] - (15.3, 16.1, 14.8)
    assert np.abs(apart).min() > 0.2
    exact = grid_affine(torch.from_numpy(affine), shape, new).numpy()
    assert np.abs((exact @ np.append(centre_of_mass(fine), 1))[:3] - (15.3, 16.1, 14.8)).max() < VOXEL
