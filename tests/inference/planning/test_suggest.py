"""What is suggested for a scan whose own grid is full."""

from __future__ import annotations

import numpy as np
import pytest

from mdcsrn.inference.planning.models import find_model
from mdcsrn.inference.planning.suggest import suggest
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.inference.planning.trained_range import TrainedRange
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts

SEEN = TrainedRange((0.859, 2.65), (138.0, 256.0), reduction=(1.0, 4.0), single_reduction=(1.5, 5.0))


def of(spacing: tuple[float, ...], shape: tuple[int, ...] = (12, 14, 16), trained: TrainedRange | None = SEEN):
    array = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    plan = make_plan(Volume(array, np.diag([*spacing, 1.0])), ScanFacts(), Task())
    assert plan.kind == "nothing"
    return suggest(plan, trained)


@pytest.mark.parametrize(
    ("spacing", "option"),
    [
        ((1.0, 1.0, 3.0), "--factor 1 1 3"),
        ((4.0, 0.9, 0.9), "--factor 4.4 1 1"),
        ((0.9, 0.9, 6.0), "--factor 1 1 5"),  # no further than the model has seen
        ((1.0, 2.0, 2.0), "--factor 1 2 2"),
        ((0.5, 6.0, 6.0), "--factor 1 4 4"),
        ((2.0, 2.0, 2.0), "--factor 2 2 2"),
        ((1.5, 1.5, 1.5), "--factor 1.7 1.7 1.7"),
        ((1.0, 1.0, 1.0), "--factor 1 2 2"),  # beyond what it has seen, which is said
    ],
)
def test_it_fits_the_spacing_and_the_trained_range(spacing: tuple, option: str) -> None:
    found = of(spacing)
    assert found is not None
    assert found.option == option
    edges = [edge / factor for edge, factor in zip(spacing, found.factor, strict=True)]
    assert ("has seen" in found.why) is (min(edges) < 0.859 * 0.98)
    reduced = [factor for factor in found.factor if factor > 1]
    assert max(reduced) <= (5 if len(reduced) == 1 else 4)


def test_the_suggestion_is_a_task_that_does_something() -> None:
    found = of((1.0, 1.0, 3.0))
    assert found is not None
    array = np.random.default_rng(0).uniform(1, 2, (12, 14, 16)).astype(np.float32)
    plan = make_plan(Volume(array, np.diag([1, 1, 3.0, 1])), ScanFacts(), Task("factor", factor=found.factor))
    assert plan.kind == "factor"
    assert suggest(plan, SEEN) is None
    np.testing.assert_allclose(plan.spacing, 1.0)


def test_edges_of_the_kind() -> None:
    one = of((1.0, 1.0, 2.0), (12, 14, 1))  # an axis of one sample is never refined
    assert one is not None
    assert one.factor == (2.0, 2.0, 1.0)
    assert of((2.0, 2.0, 2.0), trained=None) is not None
    assert of((1.0, 1.0, 3.0), trained=find_model().trained) == of((1.0, 1.0, 3.0))
