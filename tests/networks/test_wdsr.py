"""WDSR-A: exact parameters, the paper's layers by hand, its start values, and weight normalisation folded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.networks import (
    WDSR,
    CubicUpsample,
    architecture,
    build_network,
    fold_weight_norm,
    load_network,
    publish_weights,
    save_weights,
)

SMALL = {"width": 6, "expansion": 2, "blocks": 2}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every parameter moved, lengths and directions too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"channels": 3, "bias": False, "weight_norm": False}, 3_557_232),
        ({"channels": 3}, 3_571_824),
        ({"channels": 3, "residual": False}, 3_571_824),
        # 16 blocks of 32 -> 128 -> 32, one channel, x4, by hand: weights, then biases.
        (
            {"expansion": 4, "blocks": 16, "weight_norm": False},
            288 + 16 * 73_728 + 4_608 + 400 + 32 + 16 * 160 + 32,
        ),
    ],
)
def test_exact_totals(arguments: dict, total: int) -> None:
    with torch.device("meta"):  # shapes without memory
        network = WDSR(**arguments)
    assert count(network) == total


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_layers_of_the_paper(scale: int, weight_norm: bool) -> None:
    """The published network, written as functions of its weights: g v / ||v||, by NumPy."""
    network = shaken(WDSR(scale, channels=3, residual=False, weight_norm=weight_norm, **SMALL))
    w = {name.removeprefix("layers.network."): value for name, value in network.state_dict().items()}

    def conv(x: torch.Tensor, name: str, padding: int = 1) -> torch.Tensor:
        if weight_norm:
            g, v = (w[f"{name}.parametrizations.weight.original{i}"].numpy() for i in (0, 1))
            weight = torch.from_numpy(
                g * v / np.sqrt((v.astype(np.float64) ** 2).sum((1, 2, 3), keepdims=True))
            ).float()
        else:
            weight = w[f"{name}.weight"]
        return functional.conv2d(x, weight, w[f"{name}.bias"], padding=padding)

    planes = random(2, 3, 9, 7)
    x = conv(planes, "head")
    for block in range(2):
        x = x + conv(functional.relu(conv(x, f"body.{block}.wide")), f"body.{block}.narrow")
    expected = functional.pixel_shuffle(conv(x, "tail") + conv(planes, "skip", 2), scale)
    torch.testing.assert_close(network(planes[:, :, None])[:, :, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("weight_norm", [True, False])
def test_start_values(weight_norm: bool) -> None:
    network = WDSR(residual=False, width=8, expansion=4, blocks=9, weight_norm=weight_norm)
    expected = {"head": 1.0, "wide": 2.0, "narrow": 1 / math.sqrt(9), "tail": 1.0, "skip": 1.0}
    seen = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            kind = name.rpartition(".")[2]
            norms = module.weight.detach().flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, torch.full_like(norms, expected[kind]))
            assert not module.bias.any()
            seen.add(kind)
    assert seen == set(expected)


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("arguments", [{}, {"scale": 3}, {"scale": 2, "channels": 3}, {"scale": 1}, {"dims": 3}])
def test_step_zero_is_cubic_interpolation(arguments: dict, weight_norm: bool) -> None:
    network = WDSR(weight_norm=weight_norm, **arguments, **SMALL)
    image = random(2, network.channels, 3, 8, 9)
    before = image.clone()
    result = network(image)
    assert torch.equal(result, CubicUpsample(network.scale)(image))
    assert torch.equal(image, before)
    result.square().sum().backward()  # and the first step goes somewhere, with finite gradients
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0


@pytest.mark.parametrize("r", [2, 3, 4])
def test_no_checkerboard_at_the_start(r: int) -> None:
    """Of a flat image, energy at the grid's frequency, beyond the reach of the padding."""

    def energy(network: nn.Module) -> float:
        with torch.no_grad():
            inner = network(torch.ones(1, 1, 1, 24, 24))[0, 0, 0, 8 * r : -8 * r, 8 * r : -8 * r]
        spectrum = torch.fft.fft2(inner - inner.mean()).abs().square()
        step = inner.shape[-1] // r
        return float(spectrum[::step, ::step].sum() / (inner.square().sum() * inner.numel()))

    torch.manual_seed(0)
    network = WDSR(r, residual=False, **SMALL)
    assert energy(network) < 1e-10
    assert energy(shaken(network)) > 1e-5


def test_folded_is_the_same_network_and_the_old_one_stays() -> None:
    network = shaken(WDSR(2, channels=3, **SMALL)).double().eval()
    image = random(2, 3, 2, 8, 9).double()
    expected = network(image)
    folded = fold_weight_norm(network)
    torch.testing.assert_close(folded(image), expected, rtol=1e-12, atol=1e-12)
    assert architecture(folded)["arguments"] == architecture(network)["arguments"] | {"weight_norm": False}
    assert not any("parametrizations" in name for name in folded.state_dict())
    assert torch.equal(network(image), expected)
    assert fold_weight_norm(folded) is folded


def test_files_say_whether_weights_are_normalised(tmp_path: Path) -> None:
    network = shaken(WDSR(2, **SMALL)).eval()
    image = random(1, 1, 2, 8, 9)
    for suffix in ("pt", "safetensors"):
        save_weights(tmp_path / f"training.{suffix}", network)
        again = load_network(tmp_path / f"training.{suffix}")
        assert again.weight_norm
        assert torch.equal(again(image), network(image))
    publish_weights(tmp_path / "training.pt", tmp_path / "models", "model")
    for suffix in ("pt", "safetensors"):
        published = load_network(tmp_path / "models" / f"model.{suffix}")
        assert not published.weight_norm
        torch.testing.assert_close(published(image), network(image))


def test_three_dimensions_have_no_upsampler() -> None:
    network = WDSR(dims=3, **SMALL)
    assert network.traits.input_grid == "result"
    assert network(random(1, 1, 5, 6, 7)).shape == (1, 1, 5, 6, 7)
    assert not any(isinstance(module, nn.PixelShuffle) for module in network.modules())
    with pytest.raises(ConfigError, match="no upsampler"):
        WDSR(scale=4, dims=3)


@pytest.mark.parametrize(
    "arguments", [{}, {"scale": 2, "channels": 3, "bias": False}, {"dims": 3, "residual": False, "weight_norm": False}]
)
def test_architecture_rebuilds_the_network(arguments: dict) -> None:
    network = WDSR(**arguments, **SMALL)
    again = build_network(architecture(network))
    again.load_state_dict(network.state_dict())
    assert architecture(again) == architecture(network)


@pytest.mark.parametrize("arguments", [{"scale": 6}, {"dims": 4}, {"width": 0}, {"expansion": 0}, {"blocks": True}])
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        WDSR(**{**SMALL, **arguments})
