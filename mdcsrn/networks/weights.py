"""Weight files: tensors beside what it takes to build their network, written in one step, read without running code.

Two forms hold the same: ``.pt``, as MONAI expects it, and ``.safetensors``, whose header holds the description as JSON.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from mdcsrn.errors import CheckpointError, MdcsrnError
from mdcsrn.files import atomic_path, atomic_write_bytes
from mdcsrn.hashes import check_hash, write_hashes
from mdcsrn.networks.catalog import architecture, build_network
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.widen import is_wider, widened

FORMAT = 1
SAFE = ".safetensors"
HEADER = "mdcsrn"  # the one key of a safetensors header: several would be written in a random order


def save_weights(path: str | os.PathLike[str], network: nn.Module, facts: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights under ``model`` beside its constructor arguments under ``network``.

    Args:
        path: file to write, in one step; the suffix chooses the form.
        network: a network of the catalogue.
        facts: plain values about the training, stored under ``facts``.

    Raises:
        OutputError: the file cannot be written; an old file is intact.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    described = {"format": FORMAT, "network": architecture(network), "facts": dict(facts or {})}
    if Path(path).suffix == SAFE:
        atomic_write_bytes(path, save(state, {HEADER: json.dumps(described, sort_keys=True)}))
    else:
        save_content(path, {**described, "model": state})


def load_weights(path: str | os.PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """Load weights into a network, or into a new one built from the stored arguments.

    Args:
        path: file written by :func:`save_weights`.
        network: network to fill; its constructor arguments must be the stored ones. None builds it.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged, not what the hash list beside it says, or of another network.
    """
    content = read(path)
    if "model" not in content or "network" not in content:
        raise CheckpointError(f"{path} holds no weights of this project", got=sorted(content))
    _check_description(content["network"], path)
    if network is None:
        try:
            network = build_network(content["network"])
        except MdcsrnError as error:
            raise CheckpointError(f"{path} describes no network that can be built", got=str(error)) from error
    _load_network(network, content["network"], content["model"], path)
    return network.eval()


def load_generator(
    path: str | os.PathLike[str],
    blocks: int | None = None,
    units: int | None = None,
    growth: int | None = None,
    residual: bool | None = None,
    space_to_depth: Sequence[int] | None = None,
) -> MDCSRN:
    """The generator that a file of weights describes, with its weights: what a config's ``network_def`` names.

    Args:
        path: file written by :func:`save_weights`.
        blocks: as stored, like all that follow (see :class:`mdcsrn.networks.MDCSRN`); None: whatever is stored.
        units: dense units in each block.
        growth: channels that a unit adds.
        residual: whether the input is added to the output.
        space_to_depth: factor per axis; (1, 1, 1) says that there is none.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: as :func:`load_weights`; the file holds another kind of network, or a value is another one.
    """
    network = load_weights(path)
    if not isinstance(network, MDCSRN):
        raise CheckpointError(
            f"{path} holds no generator", got=type(network).__name__, remedy="give a generator's file"
        )
    given = {"blocks": blocks, "units": units, "growth": growth, "residual": residual, "space_to_depth": space_to_depth}
    stated = {name: value for name, value in given.items() if value is not None}
    if stated:
        wanted = MDCSRN(**{**network.architecture, **stated})  # type: ignore[arg-type]
        _check_same(architecture(network), architecture(wanted), path)
    return network


def started(network: nn.Module, start: str | os.PathLike[str] = "") -> nn.Module:
    """A network to train: as it is, or going on from a file of weights.

    Args:
        network: as its constructor left it.
        start: file written by :func:`save_weights`; empty: none. Those of a generator that differs by a smaller growth
            rate alone are widened (:func:`mdcsrn.networks.widened`).

    Returns:
        The same network, in training mode.

    Raises:
        CheckpointError: as :func:`load_weights`; the file belongs to another network.
    """
    if start and isinstance(network, MDCSRN):
        narrow = load_weights(start)
        if isinstance(narrow, MDCSRN) and is_wider(network, narrow):
            network.load_state_dict(widened(narrow, network.growth).state_dict())
            return network.train()
    return load_weights(start, network).train() if start else network.train()


def ship(source: str | os.PathLike[str], folder: str | os.PathLike[str], name: str) -> list[Path]:
    """Put weights into a bundle's ``models``: both forms under one name, and the hash list of all that is there.

    Args:
        source: file written by :func:`save_weights`, in either form.
        folder: where to write ``<name>.pt``, ``<name>.safetensors`` and ``sha256.txt``.
        name: stem of the files, by which ``mdcsrn predict --model`` finds them.

    Returns:
        The three files.

    Raises:
        CheckpointError: `source` is missing or damaged.
        OutputError: a file cannot be written.
    """
    network, facts = load_weights(source), read(source).get("facts")
    files = [Path(folder) / f"{name}{suffix}" for suffix in (".pt", SAFE)]
    for file in files:
        save_weights(file, network, facts)
    return [*files, write_hashes(folder)]


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint without running code from it (``weights_only``, or safetensors).

    Raises:
        CheckpointError: missing, damaged, not what the hash list beside it says, or not a dictionary.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint at {path}", remedy="train first, or give the path of a checkpoint")
    check_hash(path)
    if Path(path).suffix == SAFE:
        return _read_safe(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message advises weights_only=False: not to be passed on
        got = "something else than tensors and plain values"
        raise CheckpointError(f"cannot read the checkpoint {path}: damaged, hostile, or not one", got=got) from error
    except Exception as error:  # a damaged file fails in many ways: zip, tensor sizes
        raise CheckpointError(
            f"cannot read the checkpoint {path}: damaged, or not one", got=_first_line(error)
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no checkpoint of this project", got=type(content).__name__)
    return content


def _read_safe(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(HEADER)
            described = None if header is None else json.loads(header)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except Exception as error:  # the library's own error, and those of a header that is no JSON
        raise CheckpointError(
            f"cannot read the weights {path}: damaged, or not safetensors", got=_first_line(error)
        ) from error
    if not isinstance(described, dict):
        raise CheckpointError(f"{path} holds no weights of this project", got=f"no header '{HEADER}'")
    return {**described, "model": state}


def load_network(network: nn.Module, stored: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Fill a network from ``{"network": arguments, "state": tensors}`` of a training checkpoint."""
    _load_network(network, stored["network"], stored["state"], path)


def network_state(network: nn.Module) -> dict[str, Any]:
    """Constructor arguments and tensors of a network, for a training checkpoint."""
    return {"network": architecture(network), "state": network.state_dict()}


def _load_network(
    network: nn.Module, stored: Mapping[str, Any], state: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    _check_description(stored, path)
    _check_same(stored, architecture(network), path)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the weights in {path} do not fit the network", got=_first_line(error)) from error


def _check_same(stored: Mapping[str, Any], expected: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse another architecture, and say which arguments differ."""
    if stored != expected:
        differing = {
            key: (stored["arguments"].get(key), value)
            for key, value in expected["arguments"].items()
            if stored["arguments"].get(key) != value
        }
        raise CheckpointError(
            f"{path} belongs to another network",
            got=f"{stored['name']}, stored and expected: {differing}",
            allowed=f"{expected['name']}({expected['arguments']})",
            remedy="build the network with the stored arguments, or use another folder for this run",
        )


def _check_description(stored: object, path: str | os.PathLike[str]) -> None:
    """Refuse what :func:`mdcsrn.networks.architecture` cannot have given."""
    fine = isinstance(stored, Mapping) and isinstance(stored.get("name"), str)
    if not fine or not isinstance(stored.get("arguments"), Mapping):  # type: ignore[attr-defined]
        raise CheckpointError(f"{path} does not say which network it belongs to", got=stored)


def save_content(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values in one step."""
    with atomic_path(path) as temporary:
        torch.save(dict(content), temporary)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
