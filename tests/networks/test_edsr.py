"""EDSR: exact parameters, the paper's layers by hand, and cubic interpolation at step 0."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks import EDSR, CubicUpsample, architecture, build_network

SMALL = {"width": 6, "blocks": 2}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"channels": 3, "bias": False}, 40_711_680),
        ({"channels": 3}, 40_729_603),
        ({"channels": 3, "residual": False}, 40_729_603),
        # 16 blocks of 64: 577 + 16 * 73,856 + 36,928 + 147,712 + 577 by hand.
        ({"width": 64, "blocks": 16, "residual_scale": 1.0}, 577 + 63 + 16 * 73_856 + 36_928 + 147_712 + 577),
    ],
)
def test_exact_totals(arguments: dict, total: int) -> None:
    with torch.device("meta"):  # shapes without memory
        network = EDSR(**arguments)
    assert count(network) == total


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_layers_of_the_paper(scale: int) -> None:
    """The published network, written as functions of its weights."""
    torch.manual_seed(0)
    network = EDSR(scale, channels=3, residual=False, residual_scale=0.3, **SMALL)
    w = {name.removeprefix("layers.network."): value for name, value in network.state_dict().items()}

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    planes = random(2, 3, 9, 7)
    first = conv(planes, "head")
    x = first
    for block in range(2):
        x = x + 0.3 * conv(functional.relu(conv(x, f"body.{block}.conv1")), f"body.{block}.conv2")
    x = first + conv(x, "body.2")
    stages = {2: [2], 3: [3], 4: [2, 2]}[scale]
    for index, factor in enumerate(stages):
        x = functional.pixel_shuffle(conv(x, f"up.{2 * index}"), factor)
    expected = conv(x, "tail")
    torch.testing.assert_close(network(planes[:, :, None])[:, :, 0], expected)


@pytest.mark.parametrize("arguments", [{}, {"scale": 3}, {"scale": 4, "channels": 3}, {"scale": 1}, {"dims": 3}])
def test_step_zero_is_cubic_interpolation(arguments: dict) -> None:
    network = EDSR(**arguments, **SMALL)
    image = random(2, network.channels, 3, 8, 9)
    before = image.clone()
    assert torch.equal(network(image), CubicUpsample(network.scale)(image))
    assert torch.equal(image, before)
    network(image).square().sum().backward()  # and the first step goes somewhere
    assert float(network.get_submodule("layers").state_dict(keep_vars=True)[_tail(network)].grad.abs().sum()) > 0


def _tail(network: EDSR) -> str:
    return "network.tail.weight" if network.dims == 2 else "tail.weight"


def test_three_dimensions_have_no_upsampler() -> None:
    network = EDSR(dims=3, **SMALL)
    assert network.traits.input_grid == "result"
    assert network(random(1, 1, 5, 6, 7)).shape == (1, 1, 5, 6, 7)
    assert not any(isinstance(module, nn.PixelShuffle) for module in network.modules())
    assert count(network) == count(EDSR(scale=1, **SMALL)) + 18 * 6 * 2 + 18 * 36 * 5  # 27 for 9 weights a filter
    with pytest.raises(ConfigError, match="no upsampler"):
        EDSR(scale=2, dims=3)


def test_bounded_by_nothing() -> None:
    """Linear in the range: no tanh and no clamp on the way out."""
    network = EDSR(residual=False, bias=False, **SMALL).eval()
    image = random(1, 1, 1, 8, 8)
    torch.testing.assert_close(network(1000 * image), 1000 * network(image), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("arguments", [{}, {"scale": 4, "channels": 3, "bias": False}, {"dims": 3, "residual": False}])
def test_architecture_rebuilds_the_network(arguments: dict) -> None:
    network = EDSR(**arguments, **SMALL)
    again = build_network(architecture(network))
    again.load_state_dict(network.state_dict())
    assert architecture(again) == architecture(network)


@pytest.mark.parametrize(
    "arguments",
    [{"scale": 5}, {"scale": 0}, {"dims": 1}, {"width": 0}, {"blocks": 1.5}, {"channels": True}, {"residual_scale": 0}],
)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        EDSR(**{**SMALL, **arguments})


def test_planes_alone_are_refused() -> None:
    with pytest.raises(GeometryError, match="batch of volumes"):
        EDSR(**SMALL)(random(1, 1, 8, 8))


def test_learns_what_interpolation_cannot() -> None:
    """Nearest neighbours: forty steps on one image halve the error of cubic interpolation."""
    torch.manual_seed(0)
    network = EDSR(width=8, blocks=2)
    low = random(4, 1, 1, 16, 16)
    wanted = low.repeat_interleave(2, -1).repeat_interleave(2, -2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    errors = []
    for _ in range(40):
        loss = (network(low) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.5 * errors[0]
