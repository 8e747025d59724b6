"""Slab by slab against the whole-volume network, in float64: the same function, not a near one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN, least_planes


def random_network(blocks, units, growth, factor=None, seed=0) -> MDCSRN:
    """Evaluation mode, float64, with weights and statistics that hide nothing."""
    network = MDCSRN(blocks, units, growth, space_to_depth=factor)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_var", "norm.weight")):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / max(value[0].numel(), 1)) ** 0.5)
    return network.eval().double().requires_grad_(False)


def by_slabs(slab: SlabMDCSRN, x: Tensor) -> Tensor:
    """What the docstring of `SlabMDCSRN.forward` says: feed, place each block's share at its lag, sum. (c, D, H, W)."""
    channels, depth = x.shape[:2]
    ahead = slab.lags[-1] + slab.planes
    result = x.new_zeros(channels, depth + 2 * ahead, *x.shape[2:])  # planes -ahead to depth + ahead
    state = [x.new_zeros(shape) for shape in slab.state_shapes(*x.shape[2:])]
    fed = torch.cat([x, x.new_zeros(channels, ahead, *x.shape[2:])], dim=1)
    for t in range(0, depth + slab.lags[-1], slab.planes):
        position = torch.arange(t - slab.context, t + slab.planes)
        valid = ((position >= 0) & (position < depth)).to(x).view(1, 1, -1, 1, 1)
        shares, *state = slab(fed[None, :, t : t + slab.planes], valid, *state)
        assert shares.shape == (1, len(slab.lags) * channels, slab.planes, *x.shape[2:])
        for block, lag in enumerate(slab.lags):
            first = ahead + t - lag
            result[:, first : first + slab.planes] += shares[0, block * channels : (block + 1) * channels]
    return result[:, ahead : ahead + depth]


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.integers(0, 8),
    st.integers(0, 2),
    st.integers(0, 999),
)
def test_every_slab_and_axis_gives_the_whole(blocks, units, growth, shape, more, axis, seed) -> None:
    network = random_network(blocks, units, growth, seed=seed)
    slab = SlabMDCSRN(network, least_planes(network) + more, axis)
    x = torch.randn((1, *shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    whole = network.features(x[None])[0]
    ours = by_slabs(slab, x.movedim(1 + axis, 1)).movedim(1, 1 + axis)
    assert float((ours - whole).abs().max()) <= 1e-11 * max(float(whole.abs().max()), 1)


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 1, 3)])
def test_channels_of_a_space_to_depth_network(factor) -> None:
    network = random_network(2, 3, 2, factor)
    slab = SlabMDCSRN(network, 4, axis=1)
    x = torch.randn(math.prod(factor), 5, 9, 4, dtype=torch.float64)
    ours = by_slabs(slab, x.movedim(2, 1)).movedim(1, 2)
    torch.testing.assert_close(ours, network.features(x[None])[0], rtol=0, atol=1e-11)


def test_the_network_itself_stays_as_it_is() -> None:
    network = random_network(2, 2, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    by_slabs(SlabMDCSRN(network, 3, axis=2), torch.randn(1, 7, 4, 4, dtype=torch.float64))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training


def test_what_it_says_of_itself() -> None:
    network = MDCSRN()
    assert least_planes(network) == 4
    assert least_planes(MDCSRN(units=1)) == 2
    slab = SlabMDCSRN(network, 6)
    assert slab.lags == (5, 9, 13, 17)
    assert slab.lags[-1] == network.margin[0]
    assert slab.context == 19
    states = [torch.zeros(shape) for shape in slab.state_shapes(3, 5)]
    assert slab.held == sum(state.numel() for state in states) // 15
    # 96 channels of a block, and its share: one for the output, 32 for each of the three blocks after the first.
    assert slab.alive == 96 + 1 + 3 * 32
    result = slab(torch.zeros(1, 1, 6, 3, 5), torch.ones(1, 1, 25, 1, 1), *states)
    assert [tensor.shape for tensor in result[1:]] == [state.shape for state in states]


def test_no_convolution_is_done_twice() -> None:
    """Weights of the slab network: those of the network, the 1x1x1 ones without conv0's second copy."""
    network = MDCSRN()

    def multiplications(module: torch.nn.Module) -> int:
        return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Conv3d))

    twice = 32 * (1 + 3 * 32)  # conv0's output is in the concatenation on its own and as the first block's input
    assert multiplications(SlabMDCSRN(network, 4)) == multiplications(network) - twice


def test_a_slab_is_not_thinner_than_a_block() -> None:
    with pytest.raises(ConfigError, match="a slab must hold"):
        SlabMDCSRN(MDCSRN(1, 4, 1), 3)
    with pytest.raises(ConfigError, match="allowed: 2"):
        SlabMDCSRN(MDCSRN(1, 1, 1), 1)
