"""The cost of a prediction: operations as torch counts them, memory within what is allowed, nothing for nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.inference.planning.prepare import prepare
from mdcsrn.inference.planning.task import Task
from mdcsrn.inference.running.estimate import estimate, operations, product_speed
from mdcsrn.inference.running.memory import VOLUMES, resident
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace.intensity import percentile
from mdcsrn.networks import MDCSRN

FACTS = ScanFacts(contrast="T1w", acquisition="3D")


def ball(shape=(64, 48, 48)) -> Volume:
    grid = np.indices(shape) - (np.array(shape) / 2).reshape(3, 1, 1, 1)
    head = (grid**2).sum(axis=0) < (0.4 * min(shape)) ** 2
    noise = np.random.default_rng(0).normal(0, 1, shape)
    return Volume((head * 500 + np.abs(noise)).astype(np.float32), np.diag([1.0, 1.2, 1.2, 1.0]))


@pytest.mark.parametrize("space_to_depth", [None, (1, 2, 2)])
def test_operations_are_those_that_torch_counts(space_to_depth) -> None:
    network = MDCSRN(blocks=2, units=2, growth=4, space_to_depth=space_to_depth).eval()
    shape = (4, 8, 8)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, *shape))
    cells = np.prod(shape) // (4 if space_to_depth else 1)
    assert counter.get_total_flops() == operations(network) * cells


def test_the_whole_network_has_the_published_cost() -> None:
    assert operations(MDCSRN()) == 819_712


def test_cost_follows_head_and_memory() -> None:
    volume = ball()
    prepared = prepare(volume, Task("factor", factor=(1, 2, 2)), facts=FACTS)
    cost = estimate(volume, prepared)
    assert cost is not None
    head = (volume.array > 250).mean()
    assert head < cost.region_share < 2.5 * head  # a margin is around it
    low = prepared.plan.low(torch.from_numpy(volume.array))
    assert cost.region_share == pytest.approx(float(head_region(low / percentile(low, 99.9)).float().mean()))
    cells = np.prod(prepared.plan.shape) / np.prod(prepared.model.network.multiple)
    assert cost.computed_voxels >= cost.region_share * cells
    assert cost.seconds is None or cost.seconds > 1
    assert set(cost.to_dict()) == {
        *("memory_gib", "seconds", "backend", "precision", "region_share", "computed_voxels"),
    }
    fixed = (resident() + VOLUMES * np.prod(prepared.plan.shape)) / 2**30
    for allowed in (fixed + 0.3, fixed + 1.0):
        limited = estimate(volume, prepared, max_memory=allowed)
        assert limited is not None
        assert limited.memory_gib <= allowed + 0.1  # this process grows a little meanwhile
    with pytest.raises(ConfigError):
        estimate(volume, prepared, max_memory=0.01)


def test_nothing_costs_nothing() -> None:
    volume = ball()
    assert estimate(volume, prepare(volume, Task("factor", factor=(1, 1, 1)), facts=FACTS)) is None


def test_speed_is_that_of_a_processor() -> None:
    assert 1e8 < product_speed("float32") < 1e15
