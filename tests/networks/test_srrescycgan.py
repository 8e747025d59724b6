"""SRResCycGAN: exact parameters, the documents' shapes and layers, and a cycle that starts as the identity."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.networks import (
    CubicUpsample,
    CycleDiscriminatorHR,
    CycleDiscriminatorLR,
    CycleGeneratorHR,
    CycleGeneratorLR,
    Restorer,
    architecture,
    build_network,
)
from mdcsrn.networks.interpolation import CubicDownsample

SMALL = {"width": 4, "blocks": 2}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kind", "total"),
    [
        (CycleGeneratorHR, 684_544),
        (CycleGeneratorLR, 611_907),
        (CycleDiscriminatorHR, 15_526_281),
        (CycleDiscriminatorLR, 1_036_545),
    ],
)
def test_exact_totals(kind: type[nn.Module], total: int) -> None:
    with torch.device("meta"):  # shapes without memory
        assert count(kind(channels=3)) == total
        one = count(kind())
    edge = {CycleGeneratorHR: 25 + 9, CycleGeneratorLR: 49 + 49, CycleDiscriminatorHR: 9, CycleDiscriminatorLR: 25}
    output_bias = 1 if kind is CycleGeneratorLR else 0
    assert one == total - 2 * (64 * edge[kind] + output_bias)


def test_the_documents_shapes() -> None:
    low, high = random(1, 3, 1, 80, 80), random(1, 3, 1, 320, 320)
    with torch.no_grad():
        assert CycleGeneratorHR(channels=3, **SMALL)(low).shape == high.shape
        assert CycleGeneratorLR(channels=3, **SMALL)(high).shape == low.shape
        assert CycleDiscriminatorLR(channels=3, width=4)(low).shape == (1, 1, 1, 20, 20)
        critic = CycleDiscriminatorHR(channels=3, width=4)
        assert critic(high).shape == (1,)
        features = critic.layers[:29](high[:, :, 0])  # up to the cells
        assert features.shape == (1, 32, 6, 6)
        assert torch.equal(critic.layers[29](features), features)  # which change nothing here
    assert CycleDiscriminatorHR(width=1).layers[31].in_features * 64 == 18_432


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def instance_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """By its definition: mean and variance of each channel of each plane."""
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


def shaken(network: nn.Module) -> dict[str, torch.Tensor]:
    """Move every parameter, and return the state without the planes' prefix."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return {name.removeprefix("layers.network."): value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_layers_of_g_hr(scale: int) -> None:
    """Written as functions of its weights; the body's result is subtracted."""
    network = CycleGeneratorHR(scale, channels=3, residual=False, **SMALL)
    w = shaken(network)

    def conv(x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)

    planes = random(2, 3, 9, 7)
    up = functional.conv_transpose2d(planes, w["up.weight"], w["up.bias"], stride=scale)
    first = {2: 2, 3: 1, 4: 1}[scale]  # the result's grid within the full transposed convolution
    up = functional.pad(up, (0, scale, 0, scale))[..., first : first + 9 * scale, first : first + 7 * scale]
    edge = functional.conv_transpose2d(planes, w["up.weight"], stride=scale).shape[-2] - first
    up[..., edge:, :] = w["up.bias"][:, None, None]
    edge = functional.conv_transpose2d(planes, w["up.weight"], stride=scale).shape[-1] - first
    up[..., edge:] = w["up.bias"][:, None, None]
    x = conv(up, "body.0", 2)
    for block in (1, 2):
        inner = x
        for layer in (0, 3):
            slope = w[f"body.{block}.{layer}.weight"][:, None, None]
            inner = conv(torch.where(inner > 0, inner, slope * inner), f"body.{block}.{layer + 1}", 1)
            norm = f"body.{block}.{layer + 2}"
            inner = instance_norm(inner, w[f"{norm}.weight"], w[f"{norm}.bias"])
        x = x + inner
    x = conv(conv(x, "body.3", 2), "body.4", 2)
    expected = conv(up - x, "tail", 1)
    torch.testing.assert_close(network(planes[:, :, None])[:, :, 0], expected, rtol=1e-4, atol=1e-4)
    assert "tail.bias" not in w


def test_the_layers_of_g_lr() -> None:
    network = CycleGeneratorLR(channels=3, residual=False, **SMALL)
    w = shaken(network)

    def step(x: torch.Tensor, name: str, stride: int, edge: int = 3) -> torch.Tensor:
        prefix, _, index = name.rpartition(".")
        norm = f"{prefix}.{int(index) + 1}".lstrip(".")
        x = functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, edge // 2)
        return instance_norm(x, w[f"{norm}.weight"], w[f"{norm}.bias"])

    planes = random(2, 3, 16, 24)
    x = leaky(step(planes, "0", 1, 7))
    x = leaky(step(leaky(step(x, "3", 2)), "6", 2))
    for block in (9, 10):
        x = leaky(x + step(leaky(step(x, f"{block}.0", 1)), f"{block}.3", 1))
    x = leaky(step(leaky(step(x, "11", 1)), "14", 1))
    expected = functional.conv2d(x, w["17.weight"], w["17.bias"], padding=3)
    torch.testing.assert_close(network(planes[:, :, None])[:, :, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_cycle_starts_as_interpolation_and_its_counterpart(scale: int) -> None:
    up, down = CycleGeneratorHR(scale, **SMALL), CycleGeneratorLR(scale, **SMALL)
    low = random(2, 1, 3, 9, 8)
    high = up(low)
    assert torch.equal(high, CubicUpsample(scale)(low))
    assert torch.equal(down(high), CubicDownsample(scale)(high))
    down(high).square().sum().backward()
    for network in (up, down):
        assert sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_detail_above_the_acquired_band_costs_no_cycle_at_the_start(scale: int) -> None:
    """Else the L1 loss of the cycle, ten times weighted, would hold G_HR at the interpolation."""
    down = CycleGeneratorLR(scale, **SMALL)
    n = 16 * scale
    phase = 2 * torch.pi * torch.arange(n) / n
    detail = torch.cos(14 * phase)[:, None] * torch.cos(13 * phase)  # of 8 on the acquired matrix
    inner = slice(4, -4)
    assert float(down(detail[None, None, None]).detach()[..., inner, inner].abs().max()) < 0.03


def test_clamp_is_an_option() -> None:
    image = 30 * random(1, 1, 1, 32, 32) - 15  # G_LR takes local means of it
    for kind in (CycleGeneratorHR, CycleGeneratorLR):
        free, clipped = kind(**SMALL), kind(clamp=True, **SMALL)
        clipped.load_state_dict(free.state_dict())
        found = free(image).detach()
        assert float(found.min()) < 0
        assert float(found.max()) > 1
        assert torch.equal(clipped(image), found.clamp(0, 1))


@pytest.mark.parametrize(("convolutions", "smallest"), [(9, 188), (7, 92), (5, 44), (3, 20), (1, 8)])
def test_smallest_patch_of_d_hr(convolutions: int, smallest: int) -> None:
    torch.manual_seed(0)
    critic = CycleDiscriminatorHR(width=2, convolutions=convolutions)
    assert critic.smallest_patch == smallest
    assert critic(random(2, 1, 1, smallest, smallest + 3)).shape == (2,)
    with pytest.raises(GeometryError, match="too small"):
        critic(random(1, 1, 1, smallest, smallest - 1))


@pytest.mark.parametrize("critic", [CycleDiscriminatorHR(width=3, convolutions=3), CycleDiscriminatorLR(width=3)])
def test_scores_are_of_one_sample_and_plane_alone(critic: nn.Module) -> None:
    image = random(2, 1, 3, 24, 24)
    scores = critic(image)
    one_by_one = torch.cat([critic(image[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(scores, one_by_one)
    planes = torch.stack([critic(image[:, :, d : d + 1]) for d in range(3)], dim=1)
    if scores.ndim == 1:
        torch.testing.assert_close(scores, planes.mean(dim=1))
    else:
        torch.testing.assert_close(scores, planes.squeeze(3).transpose(1, 2))
    assert not isinstance(critic, Restorer)


@pytest.mark.parametrize(
    "network",
    [
        CycleGeneratorHR(2, channels=3, residual=False, clamp=True, **SMALL),
        CycleGeneratorLR(3, channels=3, residual=False, clamp=True, **SMALL),
        CycleDiscriminatorHR(channels=2, width=2, convolutions=3),
        CycleDiscriminatorLR(channels=2, width=2),
    ],
    ids=lambda network: type(network).__name__,
)
def test_architecture_rebuilds_the_network(network: nn.Module) -> None:
    again = build_network(architecture(network))
    again.load_state_dict(network.state_dict())
    assert architecture(again) == architecture(network)


def test_bad_arguments_and_sizes_are_refused() -> None:
    for kind in (CycleGeneratorHR, CycleGeneratorLR):
        for arguments in ({"scale": 8}, {"scale": True}, {"width": 0}, {"blocks": 0}, {"channels": 1.0}):
            with pytest.raises(ConfigError):
                kind(**arguments)
    for arguments in ({"convolutions": 10}, {"convolutions": 0}, {"width": -1}):
        with pytest.raises(ConfigError):
            CycleDiscriminatorHR(**arguments)
    with pytest.raises(GeometryError, match="divisor"):
        CycleGeneratorLR(**SMALL)(random(1, 1, 1, 16, 18))
    with pytest.raises(GeometryError, match="too small"):
        CycleDiscriminatorLR(width=2)(random(1, 1, 1, 7, 16))
