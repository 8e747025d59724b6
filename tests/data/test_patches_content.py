"""What is in a training patch: cut from where it says, degraded as a whole volume, posed with its reference."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import Tensor

from mdcsrn.data.patches import PatchDataset
from mdcsrn.errors import ConfigError, DataError
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.transforms import KSpaceLowPassd, RandKSpaceLowPassd, ScaleByPercentiled

P = 12


def test_a_volume_is_degraded_once_for_its_patches(files: list[Path], volumes: Callable) -> None:
    seen: list[int] = []

    def count(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(1)
        return data

    data = PatchDataset(volumes(files), count, None, P, 2, 8, 2, seed=1)
    for n in range(64):
        data[n]
    assert len(seen) == 64 // 8
    assert len(data._draws) <= 3


class Place:
    """Stands for a degradation: every voxel's value is its place, so that a patch says where it was cut."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        label = torch.as_tensor(np.asarray(data["label"]))
        places = torch.arange(label.numel(), dtype=torch.float32).view_as(label)
        return {"image": places, "label": label}


def test_foreground_patches_are_centred_in_the_head(
    files: list[Path], heads: list[np.ndarray], volumes: Callable
) -> None:
    shares = {}
    for foreground in (1.0, 0.0):
        data = PatchDataset(volumes(files), Place(), None, P, 2, 4, 2, seed=5, foreground=foreground)
        inside, corners = [], set()
        for n in range(120):
            index = data.volume_of(data.locate(n)[0])
            corner = np.unravel_index(int(data[n]["image"][0, 0, 0, 0]), heads[index].shape)
            corners.add(tuple(int(c) for c in corner))
            inside.append(bool(heads[index][tuple(c + P // 2 for c in corner)] > 0))
        assert len(corners) > 100
        shares[foreground] = np.mean(inside)
    assert shares[1.0] == 1.0
    assert shares[0.0] < 0.8


def test_patches_reach_every_border(files: list[Path], heads: list[np.ndarray], volumes: Callable) -> None:
    data = PatchDataset(volumes(files[:1]), Place(), None, 28, 2, 4, 2, seed=5, foreground=0.0)
    corners = np.array([np.unravel_index(int(data[n]["image"][0, 0, 0, 0]), heads[0].shape) for n in range(150)])
    assert corners.min(axis=0).tolist() == [0, 0, 0]
    assert corners.max(axis=0).tolist() == [n - 28 for n in heads[0].shape]


def test_image_and_label_are_the_same_place(files: list[Path], heads: list[np.ndarray], volumes: Callable) -> None:
    """The image patch is the label's whole volume, degraded and scaled, at the label patch's place."""
    low_pass = RandKSpaceLowPassd("image", reduction=(2.0, 2.0), axes=(1, 2))
    scale = ScaleByPercentiled(["image", "label"], reference_key="image")
    data = PatchDataset(volumes(files), Compose([low_pass, scale]), None, P, 2, 4, 2, seed=2)
    spec = DegradationSpec((1, 2, 2))
    for n in range(6):
        label = torch.from_numpy(heads[data.volume_of(data.locate(n)[0])])
        image = degrade(label, spec)
        factor = 1 / np.percentile(image.numpy(), 99.9)
        sample = data[n]
        windows = (label * factor).unfold(0, P, 1).unfold(1, P, 1).unfold(2, P, 1)
        matches = torch.isclose(windows, sample["label"][0], rtol=1e-4, atol=1e-6).flatten(3).all(dim=3).nonzero()
        assert len(matches) == 1
        d, h, w = matches[0].tolist()
        expected = (image * factor)[d : d + P, h : h + P, w : w + P]
        torch.testing.assert_close(sample["image"][0], expected, rtol=1e-3, atol=1e-4)


def test_flips_and_turns_take_both_and_reach_many_poses(
    files: list[Path], volumes: Callable, augmentation: Callable
) -> None:
    """With image = label before, they are equal after; and the augmented patch is a pose of the plain one."""

    def same(data: dict[str, Any]) -> dict[str, Any]:
        return {"image": data["label"], "label": data["label"]}

    plain = PatchDataset(volumes(files), same, None, P, seed=4)
    moved = PatchDataset(volumes(files), same, augmentation(), P, seed=4)
    poses = Counter()
    for n in range(40):
        sample, reference = moved[n], plain[n]["label"]
        assert torch.equal(sample["image"], sample["label"])
        for flips in itertools.product((False, True), repeat=3):
            axes = [axis + 1 for axis, flip in enumerate(flips) if flip]
            for turned in (0, 1):
                if torch.equal(torch.rot90(reference.flip(axes), turned, (1, 2)), sample["label"]):
                    poses[(*flips, turned)] += 1
    assert sum(poses.values()) == 40
    assert len(poses) >= 10


def test_coefficients_are_uniform_one_for_each_sample(files: list[Path], volumes: Callable) -> None:
    data = PatchDataset(volumes(files), lambda d: d, None, P, seed=9)
    values = np.array([float(data[n]["coefficient"]) for n in range(400)])
    assert data[0]["coefficient"].shape == ()
    assert ((values >= 0) & (values < 1)).all()
    sorted_values = np.sort(values)
    distance = np.abs(sorted_values - (np.arange(400) + 0.5) / 400).max()  # Kolmogorov-Smirnov
    assert distance < 1.63 / np.sqrt(400)  # 1 % level
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.15


def test_what_a_sample_is(files: list[Path], dataset: Callable) -> None:
    sample = dataset(files)[3]
    assert sample.keys() == {"image", "label", "coefficient", "sample"}
    for key in ("image", "label"):
        assert type(sample[key]) is Tensor  # no MetaTensor: nothing to collate but numbers
        assert sample[key].dtype == torch.float32
        assert sample[key].shape == (1, P, P, P)
        assert sample[key].is_contiguous()
    assert sample["sample"] == 3


def test_one_degradation_for_a_draw(files: list[Path], volumes: Callable) -> None:
    specs: list[DegradationSpec] = []
    low_pass = RandKSpaceLowPassd("image", reduction=(1.5, 2.5), axes="pair")

    class Record(Compose):
        def __call__(self, data: Any, *args: Any) -> Any:
            result = super().__call__(data)
            specs.append(low_pass.transform.spec)
            return result

    data = PatchDataset(volumes(files), Record([low_pass]), None, P, 2, 4, 2, seed=2)
    for n in range(32):
        data[n]
    assert len(specs) == 8
    assert len(set(specs)) == 8  # each draw has its own
    assert len({tuple(r > 1 for r in s.reduction) for s in specs}) > 1  # and its own pair of axes


class Shrink:
    """The image on a grid that is coarser by `scale`, from a reference whose axes are cut to its multiples."""

    def __init__(self, scale: tuple[int, int, int], cut: bool = True) -> None:
        self.scale, self.cut = scale, cut

    def __call__(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        label = torch.as_tensor(np.asarray(data["label"]))
        if self.cut:
            label = label[(..., *(slice(0, n - n % s) for n, s in zip(label.shape[-3:], self.scale, strict=True)))]
        shape = [n // s for n, s in zip(label.shape[-3:], self.scale, strict=True)]
        return {"label": label, "image": label[..., :: self.scale[0], :: self.scale[1], :: self.scale[2]][
            ..., : shape[0], : shape[1], : shape[2]
        ]}  # fmt: skip


@pytest.mark.parametrize("scale", [(1, 2, 2), (2, 1, 3), (1, 1, 1)])
def test_two_grids_share_a_corner(files: list[Path], volumes: Callable, scale: tuple[int, int, int]) -> None:
    size = (6, 12, 18)
    data = PatchDataset(volumes(files), Shrink(scale), None, size, 2, 4, 2, seed=3, scale=scale)
    for number in range(12):
        sample = data[number]
        assert sample["label"].shape == (1, *size)
        assert sample["image"].shape == (1, *(n // s for n, s in zip(size, scale, strict=True)))
        coarse = sample["label"][:, :: scale[0], :: scale[1], :: scale[2]]
        assert torch.equal(sample["image"], coarse)


def test_grids_that_do_not_fit_are_named(files: list[Path], volumes: Callable) -> None:
    data = PatchDataset(volumes(files[:1]), Shrink((1, 2, 3), cut=False), None, 12, 2, 4, 2, scale=(1, 2, 2))
    with pytest.raises(DataError, match=r"image \(32, 17, 12\), label \(32, 34, 36\)"):
        data[0]
    for options in (
        {"patch_size": (12, 12)},
        {"patch_size": 12, "scale": (1, 2, 0)},
        {"patch_size": 9, "scale": (1, 2, 2)},
    ):
        with pytest.raises(ConfigError):
            PatchDataset(volumes(files[:1]), Shrink((1, 1, 1)), **options)


@pytest.mark.parametrize(("shape", "scale"), [((4, 36, 44), 2), ((4, 42, 46), 2), ((4, 45, 51), 3), ((4, 52, 60), 4)])
def test_an_acquired_voxel_is_at_its_place_in_the_label(shape: tuple[int, int, int], scale: int) -> None:
    """Whatever the parity of the acquired matrix: of a smooth volume, image voxel j is label voxel `scale` j."""
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    smooth = degrade(noise, DegradationSpec((1, 1.5 * scale, 1.5 * scale))) + 2
    low_pass = KSpaceLowPassd("image", {"reduction": [1, scale, scale], "grid": "acquired"})
    volumes = [{"image": MetaTensor(smooth, affine=torch.diag(torch.tensor([2.0, 0.5, 0.7, 1.0])))}]
    size = (2, 8 * scale, 6 * scale)
    data = PatchDataset(volumes, low_pass, None, size, 2, 4, 1, seed=3, foreground=0.0, scale=(1, scale, scale))
    for n in range(12):
        sample = data[n]
        assert sample["image"].shape == (1, 2, 8, 6)
        torch.testing.assert_close(sample["image"], sample["label"][..., ::scale, ::scale], atol=1e-4, rtol=0)


def test_a_patch_as_large_as_a_volume_of_odd_matrix() -> None:
    volume = MetaTensor(torch.rand(1, 2, 14, 14, generator=torch.Generator().manual_seed(0)))
    low_pass = KSpaceLowPassd("image", {"reduction": [1, 2, 2], "grid": "acquired"})
    data = PatchDataset([{"image": volume}], low_pass, None, (2, 14, 14), 1, 1, 1, scale=(1, 2, 2))
    with pytest.raises(DataError, match="its two grids aligned"):
        data[0]
