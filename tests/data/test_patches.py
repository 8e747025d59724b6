"""Training patches: the same for every number of workers, processes and restarts, cut from where they say."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import DataLoader

from mdcsrn.data.patches import PatchDataset, SampleStream
from mdcsrn.errors import ConfigError, DataError

P = 12


def samples(batches: Sequence[dict[str, Tensor]]) -> dict[int, dict[str, Tensor]]:
    """Samples of collated batches by number."""
    return {
        int(batch["sample"][i]): {key: value[i] for key, value in batch.items()}
        for batch in batches
        for i in range(len(batch["sample"]))
    }


def assert_equal(one: dict[int, dict[str, Tensor]], other: dict[int, dict[str, Tensor]]) -> None:
    assert one.keys() == other.keys()
    for number in one:
        for key in ("image", "label", "coefficient"):
            assert torch.equal(one[number][key], other[number][key]), (number, key)


def batches(data: PatchDataset, count: int, workers: int = 0, **stream: int) -> list[dict[str, Tensor]]:
    sampler = SampleStream(data.batch_size, **stream)
    return list(itertools.islice(DataLoader(data, batch_sampler=sampler, num_workers=workers), count))


@pytest.fixture(scope="module")
def expected(files: list[Path], dataset: Callable) -> dict[int, dict[str, Tensor]]:
    """The first 24 samples, read in order in this process."""
    return samples(batches(dataset(files), 12))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(files: list[Path], expected: dict, workers: int, dataset: Callable) -> None:
    assert_equal(expected, samples(batches(dataset(files), 12, workers)))


@pytest.mark.parametrize("start", [1, 5, 8])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_gives_what_would_have_come(
    files: list[Path], expected: dict, start: int, workers: int, dataset: Callable
) -> None:
    rest = samples(batches(dataset(files), 12 - start, workers, start=start))
    assert_equal({n: s for n, s in expected.items() if n >= 2 * start}, rest)


def test_order_of_access_changes_nothing(files: list[Path], expected: dict, dataset: Callable) -> None:
    data = dataset(files)
    order = np.random.default_rng(1).permutation(24)
    found = {int(n): data[int(n)] for n in (*order, *order[:3])}  # some twice
    assert_equal(expected, found)


def test_the_global_random_state_plays_no_part_and_is_left_alone(
    files: list[Path], expected: dict, dataset: Callable
) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that MONAI's own transforms may use
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data = dataset(files)
    found = {n: data[n] for n in range(6)}
    assert_equal({n: expected[n] for n in range(6)}, found)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("world", [2, 4])
def test_processes_together_see_what_one_sees(files: list[Path], world: int, dataset: Callable) -> None:
    whole = samples(batches(dataset(files, batch_size=4), 6))
    parts: dict[int, dict[str, Tensor]] = {}
    for rank in range(world):
        mine = samples(batches(dataset(files, batch_size=4), 6, rank=rank, world_size=world))
        assert len(mine) == 24 // world
        assert not parts.keys() & mine.keys()
        parts |= mine
    assert_equal(whole, dict(sorted(parts.items())))


def test_streams_are_part_of_the_setting_workers_are_not(files: list[Path], dataset: Callable) -> None:
    four = samples(batches(dataset(files, streams=3), 12))
    assert_equal(four, samples(batches(dataset(files, streams=3), 12, workers=3)))


def test_seeds_differ(files: list[Path], expected: dict, dataset: Callable) -> None:
    other = dataset(files, seed=8)[0]
    assert not torch.equal(other["label"], expected[0]["label"])
    assert other["coefficient"] != expected[0]["coefficient"]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_every_patch_of_every_draw_comes_once(batch: int, patches: int, group: int, streams: int, count: int) -> None:
    """All groups of all streams filled: each draw gives its patches 0 ... n - 1, and each volume comes once a pass."""
    data = PatchDataset(
        [{}] * count, lambda d: d, None, P, batch, patches, group, streams, seed=3
    )  # volumes are not touched
    per_group = patches * group
    rounds = batch  # so many groups of a stream fill whole batches
    total = per_group * rounds * streams
    seen = Counter(data.locate(n) for n in range(total))
    draws = group * rounds * streams
    assert seen == Counter(itertools.product(range(draws), range(patches)))
    for turn in range(draws // count):
        used = [data.volume_of(turn * count + place) for place in range(count)]
        assert sorted(used) == list(range(count))


def test_passes_are_new_permutations() -> None:
    data = PatchDataset([{}] * 8, lambda d: d, seed=0)
    passes = {tuple(data.volume_of(8 * turn + place) for place in range(8)) for turn in range(20)}
    assert len(passes) == 20
    assert {p[0] for p in passes} == set(range(8))  # an index sampler that always ran 0 ... n - 1 would not do


def test_volumes_of_different_sizes_make_one_batch(files: list[Path], dataset: Callable) -> None:
    batch = batches(dataset(files, batch_size=8), 1)[0]
    assert batch["image"].shape == (8, 1, P, P, P)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_volume_smaller_than_a_patch_is_named(files: list[Path], workers: int, dataset: Callable) -> None:
    with pytest.raises(DataError, match=r"sub-\d\.nii\.gz is smaller than a patch"):
        batches(dataset(files, patch_size=33), 6, workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_transform_keeps_its_kind(files: list[Path], workers: int, volumes: Callable) -> None:
    def fail(data: dict[str, Any]) -> dict[str, Any]:
        raise DataError("sub-1.nii.gz has no contrast")

    with pytest.raises(DataError, match=r"sub-1\.nii\.gz has no contrast"):
        batches(PatchDataset(volumes(files), Compose([fail]), None, P), 1, workers)


def test_no_volumes() -> None:
    with pytest.raises(DataError, match="empty"):
        PatchDataset([], lambda d: d)


@pytest.mark.parametrize(
    "options",
    [{"patch_size": 0}, {"batch_size": 1.5}, {"patches_per_volume": True}, {"volumes_per_group": -1}, {"streams": 0},
     {"foreground": 1.5}],
)  # fmt: skip
def test_bad_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PatchDataset([{}], lambda d: d, **options)


@pytest.mark.parametrize("values", [(0, 0, 0, 1), (3, 0, 0, 2), (2, 0, 2, 2), (2, 0, -1, 2)])
def test_batches_that_processes_cannot_share(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="shared evenly"):
        SampleStream(*values)


def test_stream_is_endless_and_starts_where_told() -> None:
    first = list(itertools.islice(SampleStream(4, start=3, rank=1, world_size=2), 2))
    assert first == [[13, 15], [17, 19]]
    counted: Callable[[int], int] = lambda n: len(list(itertools.islice(SampleStream(1), n)))  # noqa: E731
    assert counted(5_000) == 5_000
