"""Three small heads as files, and the training patches of the bundle in small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.data import CacheDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandFlipd, RandRotate90d

from mdcsrn.data.patches import PatchDataset
from mdcsrn.transforms import RandKSpaceLowPassd, ScaleByPercentiled

SHAPES = [(32, 34, 36), (33, 32, 38), (36, 36, 32)]


def blob(shape: Sequence[int], seed: int) -> np.ndarray:
    """A bright ellipsoid with texture in a dark field."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum((2 * a) ** 2 for a in axes) < 1
    return (inside * (300 + 200 * random.random(tuple(shape)))).astype(np.float32)


def loaded(paths: Sequence[Path]) -> CacheDataset:
    load = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])
    return CacheDataset([{"image": str(p)} for p in paths], load, progress=False)


def poses() -> Compose:
    flips = [RandFlipd(["image", "label"], prob=0.5, spatial_axis=axis) for axis in range(3)]
    return Compose([*flips, RandRotate90d(["image", "label"], prob=0.5, max_k=1, spatial_axes=(0, 1))])


def patches(paths: Sequence[Path], **options: Any) -> PatchDataset:
    low_pass = RandKSpaceLowPassd("image", reduction=(1.5, 2.5), axes="pair", noise=(0.0, 0.05))
    scale = ScaleByPercentiled(["image", "label"], reference_key="image")
    settings = {"patch_size": 12, "batch_size": 2, "patches_per_volume": 4, "volumes_per_group": 2, "seed": 7}
    return PatchDataset(loaded(paths), Compose([low_pass, scale]), **{"augment": poses(), **settings, **options})


@pytest.fixture(scope="session")
def heads() -> list[np.ndarray]:
    return [blob(shape, number) for number, shape in enumerate(SHAPES)]


@pytest.fixture(scope="session")
def files(heads: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("volumes")
    paths = [folder / f"sub-{number}.nii.gz" for number in range(len(heads))]
    for path, head in zip(paths, heads, strict=True):
        nib.save(nib.Nifti1Image(head, np.eye(4)), path)
    return paths


@pytest.fixture(scope="session")
def volumes() -> Callable[[Sequence[Path]], CacheDataset]:
    return loaded


@pytest.fixture(scope="session")
def augmentation() -> Callable[[], Compose]:
    """Flips and turns of a patch pair."""
    return poses


@pytest.fixture(scope="session")
def dataset() -> Callable[..., PatchDataset]:
    """``dataset(files, **options)``: as in the bundle, small; patches of 12 cubed."""
    return patches
