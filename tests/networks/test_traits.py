"""Every network of the catalogue that restores volumes keeps what it says of itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdcsrn.errors import ConfigError
from mdcsrn.networks import (
    EDSR,
    MDCSRN,
    WDSR,
    Critic,
    CycleGeneratorHR,
    PlaneWise,
    Restorer,
    SRGANGenerator,
    SRResDNet,
    Traits,
    traits_of,
)
from mdcsrn.networks.catalog import NETWORKS

# Small ones of each class; a class of the catalogue that restores volumes and is not here fails the first test.
SMALL = {
    "MDCSRN": [MDCSRN(1, 2, 2, residual=False), MDCSRN(2, 1, 2, residual=False, space_to_depth=(1, 2, 2))],
    "EDSR": [
        *(EDSR(scale, width=4, blocks=1, residual=scale == 4) for scale in (1, 2, 3, 4, 8)),
        EDSR(channels=3, width=4, blocks=2, residual=False),
        EDSR(dims=3, width=3, blocks=1, residual=False),
    ],
    "CycleGeneratorHR": [
        *(CycleGeneratorHR(scale, width=4, blocks=1, residual=scale == 3) for scale in (2, 3, 4)),
        CycleGeneratorHR(channels=3, width=4, blocks=2, residual=False),
    ],
    "SRGANGenerator": [
        *(SRGANGenerator(scale, width=4, blocks=1, residual=scale == 3) for scale in (1, 2, 3, 4)),
        SRGANGenerator(channels=3, width=4, blocks=2, residual=False, tanh=True),
        SRGANGenerator(dims=3, width=3, blocks=1, residual=False),
    ],
    "SRResDNet": [
        *(SRResDNet(scale, width=4, blocks=1) for scale in (2, 3, 4)),
        SRResDNet(4, width=4, blocks=3, reflect=False, weight_norm=False),
        SRResDNet(channels=3, width=4, blocks=1, projection=True),
    ],
    "WDSR": [
        *(WDSR(scale, width=4, expansion=2, blocks=1, residual=scale == 3) for scale in (1, 2, 3, 4, 8)),
        WDSR(channels=3, width=4, expansion=2, blocks=2, residual=False),
        WDSR(dims=3, width=3, expansion=2, blocks=1, residual=False),
    ],
}


def test_each_class_is_tried() -> None:
    restoring = {name for name, kind in NETWORKS.items() if hasattr(kind, "traits")}
    assert restoring == set(SMALL)
    assert not isinstance(Critic("light"), Restorer)


@pytest.mark.parametrize("network", [n for several in SMALL.values() for n in several], ids=lambda n: type(n).__name__)
def test_margin_multiple_scale_and_channels_are_true(network: nn.Module) -> None:
    traits = traits_of(network.eval())
    reach = [12 if m is None else m for m in traits.margin]
    shape = [2 * m + 8 for m in reach]
    middle = [n // 2 - (n // 2) % step for n, step in zip(shape, traits.multiple, strict=True)]
    image = torch.rand(1, traits.channels, *shape, requires_grad=True)
    result = network(image)
    assert result.shape == (1, traits.channels, *(n * s for n, s in zip(shape, traits.scale, strict=True)))
    at = tuple(m * s for m, s in zip(middle, traits.scale, strict=True))
    (seen,) = torch.autograd.grad(result[0, 0][at], image)
    where = torch.nonzero(seen[0].abs().amax(dim=0))
    for axis, (m, step) in enumerate(zip(traits.margin, traits.multiple, strict=True)):
        if m is not None:
            assert middle[axis] - m <= int(where[:, axis].min())
            assert int(where[:, axis].max()) < middle[axis] + step + m


def test_traits_out_of_range() -> None:
    wrong = (
        {"scale": (1, 2, 2)},
        {"scale": (0, 1, 1)},
        {"margin": (-1, 0, 0)},
        {"channels": 0},
        {"multiple": (1, 0, 1)},
    )
    for given in wrong:
        with pytest.raises(ConfigError):
            Traits(**given)
    with pytest.raises(ConfigError, match="state its traits"):
        traits_of(nn.Conv3d(1, 1, 3))


def test_planes_are_run_one_by_one() -> None:
    plane = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2))
    volume = torch.rand(2, 2, 3, 5, 6)
    result = PlaneWise(plane)(volume)
    assert result.shape == (2, 2, 3, 10, 12)
    for n in range(2):
        for d in range(3):
            torch.testing.assert_close(result[n, :, d], plane(volume[n : n + 1, :, d])[0])
