"""SRGAN: the layers by hand, step 0, no checkerboard, and a discriminator of any patch size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.networks import CubicUpsample, SRGANDiscriminator, SRGANGenerator, architecture, build_network
from mdcsrn.networks.traits import Restorer

SMALL = {"width": 6, "blocks": 2}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_layers_of_the_generator(scale: int, tanh: bool) -> None:
    """Written as functions of its weights, in training: batch normalisation by its definition."""
    torch.manual_seed(0)
    network = SRGANGenerator(scale, channels=3, residual=False, tanh=tanh, **SMALL)
    w = {name.removeprefix("layers.network."): value.clone() for name, value in network.state_dict().items()}

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=1)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, square = x.mean((0, 2, 3), keepdim=True), x.square().mean((0, 2, 3), keepdim=True)
        scaled = (x - mean) / (square - mean**2 + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    planes = random(2, 3, 9, 7)
    first = leaky(conv(planes, "head.0"))
    x = first
    for block in range(2):
        inner = x
        for layer in (0, 3):
            inner = leaky(norm(conv(inner, f"body.{block}.layers.{layer}"), f"body.{block}.layers.{layer + 1}"))
        x = x + inner
    x = first + leaky(conv(x, "body.2"))
    x = leaky(functional.pixel_shuffle(conv(x, "up.0"), scale))
    expected = conv(x, "tail")
    expected = torch.tanh(expected) if tanh else expected
    found = network(planes.transpose(0, 1)[None]).squeeze(0).transpose(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_pixel_shuffle_for_every_factor() -> None:
    for scale in (2, 3, 4):
        shuffles = [m for m in SRGANGenerator(scale, **SMALL).modules() if isinstance(m, nn.PixelShuffle)]
        assert [m.upscale_factor for m in shuffles] == [scale]


@pytest.mark.parametrize("arguments", [{}, {"scale": 2, "channels": 3}, {"scale": 4}, {"scale": 1}, {"dims": 3}])
def test_step_zero_is_cubic_interpolation(arguments: dict) -> None:
    network = SRGANGenerator(**arguments, **SMALL)
    image = random(2, network.channels, 3, 8, 9)
    result = network(image)
    assert torch.equal(result, CubicUpsample(network.scale)(image))
    result.square().sum().backward()
    assert sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("r", [2, 3, 4])
def test_no_checkerboard_at_the_start(r: int) -> None:
    """Of a flat image, energy at the grid's frequency, beyond the reach of the padding."""

    @torch.no_grad()
    def energy(network: nn.Module) -> float:
        inner = network.eval()(torch.ones(1, 1, 1, 30, 30))[0, 0, 0, 10 * r : -10 * r, 10 * r : -10 * r]
        spectrum = torch.fft.fft2(inner - inner.mean()).abs().square()
        step = inner.shape[-1] // r
        return float(spectrum[::step, ::step].sum() / (inner.square().sum() * inner.numel()))

    torch.manual_seed(0)
    network = SRGANGenerator(r, residual=False, **SMALL)
    assert energy(network) < 1e-10
    network.get_submodule("layers.network.up.0").reset_parameters()  # as the convolution starts by itself
    assert energy(network) > 1e-5


@pytest.mark.parametrize("arguments", [{}, {"dropout": 0.5, "channels": 2}])
def test_the_layers_of_the_discriminator(arguments: dict) -> None:
    network = SRGANDiscriminator(width=2, **arguments)
    kinds = [type(layer).__name__ for layer in network.layers]
    drop = ["Dropout"] if arguments else []
    assert kinds == [
        "Conv2d", *drop, "LeakyReLU",
        *["Conv2d", "BatchNorm2d", *drop] * 3,
        "Conv2d", "BatchNorm2d", *drop, "LeakyReLU",
        *["Conv2d", *drop, "LeakyReLU"] * 2,
        "AdaptiveAvgPool2d", "Flatten", "Linear", "LeakyReLU", "Linear",
    ]  # fmt: skip
    assert [m.out_features for m in network.layers if isinstance(m, nn.Linear)] == [1024, 1]


@pytest.mark.parametrize("shape", [(1, 150, 150), (3, 17, 40), (1, 8, 8), (2, 1, 1)])
def test_any_patch_size_and_nothing_dropped(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = SRGANDiscriminator(width=3).eval()
    image = random(2, 1, *shape).requires_grad_(True)
    scores = network(image)
    assert scores.shape == (2,)
    (gradient,) = torch.autograd.grad(scores.sum(), image)
    assert int((gradient == 0).sum()) == 0


def test_the_score_of_a_patch_is_the_mean_of_its_planes() -> None:
    torch.manual_seed(0)
    network = SRGANDiscriminator(width=3).eval()
    image = random(2, 1, 3, 16, 16)
    planes = torch.stack([network(image[:, :, d : d + 1]) for d in range(3)], dim=1)
    torch.testing.assert_close(network(image), planes.mean(dim=1))
    assert not isinstance(network, Restorer)


@pytest.mark.parametrize(
    "network",
    [
        SRGANGenerator(**SMALL),
        SRGANGenerator(2, channels=3, residual=False, tanh=True, **SMALL),
        SRGANGenerator(dims=3, **SMALL),
        SRGANDiscriminator(channels=2, width=2, dropout=0.5),
    ],
    ids=lambda network: type(network).__name__,
)
def test_architecture_rebuilds_the_network(network: nn.Module) -> None:
    again = build_network(architecture(network))
    again.load_state_dict(network.state_dict())
    assert architecture(again) == architecture(network)


def test_bad_arguments_are_refused() -> None:
    for arguments in ({"scale": 5}, {"width": 0}, {"negative_slope": 2}, {"scale": 2, "dims": 3}, {"tanh": True}):
        with pytest.raises(ConfigError):
            SRGANGenerator(**arguments)
    for arguments in ({"width": 0}, {"dropout": 1.0}, {"negative_slope": -1}, {"channels": True}):
        with pytest.raises(ConfigError):
            SRGANDiscriminator(**arguments)
