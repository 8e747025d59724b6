"""Sub-pixel upsampling: the start without a checkerboard, and the place of each value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mdcsrn.networks.subpixel import SubPixel, icnr_


def grid_energy(network: nn.Module, channels: int, r: int) -> float:
    """Energy at multiples of the grid's frequency (1 / r per sample) over the whole energy, for a flat image.

    Beyond the reach of the padding a flat image must stay flat; a checkerboard repeats every r samples.
    """
    with torch.no_grad():
        result = network(torch.ones(1, channels, 24, 24))
    inner = result[0, :, 4 * r : -4 * r, 4 * r : -4 * r]
    spectrum = torch.fft.fft2(inner - inner.mean(dim=(-2, -1), keepdim=True)).abs().square()
    step = inner.shape[-1] // r
    return float(spectrum[:, ::step, ::step].sum() / (inner.square().sum() * inner[0].numel()))


@pytest.mark.parametrize("stages", [[2], [3], [4], [2, 2], [2, 2, 2]])
def test_no_checkerboard_at_the_start(stages: list[int]) -> None:
    r = math.prod(stages)
    torch.manual_seed(r)
    stage = SubPixel(8, stages)
    assert grid_energy(stage, 8, r) < 1e-10
    for module in stage:  # as the convolution starts by itself
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    assert grid_energy(stage, 8, r) > 1e-3


def test_filters_side_by_side_are_equal_and_others_are_not() -> None:
    torch.manual_seed(0)
    conv = icnr_(nn.Conv2d(3, 2 * 9, 3), 3)
    groups = conv.weight.unflatten(0, (2, 9))
    assert torch.equal(groups, groups[:, :1].expand_as(groups))
    assert not torch.equal(groups[0], groups[1])
    assert not conv.bias.any()


@pytest.mark.parametrize("stages", [[2], [3], [4], [2, 2], [2, 2, 2]])
def test_reach(stages: list[int]) -> None:
    """Samples that a result depends on, through the stages and one more 3x3 convolution."""
    r = math.prod(stages)
    torch.manual_seed(0)
    stage = SubPixel(2, stages)
    network = nn.Sequential(stage, nn.Conv2d(2, 1, 3, padding=1)).double()
    image = torch.rand(1, 2, 15, 15, dtype=torch.float64, requires_grad=True)
    result = network(image)
    assert result.shape == (1, 1, 15 * r, 15 * r)
    seen = set()
    for p in range(r):
        (gradient,) = torch.autograd.grad(result[0, 0, 7 * r + p, 7 * r + p], image, retain_graph=True)
        rows = torch.nonzero(gradient[0].abs().sum(dim=(0, 2))).flatten()
        seen |= {7 - int(rows.min()), int(rows.max()) - 7}
    assert max(seen) == stage.reach(after=1)
