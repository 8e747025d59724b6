"""Critics: exact parameters per row, scores of one sample alone, and how much of the patch they look at directly."""

from __future__ import annotations

import pytest
import torch

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks import Critic, architecture, build_network
from mdcsrn.networks.critic import PointwiseDown

SMALL = {"base_channels": 4, "patch_size": 16}  # the exact presets with less to compute


def count(module):
    return sum(p.numel() for p in module.parameters())


def random(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def on_meta(preset):
    with torch.device("meta"):  # shapes without memory
        return Critic(preset)


@pytest.mark.parametrize(("preset", "total"), [("original", 31_155_777), ("pointwise", 17_628_929)])
def test_exact_totals(preset, total):
    assert count(on_meta(preset)) == total


CONVOLUTIONS = {
    "original": [1_792, 110_656, 221_312, 442_496, 884_992, 1_769_728, 3_539_456, 7_078_400],
    "pointwise": [1_792, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144],
}
NORMALISATIONS = [4_194_304, 8_388_608, 1_048_576, 2_097_152, 262_144, 524_288, 65_536]


@pytest.mark.parametrize("preset", ["original", "pointwise"])
def test_parameters_of_each_row(preset):
    critic = on_meta(preset)
    convolutions = [m for m in critic.body if isinstance(m, torch.nn.Conv3d)]
    assert [count(m) for m in convolutions] == CONVOLUTIONS[preset]
    assert [m.stride[0] for m in convolutions] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert [m.out_channels for m in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [count(m) for m in critic.body if isinstance(m, torch.nn.LayerNorm)] == NORMALISATIONS
    assert sum(NORMALISATIONS) == 16_580_608
    assert count(critic.head) == 526_337


def test_light_is_light():
    critic = Critic()
    assert critic.preset == "light"
    assert critic.base_channels == 32
    assert 0.9e6 < count(critic) <= 1.5e6
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in critic.modules())


def direct_share(preset, voxels=1_331):
    """Share of the whole |gradient| that the brightest `voxels` of 64^3 hold, at initialisation."""
    torch.manual_seed(0)
    critic = Critic(preset)
    x = random((1, 1, 64, 64, 64)).requires_grad_(True)
    critic(x).sum().backward()
    gradient = x.grad.abs().flatten()
    return float(gradient.topk(voxels).values.sum() / gradient.sum())


def test_light_sees_every_voxel_directly():
    assert direct_share("light") < 0.1


def test_pointwise_sees_1331_voxels():
    assert direct_share("pointwise") > 0.85


@pytest.mark.parametrize("arguments", [{}, {"preset": "pointwise", **SMALL}, {"preset": "original", **SMALL}])
def test_scores_are_of_one_sample_alone(arguments):
    torch.manual_seed(0)
    critic = Critic(**arguments)
    x = random((3, 1, 16, 16, 16)).requires_grad_(True)
    scores = critic(x)
    assert scores.shape == (3,)
    one_by_one = torch.cat([critic(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(scores, one_by_one, atol=1e-5, rtol=1e-5)
    scores[1].backward()
    assert float(x.grad[0].abs().sum()) == float(x.grad[2].abs().sum()) == 0
    assert float(x.grad[1].abs().sum()) > 0


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 19, 33), (31, 16, 21)])
def test_light_takes_any_size_and_drops_nothing(shape):
    torch.manual_seed(0)
    critic = Critic(base_channels=4)
    x = random((1, 1, *shape)).requires_grad_(True)
    critic(x).sum().backward()
    assert int((x.grad == 0).sum()) == 0  # the last planes of odd sizes too


def test_each_halving_pads_odd_sizes_and_drops_nothing():
    down = PointwiseDown(1, 2)
    x = random((1, 1, 5, 6, 7)).requires_grad_(True)
    y = down(x)
    assert y.shape == (1, 2, 3, 3, 4)
    y.sum().backward()
    assert int((x.grad == 0).sum()) == 0
    # Space-to-depth and a 1x1x1 convolution, said in another way: cells of eight voxels times one matrix.
    cells = torch.nn.functional.pad(x.detach(), (0, 1, 0, 0, 0, 1)).reshape(3, 2, 3, 2, 4, 2).permute(0, 2, 4, 1, 3, 5)
    expected = cells.reshape(3, 3, 4, 8) @ down.conv.weight.reshape(2, 8).T
    torch.testing.assert_close(y[0], expected.permute(3, 0, 1, 2))


def test_sizes_that_are_refused():
    with pytest.raises(GeometryError, match="too small"):
        Critic(base_channels=2)(random((1, 1, 16, 15, 16)))
    with pytest.raises(GeometryError, match="one patch size"):
        Critic("pointwise", **SMALL)(random((1, 1, 32, 32, 32)))
    for size in (0, 8, 40):
        with pytest.raises(ConfigError, match="patch_size"):
            Critic("original", patch_size=size)


def test_published_slope_is_the_identity():
    torch.manual_seed(0)
    critic = Critic("pointwise", negative_slope=1.0, **SMALL)
    x = random((2, 1, 16, 16, 16))
    h = x
    for module in [*critic.body, *critic.head]:
        if not isinstance(module, torch.nn.LeakyReLU):
            h = module(h)
    torch.testing.assert_close(critic(x), h.flatten())
    critic = Critic("pointwise", **SMALL)
    slopes = {m.negative_slope for m in critic.modules() if isinstance(m, torch.nn.LeakyReLU)}
    assert slopes == {0.2}


def test_condition_is_a_second_channel():
    critic = Critic(in_channels=2, base_channels=4)
    assert critic(random((2, 2, 16, 16, 16))).shape == (2,)
    assert critic.body[0].in_channels == 2


@pytest.mark.parametrize(
    "arguments", [{"preset": "heavy"}, {"in_channels": 0}, {"negative_slope": -0.1}, {"negative_slope": 2}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ConfigError):
        Critic(**arguments)


@pytest.mark.parametrize("arguments", [{"base_channels": 4, "in_channels": 2}, {"preset": "pointwise", **SMALL}])
def test_architecture_rebuilds_the_critic(arguments):
    critic = Critic(**arguments)
    again = build_network(architecture(critic))
    again.load_state_dict(critic.state_dict())
    assert architecture(again) == architecture(critic)
