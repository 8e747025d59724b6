"""Networks are laid out for convolutions before they are trained."""

from __future__ import annotations

import torch
from torch import nn

from mdcsrn.engines.parts import place
from mdcsrn.networks import MDCSRN, Critic, PlaneWise


def test_convolutions_of_both_kinds_get_channels_last() -> None:
    plane = nn.Conv2d(3, 8, 3)
    network = nn.Sequential(MDCSRN(1, 2, 4), PlaneWise(plane))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    place(network, "cpu", torch.channels_last_3d)
    assert plane.weight.is_contiguous(memory_format=torch.channels_last)
    solid = [module.weight for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert len(solid) == 4
    assert all(weight.is_contiguous(memory_format=torch.channels_last_3d) for weight in solid)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_other_weights_of_four_axes_stay() -> None:
    critic = Critic("pointwise", patch_size=64)
    place(critic, "cpu", torch.channels_last_3d)
    norms = [module.weight for module in critic.modules() if isinstance(module, nn.LayerNorm)]
    assert norms
    assert all(weight.is_contiguous() for weight in norms)
