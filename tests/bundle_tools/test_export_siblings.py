"""Each sibling network in each export format, against itself, at sizes that are not the recorded one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mdcsrn.bundle.export import compare
from mdcsrn.bundle.export_formats import FORMS, form
from mdcsrn.networks import EDSR, WDSR, CycleGeneratorHR, SRGANGenerator, SRResDNet, fold_weight_norm

SHAPES = ((5, 12, 17), (4, 9, 8))
NETWORKS = {
    "edsr": lambda: EDSR(2, width=4, blocks=1),
    "edsr of three dimensions": lambda: EDSR(dims=3, width=4, blocks=1),
    "cycle": lambda: CycleGeneratorHR(4, width=4, blocks=1),
    "srresdnet": lambda: SRResDNet(4, width=4, blocks=1, projection=True),
    "srgan": lambda: SRGANGenerator(3, width=4, blocks=1),
    "wdsr": lambda: WDSR(3, width=4, expansion=2, blocks=1),
}


def shaken(network: nn.Module) -> nn.Module:
    """Every parameter moved, so that nothing is zero; in the form that is released."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return fold_weight_norm(network).eval().requires_grad_(False)


@pytest.mark.parametrize("name", [name for name in FORMS if name != "safetensors"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_equals_the_network(kind: str, name: str, tmp_path: Path) -> None:
    network = shaken(NETWORKS[kind]())
    chosen, precision = form(name)
    file = tmp_path / f"file{chosen.suffix}"
    chosen.write(network, file, precision, {"model": kind}, lambda: [])
    piece = torch.rand(8, 20, 20, generator=torch.Generator().manual_seed(1))
    found = compare(network, chosen.load(file), piece, SHAPES)
    assert found["shapes"] == [list(shape) for shape in SHAPES]
    assert found["relative_error"] <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_scripted_for_monai(kind: str) -> None:
    """``monai.bundle ckpt_export`` scripts a network; any size afterwards."""
    network = shaken(NETWORKS[kind]())
    scripted = torch.jit.script(network)
    for shape in SHAPES:
        image = torch.rand(1, 1, *shape)
        torch.testing.assert_close(scripted(image), network(image))
