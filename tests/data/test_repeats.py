"""Volumes of a scarce scanner, drawn more often in a pass: as often as said, from the datalist to the patches."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.data.datalist import load_datalist, repeats
from mdcsrn.data.patches import PatchDataset
from mdcsrn.errors import ConfigError, DataError

counts_of_volumes = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def order(count: int, repeats: list[int] | None, draws: int, seed: int = 0) -> list[int]:
    data = PatchDataset([{}] * count, lambda d: d, seed=seed, repeats=repeats)  # no volume is touched
    return [data.volume_of(draw) for draw in range(draws)]


@settings(deadline=None, max_examples=60)
@given(counts_of_volumes, st.integers(0, 2**32 - 1))
def test_every_pass_draws_each_volume_as_often_as_said(counts: list[int], seed: int) -> None:
    once = sum(counts)
    found = order(len(counts), counts, 3 * once, seed)
    for turn in range(3):
        assert Counter(found[turn * once : (turn + 1) * once]) == dict(enumerate(counts))


@settings(deadline=None, max_examples=30)
@given(counts_of_volumes, st.integers(0, 1000), st.randoms())
def test_a_draw_is_a_function_of_the_seed_and_its_number(counts: list[int], seed: int, random: Any) -> None:
    numbers = list(range(40))
    expected = order(len(counts), counts, 40, seed)
    random.shuffle(numbers)
    data = PatchDataset([{}] * len(counts), lambda d: d, seed=seed, repeats=counts)
    assert {number: data.volume_of(number) for number in numbers} == dict(enumerate(expected))


def test_passes_and_seeds_give_other_orders() -> None:
    counts = [1, 2, 4, 1]
    found = order(4, counts, 8 * 20)
    assert len({tuple(found[8 * turn : 8 * turn + 8]) for turn in range(20)}) > 15
    assert len({tuple(order(4, counts, 32, seed)) for seed in range(5)}) == 5


def test_once_each_is_the_default() -> None:
    assert order(5, None, 25) == order(5, [1] * 5, 25)


def test_patches_come_in_the_shares_of_their_volumes() -> None:
    counts = [3, 1, 2]
    volumes = [{"image": torch.full((1, 6, 6, 6), value + 1.0)} for value in range(3)]
    data = PatchDataset(volumes, lambda d: d, None, 4, 2, 4, 2, seed=3, repeats=counts)
    whole = 4 * sum(counts)  # patches of one pass: three groups of two draws
    seen = Counter(float(data[number]["label"].max()) for number in range(whole))
    assert seen == {1.0: 12, 2.0: 4, 3.0: 8}


@pytest.mark.parametrize("wrong", [[], [1], [1, 2, 3], [1, 0], [1, -1], [1, 1.5], [1, True], [1, "2"], [1, None]])
def test_counts_that_are_refused(wrong: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"repeats.*2 numbers >= 1"):
        PatchDataset([{}, {}], lambda d: d, repeats=wrong)


def test_the_datalist_says_how_often(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.nii.gz").touch()
    entries = [{"image": "a.nii.gz"}, {"image": "b.nii.gz", "repeat": 4}, {"image": "c.nii.gz", "repeat": 1}]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries}))
    assert repeats(load_datalist(tmp_path / "datalist.json", "training")) == [1, 4, 1]


@pytest.mark.parametrize("wrong", [0, -2, 1.5, True, "3", None, [2]])
def test_a_repeat_that_is_no_count_names_its_image(wrong: Any) -> None:
    with pytest.raises(DataError, match=r"b\.nii\.gz: repeat.*>= 1"):
        repeats([{"image": "a.nii.gz", "repeat": 2}, {"image": "b.nii.gz", "repeat": wrong}])
