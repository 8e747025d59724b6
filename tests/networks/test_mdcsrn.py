"""The generator: exact parameter counts and names, identity at step 0, receptive field, odd sizes, space-to-depth."""

from __future__ import annotations

import pytest
import torch

from mdcsrn.errors import CheckpointError, ConfigError, GeometryError
from mdcsrn.networks import MDCSRN, architecture, build_network


def count(module):
    return sum(p.numel() for p in module.parameters())


def random(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def perturbed(network, seed=0):
    """Evaluation mode with weights and statistics that hide nothing (no zeros, no unit statistics)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_var", "norm.weight")):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
    return network.eval()


@pytest.mark.parametrize(("blocks", "total"), [(1, 98_208), (2, 199_616), (3, 304_096), (4, 411_648)])
@pytest.mark.parametrize("residual", [True, False])
def test_parameter_counts(blocks, total, residual):
    assert count(MDCSRN(blocks=blocks, residual=residual)) == total


def test_parameters_of_each_part():
    network = MDCSRN()
    assert count(network.conv0) == 864
    assert [count(network.get_submodule(f"block0.denselayer{i}")) for i in (1, 2, 3, 4)] == [
        13_888,
        20_832,
        27_776,
        34_720,
    ]
    assert [count(network.get_submodule(f"block{i}")) for i in range(4)] == [97_216] * 4
    assert [count(network.get_submodule(f"comp{i}")) for i in range(3)] == [4_096, 7_168, 10_240]
    assert count(network.recon) == 416


def published_names(blocks=4, units=4):
    names = ["conv0.weight", "recon.weight", *(f"comp{i}.weight" for i in range(blocks - 1))]
    parts = (
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "conv.weight",
    )
    names += [f"block{b}.denselayer{u}.{p}" for b in range(blocks) for u in range(1, units + 1) for p in parts]
    return set(names)


def test_state_dict_names_are_those_of_the_earlier_code():
    assert set(MDCSRN().state_dict()) == published_names()


def test_convolutions_have_no_bias_and_normalisation_is_affine():
    for module in MDCSRN().modules():
        if isinstance(module, torch.nn.Conv3d):
            assert module.bias is None
        if isinstance(module, torch.nn.BatchNorm3d):
            assert module.affine
            assert module.track_running_stats


@pytest.mark.parametrize("factor", [None, (1, 2, 2)])
def test_step_zero_is_the_identity(factor):
    torch.manual_seed(0)
    x = random((2, 1, 5, 7, 9))
    for network in (MDCSRN(space_to_depth=factor), MDCSRN(space_to_depth=factor).eval()):
        assert torch.equal(network(x), x)


def test_published_variant_is_not_the_identity_and_kaiming_normal():
    torch.manual_seed(0)
    network = MDCSRN(residual=False)
    x = random((1, 1, 6, 6, 6))
    assert float((network(x).detach() - x).abs().mean()) > 0.1
    weight = network.get_submodule("block3.denselayer4.conv").weight
    assert float(weight.detach().std()) == pytest.approx((2 / (80 * 27)) ** 0.5, rel=0.03)
    assert float(weight.detach().mean()) == pytest.approx(0, abs=1e-3)


def test_first_step_moves_the_reconstruction():
    network = MDCSRN(blocks=1, units=1, growth=2)
    x = random((1, 1, 6, 6, 6))
    (network(x) - 2 * x).abs().mean().backward()
    assert float(network.recon.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 11), (3, 16, 2)])
@pytest.mark.parametrize("factor", [None, (1, 2, 2), (2, 3, 1)])
def test_any_size_comes_back(shape, factor):
    network = perturbed(MDCSRN(blocks=1, units=2, growth=4, space_to_depth=factor))
    assert network(random((2, 1, *shape))).shape == (2, 1, *shape)


def reach(network, shape, voxel):
    """Which input voxels the output at `voxel` depends on."""
    x = random((1, 1, *shape)).requires_grad_(True)
    network(x)[(0, 0, *voxel)].backward()
    return x.grad[0, 0] != 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_receptive_field_is_the_margin(axis):
    network = perturbed(MDCSRN())
    assert network.margin == (17, 17, 17)
    shape, voxel = [3, 3, 3], [1, 1, 1]
    shape[axis], voxel[axis] = 41, 20
    seen = reach(network, shape, voxel).any(dim=tuple(a for a in range(3) if a != axis))
    assert seen.nonzero().flatten().tolist() == list(range(20 - 17, 20 + 17 + 1))


def test_margin_follows_blocks_and_units():
    network = perturbed(MDCSRN(blocks=2, units=3, growth=4))
    assert network.margin == (7, 7, 7)
    seen = reach(network, (3, 3, 25), (1, 1, 12)).any(dim=0).any(dim=0)
    assert seen.nonzero().flatten().tolist() == list(range(5, 20))


def test_receptive_field_with_space_to_depth():
    network = perturbed(MDCSRN(space_to_depth=(1, 2, 2)))
    assert network.margin == (17, 34, 34)
    assert network.multiple == (1, 2, 2)
    # An aligned cell of two voxels, 40 and 41, sees the margin on each side of the cell.
    seen = reach(network, (3, 4, 84), (1, 2, 40)) | reach(network, (3, 4, 84), (1, 2, 41))
    assert seen.any(dim=0).any(dim=0).nonzero().flatten().tolist() == list(range(40 - 34, 41 + 34 + 1))


@pytest.mark.parametrize("factor", [None, (1, 2, 2)])
def test_a_tile_with_its_margin_is_exact(factor):
    network = perturbed(MDCSRN(blocks=1, units=2, growth=4, space_to_depth=factor))
    margin = network.margin[2]
    x = random((1, 1, 6, 8, 48))
    start, stop = 20, 28
    tile = network(x[..., start - margin : stop + margin])[..., margin : margin + stop - start]
    torch.testing.assert_close(tile, network(x)[..., start:stop], atol=1e-4, rtol=1e-4)


def test_space_to_depth_is_pixel_unshuffle():
    network = MDCSRN(blocks=1, units=1, growth=2, space_to_depth=(1, 2, 2))
    x = random((2, 1, 3, 6, 8))
    expected = torch.nn.functional.pixel_unshuffle(x[:, 0], 2)  # (N, D, H, W): planes as channels
    expected = expected.reshape(2, 3, 4, 3, 4).permute(0, 2, 1, 3, 4)
    assert torch.equal(network.unfold(x), expected)
    assert torch.equal(network.fold(network.unfold(x), (3, 6, 8)), x)
    odd = random((1, 1, 3, 5, 7))
    assert torch.equal(network.fold(network.unfold(odd), (3, 5, 7)), odd)


def test_space_to_depth_costs_only_its_two_ends():
    assert count(MDCSRN(space_to_depth=(1, 2, 2))) - count(MDCSRN()) == 3 * 864 + 3 * 416
    assert MDCSRN(space_to_depth=(1, 1, 1)).space_to_depth is None


@pytest.mark.parametrize(
    "arguments",
    [{"blocks": 0}, {"units": -1}, {"growth": 1.5}, {"blocks": True}, {"space_to_depth": (2, 2)},
     {"space_to_depth": (0, 2, 2)}, {"space_to_depth": (1.0, 2, 2)}],
)  # fmt: skip
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ConfigError):
        MDCSRN(**arguments)


def test_space_to_depth_takes_one_channel():
    with pytest.raises(GeometryError, match="one channel"):
        MDCSRN(blocks=1, units=1, growth=2, space_to_depth=(1, 2, 2))(random((1, 2, 4, 4, 4)))


def test_architecture_rebuilds_the_network():
    network = MDCSRN(blocks=2, units=3, growth=5, residual=False, space_to_depth=(1, 2, 2))
    again = build_network(architecture(network))
    assert architecture(again) == architecture(network)
    again.load_state_dict(network.state_dict())
    for broken in (
        {"name": "UNet", "arguments": {}},
        {"name": "MDCSRN", "arguments": {"depth": 3}},
        {"name": "MDCSRN"},
    ):
        with pytest.raises(CheckpointError):
            build_network(broken)
    with pytest.raises(CheckpointError, match="catalogue"):
        architecture(torch.nn.Identity())
