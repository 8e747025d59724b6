"""Training patches from pictures: a 2D patch size takes them, a 3D one says what is wrong."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import Dataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from mdcsrn.data.patches import PatchDataset
from mdcsrn.errors import DataError, root_error
from mdcsrn.io.reader import NiftiReader
from mdcsrn.transforms import BicubicDownsampled, CheckVolumed, KSpaceLowPassd


def picture(path: Path) -> Path:
    array = np.random.default_rng(1).integers(20, 250, (40, 52), np.uint8)
    Image.fromarray(array).save(path)
    return path


def dataset(path: Path, smallest: object, **options: object) -> PatchDataset:
    load = [
        LoadImaged("image", reader=NiftiReader, image_only=True),
        EnsureChannelFirstd("image"),
        CheckVolumed("image", smallest=smallest),
    ]
    settings = {"degrade": KSpaceLowPassd("image", {"reduction": [1, 2, 2]}), "augment": None, "patch_size": smallest}
    settings |= {"batch_size": 2, "patches_per_volume": 2, "volumes_per_group": 1, "seed": 3}
    return PatchDataset(Dataset([{"image": str(path)}], Compose(load)), **{**settings, **options})


def test_patches_of_one_plane(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    sample = dataset(path, (1, 16, 16))[0]
    assert sample["image"].shape == sample["label"].shape == (1, 1, 16, 16)
    whole = np.asarray(Image.open(path), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (16, 16))
    assert (windows == sample["label"][0, 0].numpy()).all(axis=(2, 3)).any()


def test_patches_of_two_grids(tmp_path: Path) -> None:
    """The coarse picture of the bicubic setting beside its reference, as a network that upsamples reads them."""
    degrade = Compose([BicubicDownsampled("image", factor=2, sigma=1.0)])
    sample = dataset(picture(tmp_path / "a.png"), (1, 16, 16), degrade=degrade, scale=(1, 2, 2))[0]
    assert (sample["image"].shape, sample["label"].shape) == ((1, 1, 8, 8), (1, 1, 16, 16))


@pytest.mark.parametrize("across", [1, 2])
def test_planes_across_any_axis_train(tmp_path: Path, across: int) -> None:
    """Six thick slices along another axis than the first: each patch is part of one, and of no plane across them."""
    slices = np.random.default_rng(2).random((6, 40, 36), np.float32)
    affine = np.array([[0.9, 0, 0.1, 5], [0, 1.1, 0, -7], [0, 0.2, 4, 2], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.moveaxis(slices, 0, across).copy(), affine), tmp_path / "thick.nii.gz")
    seen: list[MetaTensor] = []

    def keep(data: dict) -> dict:
        seen.append(data["label"].clone())
        return data

    patches = dataset(tmp_path / "thick.nii.gz", (1, 16, 16), degrade=keep)
    patches.volumes.transform = Compose(patches.volumes.transform.transforms[:2])  # as bundles load: any size
    windows = np.lib.stride_tricks.sliding_window_view(slices, (16, 16), axis=(1, 2))
    for number in range(4):
        sample = patches[number]
        assert (windows == sample["label"][0, 0].numpy()).all(axis=(3, 4)).any()
    (whole,) = {tuple(volume.shape): volume for volume in seen}.values()
    assert whole.shape == (1, 6, 40, 36)
    index = [2, 11, 30, 1]  # the same voxel is in the same place of the world
    before = [*np.insert([11, 30], across, 2), 1]
    np.testing.assert_allclose(whole.affine.numpy() @ index, affine @ before, rtol=1e-6)
    larger = PatchDataset(patches.volumes, keep, patch_size=(1, 38, 38))  # that fits no way
    with pytest.raises(DataError, match="smaller than a patch"):
        larger[0]


@pytest.mark.parametrize("smallest", [16, (2, 16, 16)])
def test_3d_patches_say_that_it_is_one_plane(tmp_path: Path, smallest: object) -> None:
    path = picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is too small.*one plane: 3D patches.*2D.*\(1, 16, 16\)"):
        dataset(path, smallest)[0]
    with pytest.raises(RuntimeError) as caught:
        Compose(
            [LoadImaged("image", reader=NiftiReader), EnsureChannelFirstd("image"), CheckVolumed("image", smallest)]
        )({"image": str(path)})
    assert "one plane" in str(root_error(caught.value))
    bare = dataset(path, (1, 16, 16), patch_size=(2, 16, 16))
    with pytest.raises(DataError, match=r"a\.png is smaller than a patch.*one plane"):
        bare[0]
