"""The tiled result is the whole-volume result: any size, any core, zero padding and normalisation included."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.networks import MDCSRN

TOLERANCE = 1e-4


def trained(seed: int = 0, **arguments: object) -> MDCSRN:
    """A network as training leaves it: statistics and shifts away from 0, so that padding is seen; recon not zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = MDCSRN(**arguments)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            shape = module.weight.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(shape, generator=generator))
            module.weight.data.copy_(0.5 + torch.rand(shape, generator=generator))
            module.bias.data.copy_(torch.randn(shape, generator=generator))
    nn.init.normal_(network.recon.weight, std=0.3, generator=generator)
    return network.eval()


def volume(*shape: int, seed: int = 1, batch: int = 1) -> Tensor:
    return torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(seed))


def apart(tiled: Tensor, whole: Tensor) -> float:
    return float((tiled - whole).abs().max() / whole.abs().max())


@torch.no_grad()
def difference(network: MDCSRN, x: Tensor, **settings: object) -> float:
    return apart(ExactTiledInferer(**settings)(x, network), network(x))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 97)] * 3),
    st.tuples(*[st.floats(0.3, 1.2)] * 3),
    st.sampled_from([(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2)]),
    st.booleans(),
    st.integers(0, 99),
)
def test_tiles_equal_the_whole_volume(shape: tuple, shares: tuple, kind: tuple, residual: bool, seed: int) -> None:
    blocks, units, growth = kind
    network = trained(seed, blocks=blocks, units=units, growth=growth, residual=residual)
    core = [max(1, math.ceil(n * share)) for n, share in zip(shape, shares, strict=True)]
    assert difference(network, volume(*shape, seed=seed), core=core) <= TOLERANCE


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 60)] * 3), st.tuples(*[st.floats(0.3, 1.2)] * 3), st.integers(0, 99))
def test_space_to_depth_with_odd_sizes(shape: tuple, shares: tuple, seed: int) -> None:
    network = trained(seed, blocks=1, units=1, growth=1, space_to_depth=(1, 2, 2))
    core = [max(1, math.ceil(n * s / m)) * m for n, s, m in zip(shape, shares, network.multiple, strict=True)]
    assert difference(network, volume(*shape, seed=seed), core=core) <= TOLERANCE


@pytest.mark.parametrize(
    ("shape", "core"),
    [
        ((61, 17, 16), (10, 17, 16)),
        ((16, 59, 17), (16, 11, 17)),
        ((17, 16, 60), (17, 16, 9)),
        ((45, 44, 9), (14, 15, 9)),
    ],
)
def test_the_full_network(shape: tuple, core: tuple) -> None:
    """b4u4, tiles whose margins of 17 end within the volume on one axis at least."""
    assert difference(trained(blocks=4, units=4, growth=16), volume(*shape), core=core) <= TOLERANCE


def test_the_full_network_on_the_acquired_grid() -> None:
    network = trained(space_to_depth=(1, 2, 2))
    assert network.margin == (17, 34, 34)
    assert difference(network, volume(9, 13, 101), core=(9, 13, 22)) <= TOLERANCE


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_margin_one_voxel_short_is_seen(axis: int) -> None:
    """Else the equalities above would prove nothing."""
    network, x = trained(blocks=1, units=2, growth=3), volume(24, 24, 24)
    assert network.margin == (3, 3, 3)
    core = [24, 24, 24]
    core[axis] = 8
    short = [3, 3, 3]
    assert difference(network, x, core=core, margin=short) <= TOLERANCE
    short[axis] = 2
    assert difference(network, x, core=core, margin=short) > 10 * TOLERANCE


def test_zero_padding_is_seen_by_these_networks() -> None:
    """A volume that ends in air is not the same as one that ends there: statistics make zero padding visible."""
    network, x = trained(blocks=1, units=2, growth=3), torch.zeros(1, 1, 24, 24, 24)
    with torch.no_grad():
        inside = network(x)
    assert apart(inside[..., :8, :, :], inside[..., 8:16, :, :]) > 10 * TOLERANCE


def test_tiles_keep_to_the_memory_given() -> None:
    network, x = trained(blocks=1, units=2, growth=4), volume(50, 40, 30)
    read: list[int] = []
    network.register_forward_pre_hook(lambda module, args: read.append(args[0].numel()))
    gib = 6000 * network.bytes_per_voxel / 2**30
    with torch.no_grad():
        tiled = ExactTiledInferer(max_memory=gib)(x, network)
    assert len(read) > 8
    assert 3000 < max(read) <= 6000
    with torch.no_grad():
        assert apart(tiled, network(x)) <= TOLERANCE
        read.clear()
        ExactTiledInferer(max_memory=gib)(x.expand(2, -1, -1, -1, -1), network)
    assert max(read) <= 6000  # both volumes of a batch count


def test_memory_for_less_than_one_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory allowed is too small"):
        ExactTiledInferer(max_memory=1e-5)(volume(50, 40, 30), trained(blocks=1, units=2, growth=4))


@torch.no_grad()
def test_volumes_of_a_batch_do_not_meet() -> None:
    network, x = trained(blocks=1, units=1, growth=2), volume(20, 19, 18, batch=3)
    together = ExactTiledInferer(core=(8, 8, 8))(x, network)
    for index in range(3):
        alone = ExactTiledInferer(core=(8, 8, 8))(x[index : index + 1], network)
        assert apart(together[index], alone[0]) <= 1e-6
    assert apart(together[0], together[1]) > 0.01


@torch.no_grad()
def test_meta_data_is_kept() -> None:
    network = trained(blocks=1, units=1, growth=2)
    affine = torch.tensor([[0.9, 0.1, 0, 5], [-0.1, 0.9, 0, -7], [0, 0, -1.2, 3], [0, 0, 0, 1]], dtype=torch.float64)
    x = MetaTensor(volume(12, 11, 10), affine=affine, meta={"filename_or_obj": "head.nii.gz"})
    tiled = ExactTiledInferer(core=(6, 6, 6))(x, network)
    assert isinstance(tiled, MetaTensor)
    assert tiled.meta["filename_or_obj"] == "head.nii.gz"
    torch.testing.assert_close(tiled.affine, affine, rtol=0, atol=0)
    plain = ExactTiledInferer(core=(6, 6, 6))(x.as_tensor(), network)
    assert type(plain) is Tensor
    torch.testing.assert_close(tiled.as_tensor(), plain, rtol=0, atol=0)


@torch.no_grad()
def test_bfloat16_is_close_and_comes_back_in_float32() -> None:
    network, x = trained(blocks=1, units=2, growth=4), volume(30, 20, 20)
    whole = network(x)
    half = ExactTiledInferer(precision="bfloat16", core=(10, 10, 10))(x, network)
    assert half.dtype == torch.float32
    assert 0 < apart(half, whole) < 0.03


@torch.no_grad()
def test_arguments_reach_the_network() -> None:
    class Scaled(nn.Module):
        margin, multiple = (0, 0, 0), (1, 1, 1)

        def forward(self, x: Tensor, factor: float, shift: float = 0.0) -> Tensor:
            return x * factor + shift

    x = volume(5, 6, 7)
    out = ExactTiledInferer(core=(2, 3, 4))(x, Scaled(), 2.0, shift=1.0)
    torch.testing.assert_close(out, 2 * x + 1)


def test_what_the_network_does_not_say_is_asked_for() -> None:
    identity, x = nn.Identity(), volume(8, 8, 8)
    with pytest.raises(ConfigError, match="margin.*Identity"):
        ExactTiledInferer()(x, identity)
    with pytest.raises(ConfigError, match="bytes_per_voxel.*Identity"):
        ExactTiledInferer(margin=(0, 0, 0))(x, identity)
    out = ExactTiledInferer(margin=(0, 0, 0), core=(4, 4, 4))(x, identity)
    torch.testing.assert_close(out, x, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(8, 8, 8), (1, 8, 8, 8), (1, 1, 1, 8, 8, 8)])
def test_only_batches_of_volumes(shape: tuple) -> None:
    with pytest.raises(GeometryError, match=r"\(N, C, D, H, W\)"):
        ExactTiledInferer()(torch.zeros(shape), trained(blocks=1, units=1, growth=1))


@pytest.mark.parametrize("settings", [{"precision": "int8"}, {"max_memory": 0}, {"max_memory": math.nan}])
def test_settings_out_of_range(settings: dict) -> None:
    assert isinstance(ExactTiledInferer(), Inferer)
    with pytest.raises(ConfigError, match="allowed"):
        ExactTiledInferer(**settings)


def test_no_bar_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with torch.no_grad():
        ExactTiledInferer(core=(4, 4, 4), progress=True)(volume(8, 8, 8), trained(blocks=1, units=1, growth=1))
    assert capfd.readouterr() == ("", "")
