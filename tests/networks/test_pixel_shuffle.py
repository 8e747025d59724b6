"""Cells and back: every voxel in its channel, as NumPy indexing says, also compiled and traced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.networks import MDCSRN
from mdcsrn.networks.pixel_shuffle import from_cells, to_cells

factors = st.tuples(*[st.integers(1, 3)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@given(factors, shapes, st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_each_voxel_is_in_its_channel(factor: tuple, shape: tuple, n: int) -> None:
    x = random(n, 1, *shape)
    cells = to_cells(x, list(factor)).numpy()
    padded = np.pad(x.numpy()[:, 0], [(0, 0), *[(0, -size % f) for size, f in zip(shape, factor, strict=True)]])
    a, b, c = factor
    for i, j, k in np.ndindex(factor):
        np.testing.assert_array_equal(cells[:, (i * b + j) * c + k], padded[:, i::a, j::b, k::c])


@given(factors, shapes)
@settings(max_examples=60, deadline=None)
def test_there_and_back(factor: tuple, shape: tuple) -> None:
    x = random(2, 1, *shape)
    assert torch.equal(from_cells(to_cells(x, list(factor)), list(factor), list(shape)), x)


@torch.no_grad()
@pytest.mark.parametrize("factor", [None, (2, 2, 2), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("way", ["script", "trace"])
def test_torchscript_takes_any_size(factor: tuple | None, residual: bool, way: str) -> None:
    torch.manual_seed(0)
    network = MDCSRN(1, 2, 3, residual, factor).eval()
    torch.nn.init.normal_(network.recon.weight)
    compiled = torch.jit.script(network) if way == "script" else torch.jit.trace(network, random(1, 1, 6, 6, 6))
    for shape in ((6, 6, 6), (7, 4, 11), (1, 1, 1)):
        x = random(2, 1, *shape)
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-6, atol=1e-6)
