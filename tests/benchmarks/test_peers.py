"""Peers: the same start, any size, a receptive field that is what they say, work that is counted twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import peers
import pytest
import torch
from contestants import CONTESTANTS, HEAVY, STEPS, overlay, planned_steps, seen_voxels
from judge import around
from torch import nn
from work import convolution_flops_per_voxel, flops_per_voxel, parameters

from mdcsrn.engines import parameter_groups
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.networks import MDCSRN, build_network, load_weights, save_weights

SMALL: dict[str, Callable[[], peers.Peer]] = {
    "SRCNN3D": lambda: peers.SRCNN3D(4, 3),
    "SRResNet3D": lambda: peers.SRResNet3D(2, 4),
    "EDSR3D": lambda: peers.EDSR3D(2, 4),
    "RRDBNet3D": lambda: peers.RRDBNet3D(1, 4, 2),
    "MonaiUNet": lambda: peers.MonaiUNet((2, 4, 8), 2),
    "MonaiSwinUNETR": lambda: peers.MonaiSwinUNETR(12, (1, 1, 1, 1)),
}
EXACT = [name for name in SMALL if name != "MonaiSwinUNETR"]


def made(name: str, shaken: bool = True) -> peers.Peer:
    """A small peer; shaken: no weight is zero or tiny, and BatchNorm is no identity."""
    if name == "MonaiSwinUNETR":
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    torch.manual_seed(0)
    network = SMALL[name]().eval()
    if shaken:
        for module in network.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.weight[0].numel()))
            if isinstance(module, nn.BatchNorm3d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.mark.parametrize("name", SMALL)
def test_starts_as_the_identity_at_any_size_and_learns(name: str) -> None:
    network = made(name, shaken=False)
    volume = torch.rand(2, 1, 17, 33, 18)
    assert torch.equal(network(volume), volume)
    network.train()(volume).sub(torch.rand_like(volume)).abs().mean().backward()
    assert float(network.recon.weight.grad.abs().sum()) > 0
    assert len(parameter_groups(network, 1e-3, 0.1)) == 2, "the last convolution is found by its name"


@pytest.mark.parametrize("name", EXACT)
def test_margin_is_the_receptive_field(name: str) -> None:
    network = made(name).double()
    reach, step = network.margin[0], network.multiple[0]
    edge = (2 * reach // step + 3) * step
    furthest = 0
    for at in range(edge // 2, edge // 2 + step):
        volume = torch.rand(1, 1, edge, 8, 8, dtype=torch.float64, requires_grad=True)
        network(volume)[0, 0, at, 4, 4].backward()
        places = volume.grad[0, 0].abs().sum((1, 2)).nonzero().flatten()
        furthest = max(furthest, at - int(places[0]), int(places[-1]) - at)
    assert furthest <= reach
    assert furthest > reach - 2 * step, "no wider than it must be, in whole cells"


@pytest.mark.parametrize("name", EXACT)
def test_tiles_around_a_region_give_the_whole_result(name: str) -> None:
    network = made(name)
    volume = torch.rand(1, 1, 45, 53, 38)
    inside = torch.zeros(45, 53, 38, dtype=torch.bool)
    inside[20:40, 17:30, 9:37] = True
    step = network.multiple[0]
    box = around(inside, network.margin, network.multiple)
    assert all(part.start % step == 0 for part in box)
    with torch.no_grad():
        whole = network(volume)[0, 0]
        tiled = ExactTiledInferer(core=(24, 32, 24))(volume[(..., *box)], network)[0, 0]
    difference = (tiled - whole[box])[inside[box]].abs().max() / whole.abs().max()
    assert float(difference) < 1e-5
    assert float((whole - volume[0, 0]).abs().max()) > 1e-3, "the network does something"


@pytest.mark.parametrize("name", ["MDCSRN", *EXACT])
def test_work_by_torch_equals_work_by_arithmetic(name: str) -> None:
    network = MDCSRN() if name == "MDCSRN" else peers.PEERS[name]()
    assert flops_per_voxel(network) == pytest.approx(convolution_flops_per_voxel(network), rel=1e-9)


def test_work_of_our_network_is_the_published_count() -> None:
    assert flops_per_voxel(MDCSRN()) == 819_712
    assert parameters(MDCSRN()) == 411_648


def test_attention_is_counted() -> None:
    network = made("MonaiSwinUNETR")
    assert flops_per_voxel(network) > 1.05 * convolution_flops_per_voxel(network)


@pytest.mark.parametrize("name", SMALL)
def test_a_peer_is_saved_and_loaded_as_a_network_of_the_package(name: str, tmp_path: Path) -> None:
    network = made(name)
    save_weights(tmp_path / "peer.pt", network, {"step": 3})
    again = load_weights(tmp_path / "peer.pt")
    assert type(again) is type(network)
    assert again.architecture == network.architecture
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_budget_gives_equal_voxels_or_equal_work() -> None:
    ours = flops_per_voxel(MDCSRN())
    for name in ("ours", "srcnn", "srresnet", "edsr", "rrdbnet", "unet"):
        contestant = CONTESTANTS[name]
        work = flops_per_voxel(build_network(contestant.network)) / ours
        steps = planned_steps(contestant)
        assert steps == STEPS if work <= HEAVY else steps * work == pytest.approx(STEPS, rel=1e-3)
    assert planned_steps(CONTESTANTS["edsr"]) < STEPS == planned_steps(CONTESTANTS["rrdbnet"])


def test_all_share_their_knobs_and_specialists_one_degradation(tmp_path: Path) -> None:
    own = {"network_def", "voxel_steps", "epoch_length"}
    values = {name: overlay(contestant, tmp_path) for name, contestant in CONTESTANTS.items()}
    shared = {key: value for key, value in values["ours"].items() if key not in own}
    apart = {"srcnn": {"last_rate"}, "srresnet": {"last_rate"}, "rrdbnet": {"voxel_rate", "last_rate"}}
    apart["swinunetr"] = {"precision", "max_memory"}
    for name in ("published", "ours-s2d-122", "ours-s2d-222", "edsr", "unet", *apart):
        kept = {key: value for key, value in values[name].items() if key not in own | apart.get(name, set())}
        assert kept == shared, name
        assert apart.get(name, set()) <= values[name].keys()
    assert values["universal"]["network_def"] == values["ours-s2d-222"]["network_def"], "it goes on from those weights"
    assert values["universal"]["start"] == str(tmp_path / "ours-s2d-222" / "model.pt")
    assert values["ours-gan"]["start"] == str(tmp_path / "ours" / "model.pt")
    assert values["ours-gan"]["voxel_steps"] == 0
    assert seen_voxels(CONTESTANTS["ours"], values["ours"]) == STEPS * 4 * 32**3
