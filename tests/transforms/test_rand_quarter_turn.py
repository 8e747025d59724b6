"""Quarter turns that leave a picture's plane in place: against MONAI's own where both axes are long enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import RandRotate90d

from mdcsrn.errors import ConfigError
from mdcsrn.transforms import RandQuarterTurnd


@given(st.integers(0, 2**31), st.sampled_from([(0, 1), (0, 2), (1, 2)]), st.integers(1, 12))
def test_it_is_monais_turn_where_both_axes_are_long_enough(seed: int, axes: tuple[int, int], depth: int) -> None:
    volume = torch.arange(depth * 7 * 9, dtype=torch.float32).reshape(1, depth, 7, 9)
    ours = RandQuarterTurnd(["image", "label"], prob=0.7, max_k=3, spatial_axes=axes, least=5)
    monais = RandRotate90d(["image", "label"], prob=0.7, max_k=3, spatial_axes=axes)
    for turn in (ours, monais):
        turn.set_random_state(seed)
    short = depth < 5 and 0 in axes
    for _ in range(4):  # an omitted turn draws its numbers too, so that the next volumes are turned alike
        made, expected = (turn({"image": volume, "label": 2 * volume}) for turn in (ours, monais))
        wanted = volume if short else torch.as_tensor(expected["image"])
        np.testing.assert_array_equal(made["image"], wanted)
        np.testing.assert_array_equal(made["label"], 2 * wanted)
    assert ours.R.random_sample() == monais.R.random_sample()


def test_the_affine_turns_along() -> None:
    volume = MetaTensor(torch.rand(1, 8, 9, 10), affine=torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))
    turned = RandQuarterTurnd("image", prob=1.0, max_k=1, spatial_axes=(0, 1), least=8)({"image": volume})["image"]
    assert turned.shape == (1, 9, 8, 10)
    np.testing.assert_allclose(np.linalg.norm(turned.affine[:3, :3], axis=0), [2, 1, 3])


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="got: 0"):
        RandQuarterTurnd("image", least=0)
