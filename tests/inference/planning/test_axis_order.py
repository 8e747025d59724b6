"""Which planes a plane-wise network of one factor reads, and what it does where no factor was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference import ExactTiledInferer, RunSettings, Task, predict
from mdcsrn.inference.planning.axis_order import axis_order, own_tasks, turned
from mdcsrn.inference.planning.models import Model
from mdcsrn.inference.planning.task import make_plan
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace import decimate, resample_grid
from mdcsrn.networks import PlaneWise, Traits, save_weights
from mdcsrn.networks.catalog import NETWORKS


class Nearest(nn.Module):
    """Repeats each acquired sample: of its result one can tell which axes were refined."""

    traits = Traits(scale=(1, 2, 2), input_grid="acquired", margin=(0, 0, 0))
    architecture: dict[str, object] = {}

    def __init__(self) -> None:
        super().__init__()
        self.planes = PlaneWise(nn.Upsample(scale_factor=2, mode="nearest"))
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.planes(x)


SETTINGS = RunSettings("eager", "float32", region="all", max_memory=8.0)


@pytest.fixture
def model(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setitem(NETWORKS, "Nearest", Nearest)
    save_weights(f"{tmp_path}/nearest.pt", Nearest())

    return Model(Path(f"{tmp_path}/nearest.pt"))


def scan(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    values = 100 + 10 * np.random.default_rng(0).random(shape, dtype=np.float32)
    return Volume(values, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
@pytest.mark.parametrize("shape", [(7, 8, 9), (8, 10, 12)])
def test_the_planes_that_the_factor_refines_are_read(
    model: Model, factor: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    volume = scan(shape, (1.0, 1.0, 1.0))
    made = predict(volume, Task("factor", factor=factor, consistency=False), SETTINGS, model=model)
    expected = torch.from_numpy(volume.array)
    fine = [int(n * f) for n, f in zip(shape, factor, strict=True)]
    low = resample_grid(expected, fine)
    acquired = decimate(low, [int(f) for f in factor])
    repeated = functional.interpolate(acquired[None, None], scale_factor=list(factor), mode="nearest")[0, 0]
    np.testing.assert_allclose(made.volume.array, repeated.numpy(), rtol=2e-6)
    assert made.facts["tiles"] >= 1


@pytest.mark.parametrize(
    ("shape", "spacing", "factor"),
    [
        ((8, 10, 12), (1, 1, 1), (2, 2, 1)),
        ((8, 10, 12), (3, 1, 1), (1, 2, 2)),
        ((8, 10, 12), (1, 3, 1), (2, 1, 2)),
        ((1, 10, 12), (1, 1, 1), (1, 2, 2)),
    ],
)
def test_its_own_factor_in_the_finest_planes_is_the_default(
    model: Model, shape: tuple[int, int, int], spacing: tuple[float, float, float], factor: tuple[int, int, int]
) -> None:
    made = predict(scan(shape, spacing), settings=SETTINGS, model=model)
    assert made.volume.array.shape == tuple(n * f for n, f in zip(shape, factor, strict=True))
    assert made.certificate is not None
    assert made.certificate.relative_error < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_interpolated_axis_lies_across_the_planes_where_that_is_possible(
    model: Model, axis: int, numpy_low_pass: Callable[..., np.ndarray]
) -> None:
    """Its acquired matrix is no half of the result's, so no plane that holds it can be read."""
    whole = np.random.default_rng(axis).gamma(2.0, 100.0, (32, 34, 36)).astype(np.float32)
    reduction = [1.4 if a == axis else 1.0 for a in range(3)]
    volume = Volume(numpy_low_pass(whole, reduction), np.eye(4))
    made = predict(volume, settings=SETTINGS, model=model)
    factor = [1 if a == axis else 2 for a in range(3)]
    assert made.volume.array.shape == tuple(n * f for n, f in zip(whole.shape, factor, strict=True))
    assert made.certificate is not None
    assert made.certificate.relative_error < 1e-5


def test_a_factor_that_was_asked_for_is_not_turned(model: Model, numpy_low_pass: Callable[..., np.ndarray]) -> None:
    whole = np.random.default_rng(0).gamma(2.0, 100.0, (32, 34, 36)).astype(np.float32)
    volume = Volume(numpy_low_pass(whole, (1.4, 1.0, 1.0)), np.eye(4))
    with pytest.raises(GeometryError, match="refines the acquired matrix by"):
        predict(volume, Task("factor", factor=(2, 2, 1)), SETTINGS, model=model)


def test_the_own_grid_and_other_factors_are_refused_by_name(model: Model) -> None:
    volume = scan((8, 10, 12), (1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match=r"refines the grid by \(1, 2, 2\) or \(2, 1, 2\) or \(2, 2, 1\)"):
        predict(volume, Task("same-grid"), SETTINGS, model=model)
    with pytest.raises(GeometryError, match=r"refines the acquired matrix by .* or \(2, 2, 1\)"):
        predict(volume, Task("factor", factor=(2, 2, 2)), SETTINGS, model=model)


def test_a_network_on_the_results_grid_takes_the_volume_and_the_task_as_they_are() -> None:
    assert own_tasks(Task("same-grid"), Traits(), (8, 8, 8), (1, 1, 1)) == [Task("same-grid")]
    plan = make_plan(scan((8, 10, 12), (1, 1, 1)), ScanFacts(), Task("factor", factor=(2, 1, 1)))
    network = Nearest()
    network.traits = Traits(margin=(0, 0, 0))  # type: ignore[misc]
    assert axis_order(plan, network) == (0, 1, 2)
    assert turned((1, 2, 3), (1, 0, 2)) == (2, 1, 3)


def test_the_inferer_reads_zero_filled_volumes_and_gives_their_grid() -> None:
    low = torch.rand(1, 1, 4, 8, 6)
    fine = resample_grid(low, (4, 16, 12))
    network = Nearest()
    as_read = ExactTiledInferer()(low, network)
    zero_filled = ExactTiledInferer(zero_filled=True)(fine, network)
    assert zero_filled.shape == fine.shape
    assert torch.allclose(as_read, zero_filled, atol=1e-6)
