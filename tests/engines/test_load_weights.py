"""Weights files: whole or not there, safe to read, refused where they do not belong."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mdcsrn.engines import load_weights, save_weights
from mdcsrn.errors import CheckpointError, ConfigError, OutputError
from mdcsrn.networks import MDCSRN, Critic
from mdcsrn.networks.weights import read_weights


def small(**changes: Any) -> MDCSRN:
    return MDCSRN(**{"blocks": 1, "units": 2, "growth": 4, **changes})


class Bomb:
    """Unpickled, it makes a file: a stand-in for whatever a hostile checkpoint would run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


class Unwritable:
    """Pickling it fails half-way through a save."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise OSError(28, "No space left on device")


def test_weights_round_trip(tmp_path: Path, same: Callable[..., bool]) -> None:
    network = small(residual=False)
    network(torch.rand(1, 1, 8, 8, 8))  # in training mode: statistics move too
    save_weights(tmp_path / "a.pt", network, {"psnr": 33.5, "reduction": [1, 2, 2]})
    for target in (None, small(residual=False)):
        loaded = load_weights(tmp_path / "a.pt", target)
        assert isinstance(loaded, MDCSRN)
        assert same(dict(loaded.state_dict()), dict(network.state_dict()))
        assert not loaded.training
        if target is not None:
            assert loaded is target
    assert read_weights(tmp_path / "a.pt").facts == {"psnr": 33.5, "reduction": [1, 2, 2]}


@pytest.mark.parametrize(
    "network", [small(growth=6, space_to_depth=(1, 2, 2)), Critic("pointwise", 2, 2, 1.0, 16)], ids=["mdcsrn", "critic"]
)
def test_a_network_is_rebuilt_from_its_stored_arguments(tmp_path: Path, network: nn.Module) -> None:
    save_weights(tmp_path / "a.pt", network)
    loaded = load_weights(tmp_path / "a.pt")
    assert type(loaded) is type(network)
    x = torch.rand(1, 2 if isinstance(network, Critic) else 1, 16, 16, 16)
    assert torch.equal(loaded(x), network.eval()(x))


@pytest.mark.parametrize(
    "other",
    [small(units=3), small(growth=8), small(residual=False), small(space_to_depth=(1, 2, 2)), Critic(patch_size=16)],
    ids=["units", "growth", "residual", "space_to_depth", "critic"],
)
def test_another_network_is_refused(tmp_path: Path, other: nn.Module, same: Callable[..., bool]) -> None:
    save_weights(tmp_path / "a.pt", small())
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"a\.pt belongs to another network"):
        load_weights(tmp_path / "a.pt", other)
    assert same(before, dict(other.state_dict()))


def test_weights_that_do_not_fit_their_arguments(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small())
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    del content["conv0.weight"]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        load_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"model": {}, "network": {"name": "Other", "arguments": {}}},
        {"model": {}, "network": {"name": "MDCSRN", "arguments": {"depth": 3}}},
        {"model": {}, "network": {"name": "MDCSRN"}},
        {"model": {}, "network": 5},
        {"model": 5, "network": {"name": "MDCSRN", "arguments": {"blocks": 1, "units": 2, "growth": 4}}},
        {"model": {"a": 5}, "network": {"name": "MDCSRN", "arguments": {"blocks": 1, "units": 2, "growth": 4}}},
        {"model": {}, "network": {"name": ["MDCSRN"], "arguments": {}}},
        {"model": {}, "network": {"name": "MDCSRN", "arguments": {"blocks": "many"}}},
        [1, 2],
        torch.zeros(3),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_files_that_hold_something_else(tmp_path: Path, content: Any, given: bool) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises((CheckpointError, ConfigError)):
        load_weights(tmp_path / "a.pt", small() if given else None)


def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    torch.save({"model": {}, "network": Bomb(trace)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match=name):
            load_weights(tmp_path / name)
    assert not trace.exists()
    torch.load(tmp_path / "zip.pt", weights_only=False)  # the same file does harm to those who trust it
    assert trace.exists()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*a\.pt"):
        load_weights(tmp_path / "a.pt")
    save_weights(tmp_path / "a.pt", small())
    whole = (tmp_path / "a.pt").read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"a\.pt"):
            load_weights(tmp_path / "a.pt")


def test_a_failing_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small(), {"step": 1})
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(OutputError, match=r"a\.pt"):
        save_weights(tmp_path / "a.pt", small(), {"step": Unwritable()})
    assert (tmp_path / "a.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
