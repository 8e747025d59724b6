"""A network of the acquired matrix over whole volumes: its samples lie where the network takes them to be."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from mdcsrn.errors import GeometryError
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.inference.running.tiled_runner import TiledRunner, input_of
from mdcsrn.kspace import DegradationSpec, grid_affine, low_pass, resample_grid
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


@pytest.mark.parametrize("m", [20, 21])
def test_the_inferer_puts_a_result_where_its_affine_says(m: int) -> None:
    """An acquired matrix of either parity, refined, lies on the reference it was cropped from."""
    noise = torch.randn(1, 1, 3, 2 * m, 2 * m, generator=torch.Generator().manual_seed(m))
    reference = low_pass(noise, DegradationSpec((1, 6, 6)))
    affine = torch.diag(torch.tensor([2.0, 0.5, 0.7, 1.0], dtype=torch.float64))
    acquired = resample_grid(reference, (3, m, m))
    given = MetaTensor(acquired, affine=grid_affine(affine, (3, 2 * m, 2 * m), (3, m, m)))
    with torch.no_grad():
        result = ExactTiledInferer(core=(2, 8, 11))(given, EDSR(2, width=2, blocks=1).eval())
    torch.testing.assert_close(result.affine, affine)
    inner = (slice(None), slice(None), slice(None), slice(6, -6), slice(6, -6))
    error = (result.as_tensor() - reference)[inner].norm() / reference[inner].norm()
    assert float(error) < 0.1
