"""A network of the acquired matrix over whole volumes: its samples lie where the network takes them to be."""

from __future__ import annotations

import pytest
import torch

from mdcsrn.errors import GeometryError
from mdcsrn.inference.running.tiled_runner import TiledRunner, input_of
from mdcsrn.kspace import DegradationSpec, low_pass
from mdcsrn.networks import EDSR


@pytest.mark.parametrize("m", [20, 21])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolation_agrees_with_the_zero_filled_volume(scale: int, m: int) -> None:
    """At step 0 EDSR is cubic interpolation: close to a smooth zero-filled volume, whatever the size's parity."""
    noise = torch.randn(3, scale * m, scale * m, generator=torch.Generator().manual_seed(m))
    low = low_pass(noise, DegradationSpec((1, 3.0 * scale, 3.0 * scale)))
    network = EDSR(scale, width=2, blocks=1).eval()
    given = input_of(low, network.traits)
    assert given.shape == (3, m, m)
    torch.testing.assert_close(given, low[:, ::scale, ::scale], atol=1e-5, rtol=0)
    result = TiledRunner(network, precision="float32").run(low, torch.ones_like(low, dtype=torch.bool))
    inner = (slice(None), slice(3 * scale, -3 * scale), slice(3 * scale, -3 * scale))
    error = (result - low)[inner].norm() / low[inner].norm()
    moved = (result - low.roll((1, 1), (-2, -1)))[inner].norm() / low[inner].norm()
    assert float(error) < 0.1
    assert float(error) < 0.5 * float(moved)


def test_a_grid_that_the_scale_does_not_divide() -> None:
    with pytest.raises(GeometryError, match="no multiple"):
        input_of(torch.zeros(3, 9, 8), EDSR(2, width=2, blocks=1).traits)
