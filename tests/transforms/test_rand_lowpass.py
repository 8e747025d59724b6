"""RandKSpaceLowPass(d): draws stay in their ranges, depend on the seed alone, and are recorded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, RandomizableTransform

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, degrade, window_names
from mdcsrn.transforms import (
    RandKSpaceLowPass,
    RandKSpaceLowPassD,
    RandKSpaceLowPassd,
    RandKSpaceLowPassDict,
    recorded_degradation,
)

UNIVERSAL = {"reduction": [1, 4], "axes": "any", "windows": list(window_names()), "noise": [0, 0.02]}


def volume(seed=0):
    return MetaTensor(torch.rand((1, 9, 10, 12), generator=torch.Generator().manual_seed(seed)))


def draws(transform, count=400, seed=0):
    random = np.random.RandomState(seed)
    return [transform.draw(random) for _ in range(count)]


def reduced(spec):
    return tuple(a for a in range(3) if spec.reduction[a] != 1)


def test_published_setting_draws_each_pair_alike():
    specs = draws(RandKSpaceLowPass())
    counts = Counter(spec.reduction for spec in specs)
    assert set(counts) == {(2, 2, 1), (2, 1, 2), (1, 2, 2)}
    assert min(counts.values()) > 95  # of 133 expected, standard deviation 9.4
    assert {(s.window, s.noise, s.grid, s.has_partial_fourier) for s in specs} == {("box", 0.0, "reference", False)}
    assert len({spec.seed for spec in specs}) == len(specs)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("one", {(0,), (1,), (2,)}),
        ("pair", {(0, 1), (0, 2), (1, 2)}),
        ("all", {(0, 1, 2)}),
        ("any", {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)}),
        ([1, 2], {(1, 2)}),
        ((0,), {(0,)}),
        ([[0, 1], [1, 2]], {(0, 1), (1, 2)}),
    ],
)
def test_axes(axes, expected):
    specs = draws(RandKSpaceLowPass(reduction=(2, 3), axes=axes), 200)
    assert {reduced(spec) for spec in specs} == expected


def test_universal_setting_covers_its_ranges():
    specs = draws(RandKSpaceLowPass(**UNIVERSAL))
    factors = np.array([r for spec in specs for r in spec.reduction if r != 1])
    assert 1 <= factors.min() < 1.05
    assert 3.95 < factors.max() <= 4
    assert factors.mean() == pytest.approx(2.5, abs=0.12)
    noises = np.array([spec.noise for spec in specs])
    assert 0 <= noises.min() < 0.001
    assert 0.019 < noises.max() <= 0.02
    assert min(Counter(spec.window for spec in specs).values()) > 0.65 * len(specs) / len(window_names())
    assert any(len(set(spec.reduction)) == 3 for spec in specs)  # each axis by itself


def test_partial_fourier_is_drawn_on_a_reduced_axis():
    for spec in draws(RandKSpaceLowPass(axes="pair", partial_fourier=(0.6, 0.9)), 100):
        shares = [(a, share) for a, share in enumerate(spec.partial_fourier) if share != 1]
        assert len(shares) == 1
        assert shares[0][0] in reduced(spec)
        assert 0.6 <= shares[0][1] <= 0.9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_draw_is_a_pure_function_of_the_random_state(seed):
    transform = RandKSpaceLowPass(**UNIVERSAL)
    first, second = np.random.RandomState(seed), np.random.RandomState(seed)
    assert transform.draw(first) == transform.draw(second)
    assert first.randint(2**31) == second.randint(2**31)  # the state moved on alike


def test_the_draw_is_applied_and_recorded():
    transform = RandKSpaceLowPass(**UNIVERSAL).set_random_state(seed=4)
    x = volume()
    y = transform(x)
    spec = recorded_degradation(y)
    assert spec == transform.spec
    assert torch.equal(y.as_tensor(), degrade(x.as_tensor(), spec))
    assert torch.equal(transform(x, randomize=False), y)
    assert recorded_degradation(transform(x)) != spec


def test_seed_reproduces_and_global_state_plays_no_part():
    def run(seed):
        chain = Compose([RandKSpaceLowPassd("image", **UNIVERSAL)])
        chain.set_random_state(seed=seed)
        return [chain({"image": volume()})["image"] for _ in range(3)]

    np.random.seed(1)  # noqa: NPY002
    first = run(7)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, run(7), strict=True))
    assert not torch.equal(first[0], run(8)[0])


def test_all_keys_get_the_same_draw():
    transform = RandKSpaceLowPassd(["image", "second"], **UNIVERSAL).set_random_state(seed=1)
    x = volume()
    out = transform({"image": x, "second": x.clone(), "label": x})
    assert torch.equal(out["image"], out["second"])
    assert out["label"] is x
    assert RandKSpaceLowPassd("absent", allow_missing_keys=True)({"image": x})["image"] is x


def test_probability():
    transform = RandKSpaceLowPass(noise=(0.1, 0.1), prob=0.3).set_random_state(seed=0)
    x = volume()
    kept = 0
    for _ in range(200):
        y = transform(x)
        if recorded_degradation(y).reduction == (1, 1, 1):
            kept += 1
            assert torch.equal(y, x)
    assert 115 < kept < 165  # 140 expected, standard deviation 6.5


def test_family():
    assert RandKSpaceLowPassD is RandKSpaceLowPassDict is RandKSpaceLowPassd
    assert issubclass(RandKSpaceLowPass, RandomizableTransform)
    assert issubclass(RandKSpaceLowPassd, RandomizableTransform)


@pytest.mark.parametrize(
    "arguments",
    [
        {"reduction": (3, 2)}, {"reduction": 2}, {"reduction": (0.5, 2)}, {"reduction": (1, 2, 2)}, {"axes": "two"},
        {"axes": [0, 0]}, {"axes": [3]}, {"axes": []}, {"axes": [[0], []]}, {"windows": ["hann"]}, {"windows": []},
        {"noise": (0, -1)}, {"noise": ("a", "b")}, {"partial_fourier": (0.4, 1)}, {"grid": "small"},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_at_construction(arguments):
    with pytest.raises(ConfigError):
        RandKSpaceLowPass(**arguments)


def test_untouched_volumes_record_an_identity():
    transform = RandKSpaceLowPass(prob=0.0)
    assert recorded_degradation(transform(volume())).reduction == DegradationSpec((1, 1, 1)).reduction
