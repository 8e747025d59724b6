"""Widening: the same function in either mode, features that nobody reads yet but that learn, a start for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.networks import MDCSRN, save_weights, widened
from mdcsrn.networks.restore import warm_start


def trained(**changes: Any) -> MDCSRN:
    """A network whose every weight and statistic is drawn: none is as the constructor leaves it."""
    torch.manual_seed(1)
    network = MDCSRN(**{"blocks": 2, "units": 2, "growth": 3, **changes})
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value) * 0.3)
    return network


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.integers(1, 3), units=st.integers(1, 3), growth=st.integers(1, 4), more=st.integers(0, 4),
    residual=st.booleans(), cells=st.sampled_from([None, (2, 2, 2), (1, 2, 2)]), training=st.booleans(),
)  # fmt: skip
def test_the_function_is_the_same(
    blocks: int, units: int, growth: int, more: int, residual: bool, cells: tuple[int, ...] | None, training: bool
) -> None:
    narrow = trained(blocks=blocks, units=units, growth=growth, residual=residual, space_to_depth=cells)
    wide = widened(narrow, growth + more)
    assert wide.architecture == {**narrow.architecture, "growth": growth + more}
    x = torch.rand(2, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wide.train(training)(x), narrow.train(training)(x), rtol=1e-4, atol=1e-4)


def test_new_features_learn_from_the_first_step() -> None:
    wide = widened(trained(), 5).train()
    wide(torch.rand(2, 1, 8, 8, 8)).square().mean().backward()
    readers = wide.recon.weight.grad
    assert readers is not None
    new = wide.recon.weight.detach()[:, 2 * 3 : 2 * 5]  # of the first convolution: six old, four new
    assert (new == 0).all()
    assert (readers[:, 2 * 3 : 2 * 5] != 0).all()


def test_none_is_narrowed() -> None:
    with pytest.raises(ConfigError, match="widened, not narrowed"):
        widened(trained(), 2)


def test_training_starts_from_a_narrower_network_and_from_no_other(tmp_path: Path) -> None:
    narrow = trained().eval()
    save_weights(tmp_path / "narrow.pt", narrow)
    wide = warm_start(MDCSRN(blocks=2, units=2, growth=5), tmp_path / "narrow.pt")
    assert wide.training
    x = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wide.eval()(x), narrow(x), rtol=1e-4, atol=1e-4)
    for other in (MDCSRN(blocks=2, units=2, growth=2), MDCSRN(blocks=2, units=3, growth=5)):
        with pytest.raises(CheckpointError, match="belongs to another network"):
            warm_start(other, tmp_path / "narrow.pt")
