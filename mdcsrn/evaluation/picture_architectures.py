"""Public weights of EDSR and WDSR-A in our networks, as architectures that spandrel finds beside its own.

Three layouts are known: those of EDSR-PyTorch (B. Lim, S. Son) and of the two WDSR repositories (J. Yu 2018, Y. Fan
2019). All were trained on pictures whose mean colour is subtracted; EDSR and the older WDSR see values up to 255. Here
pictures are in units of white: :class:`Shifted` subtracts, multiplies and undoes both.

What a file does not say is taken from the published settings: the residual scale of EDSR is 0.1 at 256 features and
1 below; WDSR has 1, the mean colour of DIV2K (2018) or 0.5 (2019). The mean layers of EDSR, where there are any, say
both mean and range; a file without them is taken as trained in units of white.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mdcsrn.networks.edsr import EDSRLayers
from mdcsrn.networks.wdsr import Filters, WDSRLayers

if TYPE_CHECKING:
    from spandrel import ArchRegistry

State = Mapping[str, Tensor]
DIV2K = (0.4488, 0.4371, 0.4040)  # mean red, green and blue of the pictures, of 1
_MEANS = {"sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias"}
_FACTORS = {4: 2, 9: 3}


class Shifted(nn.Module):
    """(N, C, H, W) -> (N, C, r H, r W) in units of white: layers that see (x - mean) gain.

    Args:
        layers: of EDSR or WDSR.
        mean: one value for each channel, in units of white.
        gain: what white is multiplied by.
        scale: factor r, for those who ask.

    >>> import torch
    >>> float(Shifted(torch.nn.Identity(), torch.tensor([0.5]), 255.0, 1)(torch.full((1, 1, 1, 1), 0.75)))
    0.75
    """

    mean: Tensor

    def __init__(self, layers: nn.Module, mean: Tensor, gain: float, scale: int) -> None:
        super().__init__()
        self.layers, self.gain, self.scale = layers, gain, scale
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Refine pictures."""
        refined: Tensor = self.layers((x - self.mean) * self.gain)
        return refined / self.gain + self.mean


def registry() -> ArchRegistry:
    """The architectures that spandrel knows, and after them EDSR and WDSR."""
    from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, StateDict

    class Ours(Architecture[Shifted]):
        def __init__(self, name: str, detect: Callable[[StateDict], bool], build: Callable[[State], Shifted]) -> None:
            super().__init__(id=name, name=name, detect=detect)
            self.build = build

        def load(self, state_dict: StateDict) -> ImageModelDescriptor[Shifted]:
            network = self.build(state_dict)
            channels = network.mean.shape[1]
            return ImageModelDescriptor(
                network, network.state_dict(), architecture=self, purpose="SR", tags=[], supports_half=False,
                supports_bfloat16=True, scale=network.scale, input_channels=channels, output_channels=channels,
            )  # fmt: skip

    found: ArchRegistry = MAIN_REGISTRY.copy()
    found.add(
        ArchSupport.from_architecture(Ours("EDSR", is_edsr, edsr)),
        ArchSupport.from_architecture(Ours("WDSR", is_wdsr, wdsr)),
    )
    return found


def is_edsr(state: State) -> bool:
    """Whether these are tensors of EDSR-PyTorch."""
    needed = ("head.0.weight", "body.0.body.0.weight", "body.0.body.2.weight", "tail.0.0.weight", "tail.1.weight")
    return all(name in state for name in needed) and "body.0.body.3.weight" not in state


def edsr(state: State) -> Shifted:
    """EDSR with the weights of EDSR-PyTorch.

    Args:
        state: names and tensors: ``head.0``, ``body.N.body.0`` and ``.2``, ``body.N``, ``tail.0.N``, ``tail.1``, maybe
            ``sub_mean`` and ``add_mean``.

    Raises:
        ValueError, KeyError, RuntimeError: they do not fit the network.
    """
    first, bias = state["head.0.weight"], "head.0.bias" in state
    width, channels = first.shape[:2]
    blocks = 1 + max(int(match[1]) for name in state if (match := re.match(r"body\.(\d+)\.body\.", name)))
    scale = 1
    for name, value in state.items():
        if re.fullmatch(r"tail\.0\.\d+\.weight", name):
            scale *= _FACTORS[value.shape[0] // width]
    renames = [
        (r"head\.0\.", "head."), (r"(body\.\d+)\.body\.0\.", r"\1.conv1."), (r"(body\.\d+)\.body\.2\.", r"\1.conv2."),
        (r"tail\.0\.", "up."), (r"tail\.1\.", "tail."),
    ]  # fmt: skip
    layers = EDSRLayers(scale, channels, width, blocks, 0.1 if width >= 256 else 1.0, bias, dims=2)
    layers.load_state_dict(_renamed({n: v for n, v in state.items() if n not in _MEANS}, renames))
    mean, gain = _mean_layers(state, channels)
    return Shifted(layers, mean, gain, scale)


def _mean_layers(state: State, channels: int) -> tuple[Tensor, float]:
    """Mean colour in units of white, and what white is in the network; from the layer that subtracts it."""
    if "sub_mean.bias" not in state:
        return torch.zeros(channels), 1.0
    shift = -state["sub_mean.bias"].float()
    if not torch.allclose(state["sub_mean.weight"].float().flatten(1), torch.eye(channels)):
        raise ValueError("its mean layers also scale the colours")
    gain = 255.0 if float(shift.abs().max()) > 1 else 1.0
    return shift / gain, gain


def is_wdsr(state: State) -> bool:
    """Whether these are tensors of WDSR-A, in the layout of 2018 or of 2019, with weight normalisation or without."""
    names = {re.sub(r"weight_v$|parametrizations\.weight\.original1$", "weight", name) for name in state}
    ends = {"head.0.weight", "tail.0.weight"} <= names or "body.0.weight" in names
    return ends and {"skip.0.weight", "body.1.body.2.weight"} <= names and "body.1.body.3.weight" not in names


def wdsr(state: State) -> Shifted:
    """WDSR-A with the weights of one of its two repositories, weight normalisation multiplied out.

    Args:
        state: names and tensors: ``head.0``, ``body.N.body.0`` and ``.2``, ``tail.0``, ``skip.0`` (2018); ``body.0``,
            ``body.N.body.0`` and ``.2``, ``body.N``, ``skip.0`` (2019).

    Raises:
        ValueError, KeyError, RuntimeError: they do not fit the network.
    """
    plain = _without_weight_norm(state)
    newer = "body.0.weight" in plain
    places = sorted({int(match[1]) for name in plain if (match := re.match(r"body\.(\d+)\.body\.", name))})
    if newer:
        ends = {"body.0.": "head.", f"body.{places[-1] + 1}.": "tail."}
        plain = {
            next((new + name.removeprefix(old) for old, new in ends.items() if name.startswith(old)), name): value
            for name, value in plain.items()
        }
        plain = {
            re.sub(r"^body\.(\d+)", lambda match: f"body.{int(match[1]) - 1}", name): value
            for name, value in plain.items()
        }
    renames = [
        (r"(head|tail|skip)\.0\.", r"\1."), (r"(body\.\d+)\.body\.0\.", r"\1.wide."),
        (r"(body\.\d+)\.body\.2\.", r"\1.narrow."),
    ]  # fmt: skip
    named = _renamed(plain, renames)
    width, channels = named["head.weight"].shape[:2]
    scale = round((named["tail.weight"].shape[0] / channels) ** 0.5)
    expansion = named["body.0.wide.weight"].shape[0] // width
    filters = Filters(dims=2, bias="head.bias" in named, weight_norm=False)
    layers = WDSRLayers(filters, scale, channels, width, expansion, len(places), output=1.0)
    layers.load_state_dict(named)
    if newer:
        return Shifted(layers, torch.full((channels,), 0.5), 1.0, scale)
    colour = torch.tensor(DIV2K) if channels == 3 else torch.full((channels,), sum(DIV2K) / 3)
    return Shifted(layers, colour, 2.0, scale)  # (x - 255 mean) / 127.5 of values up to 255


def _without_weight_norm(state: State) -> dict[str, Tensor]:
    """Filters g v / |v|, where length g and direction v are stored apart, in either of torch's two ways."""
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        for length, direction in (("weight_g", "weight_v"), (_PARTS.format(0), _PARTS.format(1))):
            if name.endswith(direction):
                g = state[name.removesuffix(direction) + length]
                norm = value.flatten(1).norm(dim=1).reshape(-1, *[1] * (value.ndim - 1))
                plain[name.removesuffix(direction) + "weight"] = g * value / norm
                break
            if name.endswith(length):
                break
        else:
            plain[name] = value
    return plain


_PARTS = "parametrizations.weight.original{}"


def _renamed(state: State, renames: list[tuple[str, str]]) -> dict[str, Tensor]:
    named = {}
    for name, value in state.items():
        for old, new in renames:
            name, count = re.subn("^" + old, new, name)
            if count:
                break
        named[name] = value
    return named
