"""SRResDNet: exact parameters, the authors' layers by hand, the noise's level and the projection onto its norm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.networks import SRResDNet, architecture, build_network, fold_weight_norm
from mdcsrn.networks.interpolation import LinearUpsample
from mdcsrn.networks.srresdnet import DB7, NoiseLevel, project_to_noise

SMALL = {"width": 4, "blocks": 2}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def shaken(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"projection": True}, 380_356),
        ({}, 380_355),
        # Without the lengths g: one for each output channel, of the transposed convolution for each input channel.
        ({"weight_norm": False, "projection": True}, 380_356 - 64 - 10 * 64 - 64),
    ],
)
def test_exact_totals(arguments: dict, total: int) -> None:
    with torch.device("meta"):  # shapes without memory
        network = SRResDNet(channels=3, **arguments)
    assert sum(p.numel() for p in network.parameters()) == total


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("reflect", [True, False])
def test_the_layers_of_the_authors(scale: int, reflect: bool) -> None:
    """Written as functions of its weights, borders padded by NumPy."""
    network = shaken(SRResDNet(scale, channels=3, reflect=reflect, weight_norm=False, **SMALL))
    w = {name.removeprefix("layers.network."): value for name, value in network.state_dict().items()}

    def conv(x: torch.Tensor, name: str, pad: int) -> torch.Tensor:
        padded = np.pad(x.numpy(), [(0, 0), (0, 0), (pad, pad), (pad, pad)], mode="reflect" if reflect else "constant")
        return functional.conv2d(torch.from_numpy(padded), w[f"{name}.weight"], w[f"{name}.bias"])

    planes = random(2, 3, 9, 7)
    refined = LinearUpsample(scale)(planes)
    x = conv(refined, "head", 2)
    for block in range(2):
        inner = x
        for layer in (0, 2):
            slope = w[f"body.{block}.layers.{layer}.weight"][:, None, None]
            inner = conv(torch.where(inner > 0, inner, slope * inner), f"body.{block}.layers.{layer + 1}", 1)
        x = inner if block == 0 else x + inner
    expected = refined - functional.conv_transpose2d(x, w["tail.weight"], w["tail.bias"], padding=2)
    torch.testing.assert_close(network(planes[:, :, None])[:, :, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_step_zero_is_linear_interpolation(scale: int, projection: bool) -> None:
    network = SRResDNet(scale, projection=projection, **SMALL)
    image = random(2, 1, 3, 8, 9)
    result = network(image)
    assert torch.equal(result, LinearUpsample(scale)(image))
    # On samples r j as NumPy interpolates, the border replicated.
    rows = np.arange(9 * scale) / scale
    expected = np.interp(rows, np.arange(9), image[0, 0, 0, 0].numpy())
    np.testing.assert_allclose(result[0, 0, 0, 0].detach().numpy(), expected, atol=1e-6)
    result.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


def test_the_filter_is_that_of_a_wavelet() -> None:
    """Orthonormal to its own even shifts, and blind to polynomials below its seven vanishing moments."""
    filter_ = np.array(DB7)
    for shift in range(0, 14, 2):
        assert np.dot(filter_[shift:], filter_[: 14 - shift]) == pytest.approx(float(shift == 0), abs=1e-10)
    for power in range(7):
        assert abs(np.dot(filter_, (np.arange(14) / 14.0) ** power)) < 1e-8


@pytest.mark.parametrize("sigma", [0.01, 0.2])
def test_noise_of_a_smooth_plane_is_measured(sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(200) / 200
    smooth = torch.sin(3 * rows)[:, None] * torch.cos(2 * rows)[None]
    noise = torch.randn(2, 3, 200, 200, generator=generator) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    found = NoiseLevel()(smooth + sigma * noise)
    assert found.shape == (2, 1, 1, 1)
    np.testing.assert_allclose(found.flatten(), [sigma, 3 * sigma], rtol=0.03)
    assert float(NoiseLevel()(torch.ones(1, 1, 5, 5))) < 1e-6  # and small planes are no error


def test_projection_onto_a_ball() -> None:
    x, sigma, alpha = random(3, 2, 5, 6) - 0.5, torch.tensor([0.01, 0.1, 10.0]).view(3, 1, 1, 1), torch.tensor([0.3])
    found = project_to_noise(x, sigma, alpha)
    for n in range(3):
        norm, epsilon = np.linalg.norm(x[n]), math.exp(0.3) * float(sigma[n]) * math.sqrt(2 * 5 * 6 - 1)
        np.testing.assert_allclose(found[n], x[n] * min(1.0, epsilon / norm), rtol=1e-5)
    assert not project_to_noise(x, 0 * sigma, alpha).any()
    assert not project_to_noise(0 * x, 0 * sigma, alpha).any()


def test_projection_limits_what_the_network_changes() -> None:
    network = shaken(SRResDNet(2, projection=True, **SMALL)).eval()
    image = random(1, 1, 2, 12, 12)
    refined = network.interpolate(image)
    change = (network(image) - refined)[0, 0]
    layers = network.layers.network
    for d in range(2):
        sigma = layers.noise_level(refined[:, :, d])
        limit = float(layers.alpha.detach().exp() * sigma) * math.sqrt(24 * 24 - 1)
        assert change[d].norm().item() <= limit * (1 + 1e-5)


def test_an_empty_plane_has_no_noise() -> None:
    """Where the larger part of a plane is 0, as in a head without its skull, the projection leaves no change."""
    network = shaken(SRResDNet(2, projection=True, **SMALL)).eval()
    image = torch.zeros(1, 1, 1, 32, 32)
    image[..., 10:20, 10:20] = random(10, 10)
    assert torch.equal(network(image), network.interpolate(image))


def test_folded_is_the_same_network() -> None:
    network = shaken(SRResDNet(2, channels=3, **SMALL)).double().eval()
    image = random(2, 3, 2, 8, 9).double()
    folded = fold_weight_norm(network)
    torch.testing.assert_close(folded(image), network(image), rtol=1e-12, atol=1e-12)
    assert not folded.weight_norm


@pytest.mark.parametrize("arguments", [{}, {"scale": 2, "channels": 3, "reflect": False, "projection": True}])
def test_architecture_rebuilds_the_network(arguments: dict) -> None:
    network = SRResDNet(**arguments, **SMALL)
    again = build_network(architecture(network))
    again.load_state_dict(network.state_dict())
    assert architecture(again) == architecture(network)


def test_bad_arguments_are_refused() -> None:
    for arguments in ({"scale": 1}, {"width": 0}, {"blocks": 0}, {"channels": True}):
        with pytest.raises(ConfigError):
            SRResDNet(**arguments)
