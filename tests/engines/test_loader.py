"""The training loader's builder: the same batches as its pieces put together by hand, on one grid and on two."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import nn

from mdcsrn.data.patches import PatchDataset, SampleStream
from mdcsrn.engines import training_loader

ITEMS = [{"image": n} for n in range(3)]


def load(item: dict[str, Any]) -> dict[str, Any]:
    random = torch.Generator().manual_seed(item["image"])
    return {"image": torch.rand(1, 12, 16, 20, generator=random) + 0.5}


def degrade(pair: dict[str, Any]) -> dict[str, Any]:
    return {**pair, "image": pair["image"] * 0.5}


def halve(pair: dict[str, Any]) -> dict[str, Any]:
    return {**pair, "image": nn.functional.avg_pool3d(torch.as_tensor(pair["label"]), (1, 2, 2))}


def test_batches_are_those_of_the_pieces() -> None:
    sizes = {"patch_size": 8, "batch_size": 3, "patches_per_volume": 2, "volumes_per_group": 2, "seed": 5}
    loader = training_loader(ITEMS, load, degrade, **sizes)
    assert isinstance(loader.dataset, PatchDataset)
    assert isinstance(loader.batch_sampler, SampleStream)
    dataset = PatchDataset([load(item) for item in ITEMS], degrade, **sizes)
    for number, batch in enumerate(islice(loader, 4)):
        assert batch["sample"].tolist() == [3 * number + k for k in range(3)]
        for k in range(3):
            expected = dataset[3 * number + k]
            assert all(torch.equal(batch[key][k], expected[key]) for key in ("image", "label", "coefficient"))


def test_two_grids_and_a_box() -> None:
    loader = training_loader(ITEMS, load, halve, patch_size=(4, 8, 12), batch_size=2, scale=(1, 2, 2))
    batch = next(iter(loader))
    assert batch["label"].shape == (2, 1, 4, 8, 12)
    assert batch["image"].shape == (2, 1, 4, 4, 6)
    torch.testing.assert_close(batch["image"], nn.functional.avg_pool3d(batch["label"], (1, 2, 2)))
