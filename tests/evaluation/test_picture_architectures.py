"""Public layouts of EDSR and WDSR, written down here layer by layer, give the same pictures through our networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle
from torch.nn.utils import parametrizations, weight_norm

from mdcsrn.errors import CheckpointError
from mdcsrn.evaluation.picture_architectures import edsr, is_edsr, is_wdsr, wdsr
from mdcsrn.evaluation.picture_models import load_picture_model
from mdcsrn.optional import is_installed

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])
State = dict[str, Tensor]


def conv(state: State, name: str, before: int, after: int, edge: int = 3) -> None:
    state[f"{name}.weight"] = torch.randn(after, before, edge, edge) / (before * edge**2) ** 0.5
    state[f"{name}.bias"] = torch.randn(after) / 10


def apply(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def edsr_state(width: int, blocks: int, factors: tuple[int, ...], channels: int = 3, white: float = 255.0) -> State:
    """Names and shapes as EDSR-PyTorch saves them."""
    torch.manual_seed(1)
    state: State = {}
    conv(state, "head.0", channels, width)
    for block in range(blocks):
        conv(state, f"body.{block}.body.0", width, width)
        conv(state, f"body.{block}.body.2", width, width)
    conv(state, f"body.{blocks}", width, width)
    for stage, factor in enumerate(factors):
        conv(state, f"tail.0.{2 * stage}", width, width * factor**2)
    conv(state, "tail.1", width, channels)
    if channels == 3 and white:
        for name, sign in (("sub_mean", -1), ("add_mean", 1)):
            state |= {f"{name}.weight": torch.eye(3)[:, :, None, None], f"{name}.bias": sign * white * MEAN}
    return state


def edsr_by_hand(state: State, x: Tensor, blocks: int, factors: tuple[int, ...], share: float) -> Tensor:
    if "sub_mean.bias" in state:
        x = apply(state, "sub_mean", x)
    first = features = apply(state, "head.0", x)
    for block in range(blocks):
        inner = torch.relu(apply(state, f"body.{block}.body.0", features))
        features = features + share * apply(state, f"body.{block}.body.2", inner)
    features = first + apply(state, f"body.{blocks}", features)
    for stage, factor in enumerate(factors):
        features = pixel_shuffle(apply(state, f"tail.0.{2 * stage}", features), factor)
    x = apply(state, "tail.1", features)
    return apply(state, "add_mean", x) if "add_mean.bias" in state else x


@pytest.mark.parametrize("factors", [(2,), (3,), (2, 2), (2, 2, 2)])
@pytest.mark.parametrize(("channels", "white"), [(3, 255.0), (3, 1.0), (3, 0.0), (1, 0.0)])
def test_edsr(factors: tuple[int, ...], channels: int, white: float) -> None:
    state = edsr_state(8, 3, factors, channels, white)
    assert is_edsr(state)
    assert not is_wdsr(state)
    network = edsr(state)
    assert network.scale == torch.tensor(factors).prod()
    x = torch.rand(1, channels, 9, 7)
    gain = white or 1.0
    expected = edsr_by_hand(state, gain * x, 3, factors, share=1.0) / gain
    assert torch.allclose(network(x), expected, atol=1e-4)


def test_the_large_edsr_has_a_residual_scale_of_a_tenth() -> None:
    state = edsr_state(256, 2, (2,))
    x = torch.rand(1, 3, 6, 5)
    expected = edsr_by_hand(state, 255 * x, 2, (2,), share=0.1) / 255
    assert torch.allclose(edsr(state)(x), expected, atol=1e-3)


def wdsr_network(channels: int, scale: int, newer: bool, norm: str) -> nn.ModuleDict:
    """Three blocks, 8 -> 32 -> 8; names as each repository saves them."""
    torch.manual_seed(2)
    wrap = {"old": weight_norm, "new": parametrizations.weight_norm, "none": lambda module: module}[norm]

    def side(before: int, after: int, edge: int = 3) -> nn.Module:
        return wrap(nn.Conv2d(before, after, edge, padding=edge // 2))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(side(8, 32), nn.ReLU(), side(32, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    values = channels * scale**2
    head, body, tail = side(channels, 8), [Block() for _ in range(3)], side(8, values)
    skip, shuffle = side(channels, values, 5), nn.PixelShuffle(scale)
    if newer:
        parts = {"body": nn.Sequential(head, *body, tail), "skip": nn.Sequential(skip), "shuf": nn.Sequential(shuffle)}
    else:
        parts = {
            "head": nn.Sequential(head), "body": nn.Sequential(*body), "tail": nn.Sequential(tail, shuffle),
            "skip": nn.Sequential(skip, shuffle),
        }  # fmt: skip
    network = nn.ModuleDict(parts)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.mul_(torch.rand_like(parameter) + 0.5)
    return network


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", ["old", "new", "none"])
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize(("channels", "scale"), [(3, 4), (3, 2), (1, 3)])
def test_wdsr(channels: int, scale: int, newer: bool, norm: str) -> None:
    public = wdsr_network(channels, scale, newer, norm)
    state = {name: value.detach() for name, value in public.state_dict().items()}
    assert is_wdsr(state)
    assert not is_edsr(state)
    network = wdsr(state)
    assert network.scale == scale
    x = torch.rand(1, channels, 9, 7)
    if newer:
        y = x - 0.5
        expected = public["shuf"](public["body"](y) + public["skip"](y)) + 0.5
    else:
        mean = (MEAN if channels == 3 else MEAN.mean().reshape(1)).reshape(1, -1, 1, 1) * 255
        y = (255 * x - mean) / 127.5
        expected = ((public["tail"](public["body"](public["head"](y))) + public["skip"](y)) * 127.5 + mean) / 255
    assert torch.allclose(network(x), expected, atol=1e-4)


@pytest.mark.skipif(
    not (is_installed("spandrel") and is_installed("torchvision")), reason="the extra `spandrel` is not installed"
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_files_are_found_by_their_tensors(tmp_path: Path) -> None:
    torch.save(edsr_state(8, 2, (3,)), tmp_path / "edsr.pt")
    torch.save({"model_state_dict": wdsr_network(1, 4, True, "old").state_dict()}, tmp_path / "wdsr.pth")
    torch.save({**edsr_state(8, 2, (2,)), "other.weight": torch.ones(1)}, tmp_path / "more.pt")
    found = {name: load_picture_model(tmp_path / name) for name in ("edsr.pt", "wdsr.pth")}
    assert [(m.name, m.scale, m.channels) for m in found.values()] == [
        ("edsr.pt (EDSR)", 3, 3), ("wdsr.pth (WDSR)", 4, 1)]  # fmt: skip
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(found["edsr.pt"].network(x), edsr(edsr_state(8, 2, (3,)))(x))
    with pytest.raises(CheckpointError, match=r"more\.pt: its tensors do not fit"):
        load_picture_model(tmp_path / "more.pt")
