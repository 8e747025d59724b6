"""Cached volumes: memory or disk, one result, one loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from mdcsrn.data.caching import cached
from mdcsrn.errors import DataError
from mdcsrn.io import Volume, write_volume
from mdcsrn.transforms import CheckVolumed

LOAD = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image"), CheckVolumed("image")])


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, str]]:
    paths = []
    for number in range(3):
        array = np.random.default_rng(number).random((6, 7, 8), dtype=np.float32)
        paths.append(write_volume(Volume(array, np.eye(4)), tmp_path / f"scan{number}.nii.gz"))
    return [{"image": str(path)} for path in paths]


def test_memory_and_disk_give_the_same_volumes(items: list[dict[str, str]], tmp_path: Path) -> None:
    in_memory, on_disk = cached(items, LOAD), cached(items, LOAD, cache_dir=tmp_path / "cache")
    for first, second in zip(in_memory, on_disk, strict=True):
        assert torch.equal(torch.as_tensor(first["image"]), torch.as_tensor(second["image"]))
    assert len(list((tmp_path / "cache").glob("*.pt"))) == len(items)


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("transform", [LOAD, Compose([LOAD])], ids=["plain", "nested"])
def test_files_are_read_once(items: list[dict[str, str]], tmp_path: Path, disk: bool, transform: Compose) -> None:
    volumes = cached(items, transform, cache_dir=tmp_path / "cache" if disk else "")
    before = [volumes[place]["image"].clone() for place in range(3)]
    for item in items:
        Path(item["image"]).unlink()
    for place in range(3):
        assert torch.equal(volumes[place]["image"], before[place])


def test_a_bad_volume_is_named(items: list[dict[str, str]], tmp_path: Path) -> None:
    bad = write_volume(Volume(np.zeros((6, 7, 8), np.float32), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(DataError, match="empty.nii.gz"):
        cached([*items, {"image": str(bad)}], LOAD)
