"""Unpaired patches: each side is its own list's, the same for every number of workers and restarts; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.data.unpaired import UnpairedPatches, check_unpaired
from mdcsrn.engines import training_loader, unpaired_loader
from mdcsrn.errors import ConfigError, DataError

BOX = {"patch_size": (2, 8, 8), "batch_size": 2, "patches_per_volume": 4, "volumes_per_group": 2, "streams": 2}


def load(item: dict[str, Any]) -> dict[str, Any]:
    """A volume whose level says which it is."""
    random = torch.Generator().manual_seed(item["image"])
    return {"image": 10 * (1 + item["image"]) + torch.rand(1, 6, 16, 20, generator=random)}


def unchanged(pair: dict[str, Any]) -> dict[str, Any]:
    return pair


def halve(pair: dict[str, Any]) -> dict[str, Any]:
    return {**pair, "image": nn.functional.avg_pool3d(torch.as_tensor(pair["label"]), (1, 2, 2))}


def loader(workers: int = 0) -> Any:
    high = training_loader([{"image": n} for n in range(3)], load, unchanged, seed=5, num_workers=workers, **BOX)
    low = training_loader([{"image": n} for n in range(7, 11)], load, halve, seed=6, scale=(1, 2, 2), **BOX)
    return unpaired_loader(high, low)


def taken(source: Any, count: int = 6) -> list[dict[str, Tensor]]:
    return list(islice(source, count))


def test_each_side_is_its_own_lists() -> None:
    levels: dict[str, set[int]] = {"image": set(), "label": set()}
    for number, batch in enumerate(taken(loader(), 16)):
        assert batch["label"].shape == (2, 1, 2, 8, 8)
        assert batch["image"].shape == (2, 1, 2, 4, 4)
        assert batch["paired"].tolist() == [False, False]
        assert batch["sample"].tolist() == [2 * number, 2 * number + 1]
        for key, seen in levels.items():
            seen.update(int(patch.mean()) // 10 - 1 for patch in batch[key])
    assert levels == {"label": {0, 1, 2}, "image": {7, 8, 9, 10}}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_restarts_change_nothing(workers: int) -> None:
    whole = taken(loader())
    later = loader(workers)
    later.batch_sampler.start = 2
    for one, other in zip(whole[2:], taken(later, 4), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_sample_is_a_function_of_its_number() -> None:
    batches, data = taken(loader()), loader().dataset
    assert isinstance(data, UnpairedPatches)
    for number in (7, 2, 11, 2):
        for key in ("image", "label"):
            assert torch.equal(data[number][key], batches[number // 2][key][number % 2])
    assert isinstance(loader().batch_sampler, SampleStream)


def test_lists_that_do_not_go_together(files: list[Path], dataset: Callable) -> None:
    high = dataset(files)
    with pytest.raises(ConfigError, match=r"one seed.*7"):
        UnpairedPatches(high, dataset(files))
    with pytest.raises(ConfigError, match=r"batch_size.*got: 4.*allowed: 2"):
        UnpairedPatches(high, dataset(files, seed=8, batch_size=4))
    with pytest.raises(ConfigError, match=r"streams.*got: 2"):
        UnpairedPatches(high, dataset(files, seed=8, streams=2))


@pytest.mark.parametrize("key", ["image", "subject", "person"])
def test_nobody_is_in_both_lists(key: str) -> None:
    high = [{"image": "a.nii.gz", "subject": "1", "person": "p"}]
    low = [{"image": "b.nii.gz", "subject": "2", "person": "q"}]
    check_unpaired(high, low)
    with pytest.raises(DataError, match=f"unpaired lists: the same {key}.*{high[0][key]} in high and in low"):
        check_unpaired(high, [{**low[0], key: high[0][key]}])
