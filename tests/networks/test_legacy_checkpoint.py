"""Old checkpoints: mapped in, they give what the published network gives, written here once more and independently."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mdcsrn.errors import CheckpointError
from mdcsrn.networks import map_published_state


def old_state(blocks=4, units=4, k=16, seed=0):
    """A state dictionary with the names and shapes of the earlier code, filled at random."""
    generator = torch.Generator().manual_seed(seed)

    def conv(out, channels, size):
        return torch.randn((out, channels, size, size, size), generator=generator) * (2 / (channels * size**3)) ** 0.5

    state = {"conv0.weight": conv(2 * k, 1, 3)}
    collected = 2 * k
    for b in range(blocks):
        if b:
            state[f"comp{b - 1}.weight"] = conv(2 * k, collected, 1)
        channels = 2 * k
        for u in range(1, units + 1):
            name = f"block{b}.denselayer{u}"
            state[f"{name}.norm.weight"] = torch.rand(channels, generator=generator) + 0.5
            state[f"{name}.norm.bias"] = torch.randn(channels, generator=generator) * 0.1
            state[f"{name}.norm.running_mean"] = torch.randn(channels, generator=generator) * 0.1
            state[f"{name}.norm.running_var"] = torch.rand(channels, generator=generator) + 0.5
            state[f"{name}.norm.num_batches_tracked"] = torch.tensor(7)
            state[f"{name}.conv.weight"] = conv(k, channels, 3)
            channels += k
        collected += channels
    state["recon.weight"] = conv(1, collected, 1)
    return state


def published(state, x, blocks=4, units=4):
    """Chen et al. 2018, written with functions alone."""
    features = [functional.conv3d(x, state["conv0.weight"], padding=1)]
    for b in range(blocks):
        entry = features[0] if b == 0 else functional.conv3d(torch.cat(features, 1), state[f"comp{b - 1}.weight"])
        inside = [entry]
        for u in range(1, units + 1):
            name = f"block{b}.denselayer{u}"
            h = torch.cat(inside, 1)
            mean, var, weight, bias = (
                state[f"{name}.norm.{p}"].view(1, -1, 1, 1, 1)
                for p in ("running_mean", "running_var", "weight", "bias")
            )
            h = (h - mean) / torch.sqrt(var + 1e-5) * weight + bias
            h = torch.where(h > 0, h, torch.expm1(h))
            inside.append(functional.conv3d(h, state[f"{name}.conv.weight"], padding=1))
        features.append(torch.cat(inside, 1))
    return functional.conv3d(torch.cat(features, 1), state["recon.weight"])


@pytest.mark.parametrize(("blocks", "units", "k"), [(4, 4, 16), (1, 4, 16), (2, 3, 8)])
def test_old_checkpoint_gives_the_published_output(blocks, units, k):
    state = old_state(blocks, units, k)
    network = map_published_state(state)
    assert not network.training
    assert not network.residual
    assert (network.blocks, network.units, network.growth) == (blocks, units, k)
    x = torch.rand((2, 1, 7, 8, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output, expected = network(x), published(state, x, blocks, units)
    assert float((output - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_and_missing_counters(prefix):
    state = old_state(1, 2, 4)
    wrapped = {prefix + name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
    loaded = map_published_state(wrapped).state_dict()
    assert all(torch.equal(loaded[name], v) for name, v in state.items() if not name.endswith("num_batches_tracked"))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"encoder.weight": torch.zeros(1)},
        {**old_state(1, 2, 4), "extra.weight": torch.zeros(1)},
        without(old_state(1, 2, 4), "recon.weight"),
        without(old_state(2, 2, 4), "comp0.weight"),
        without(old_state(1, 2, 4), "block0.denselayer1.norm.running_mean"),
        {**old_state(1, 2, 4), "recon.weight": torch.zeros(1, 3, 1, 1, 1)},
    ],
)
def test_other_state_dictionaries_are_refused(state):
    with pytest.raises(CheckpointError):
        map_published_state(state)
