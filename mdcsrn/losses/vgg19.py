"""Features of VGG19 (Simonyan and Zisserman, Very Deep Convolutional Networks, 2015) from a weight file on this disk.

torchvision is not needed: the sixteen convolutions are built here and numbered as in its ``vgg19().features``. Nothing
is downloaded.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.files import sha256
from mdcsrn.networks.tensor_files import SAFE, first_line, read

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions; max pooling between blocks
_REMEDY = "give the state dictionary of torchvision's vgg19 (vgg19-dcbb9e9d.pth), or set perceptual_weight to 0"
_NESTED = ("state_dict", "model")  # where trainers and our own reader put a state dictionary


class Convolution(NamedTuple):
    """Place of a convolution in ``features``, and its channels in and out."""

    place: int
    before: int
    after: int


def _layout() -> dict[str, Convolution]:
    found, place, before = {}, 0, 3
    for block, (after, count) in enumerate(BLOCKS, 1):
        for number in range(1, count + 1):
            found[f"conv{block}_{number}"] = Convolution(place, before, after)
            place, before = place + 2, after  # the activation lies between
        place += 1  # the pooling
    return found


LAYERS = _layout()


def vgg19_features(path: str | os.PathLike[str], layer: str = "conv5_4", activated: bool = False) -> nn.Sequential:
    """VGG19 up to one convolution, frozen, in evaluation mode.

    Args:
        path: ``.pth``, ``.pt`` or ``.safetensors`` with ``features.N.weight`` and ``features.N.bias``, under any
            prefix (as in MONAI's and other wrappers) or none; what follows `layer` may be missing.
        layer: ``conv<block>_<number>``, ``conv1_1`` to ``conv5_4``; SRGAN's VGG22 is ``conv2_2``, its VGG54
            ``conv5_4``.
        activated: with the ReLU that follows, as SRGAN; False: before it, as ESRGAN and SRResCycGAN.

    Returns:
        (N, 3, H, W) in the units of ImageNet -> (N, C, H / 2^b, W / 2^b) after b poolings.

    Raises:
        ConfigError: an unknown layer.
        CheckpointError: no file, a damaged one, or one of another network.

    Examples:
        >>> import tempfile
        >>> state = {"features.0.weight": torch.ones(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(state, f"{folder}/vgg19.pth")
        ...     features = vgg19_features(f"{folder}/vgg19.pth", "conv1_1")
        >>> features(torch.ones(1, 3, 3, 3))[0, 0]
        tensor([[12., 18., 12.],
                [18., 27., 18.],
                [12., 18., 12.]])
    """
    if layer not in LAYERS:
        raise ConfigError("unknown layer of VGG19", got=layer, allowed=", ".join(LAYERS))
    layers: list[nn.Module] = []
    for name, (place, before, after) in LAYERS.items():
        if place > len(layers):
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        if name == layer:
            break
    network = nn.Sequential(*(layers if activated else layers[:-1]))
    network.load_state_dict(_convolutions(path, network))
    return network.eval().requires_grad_(False)


def _convolutions(path: str | os.PathLike[str], network: nn.Sequential) -> dict[str, Tensor]:
    """What a file holds for the network, by its names, in float32."""
    content = _read(path)
    state = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), content)
    prefix = _prefix(state)
    wanted = network.state_dict()
    missing = [name for name in wanted if not isinstance(state.get(f"{prefix}{name}"), Tensor)]
    if missing:
        raise CheckpointError(f"{path} holds no VGG19", got=f"no features.{missing[0]}", remedy=_REMEDY)
    found = {name: state[f"{prefix}{name}"].float() for name in wanted}
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path} holds no VGG19",
                got=f"features.{name} of shape {tuple(value.shape)}",
                allowed=tuple(wanted[name].shape),
                remedy=_REMEDY,
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path} is damaged", got=f"features.{name} is not finite", remedy=_REMEDY)
    numbers = {convolution.place for convolution in LAYERS.values()}
    others = [key for key in state if (n := re.fullmatch(rf"{re.escape(prefix)}(\d+)\.weight", str(key)))
              and int(n[1]) not in numbers]  # fmt: skip
    if others:  # VGG16, or the variants with BatchNorm: the same names up to some layer, other values
        raise CheckpointError(f"{path} holds another network than VGG19", got=others[0], remedy=_REMEDY)
    return found


def _prefix(state: Mapping[Any, Any]) -> str:
    """What stands before the numbers: ``features.`` in torchvision's file, more or nothing in others."""
    first = (LAYERS["conv1_1"].after, LAYERS["conv1_1"].before, 3, 3)
    for key, value in state.items():
        match = re.fullmatch(r"(|.*\.)0\.weight", str(key))
        if match and isinstance(value, Tensor) and tuple(value.shape) == first:
            return match[1]
    return "features."


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a file of tensors; also of torchvision's own, which is older than torch's zip form."""
    if not Path(path).is_file():
        raise CheckpointError("no VGG19 weights for the perceptual loss", got=str(path), remedy=_REMEDY)
    with open(path, "rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    return read(path) if zipped or Path(path).suffix == SAFE else _read_published(path)


def _read_published(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the older form, which has no checksums, where the file's name ends in the start of its own SHA-256."""
    stated = re.search(r"-([0-9a-f]{8,64})\.pth?$", Path(path).name)
    if stated is None or not sha256(path).startswith(stated[1]):
        raise CheckpointError(
            f"{path} is damaged, or of torch before 1.6 and without a checksum",
            got="no zip, and a name that does not end in the start of its SHA-256",
            remedy="keep the name that torchvision gave it (vgg19-dcbb9e9d.pth), or load and save it again",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message advises weights_only=False: not to be passed on
        got = "something else than tensors and plain values"
        raise CheckpointError(f"cannot read {path}: damaged, hostile, or no weights", got=got) from error
    except Exception as error:  # what a pickle asks for can fail in many ways
        raise CheckpointError(f"cannot read {path}: damaged, or no weights", got=first_line(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no VGG19", got=type(content).__name__, remedy=_REMEDY)
    return content
