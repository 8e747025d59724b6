"""Weight files: tensors beside what it takes to build their network, written in one step, read without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mdcsrn.errors import CheckpointError, MdcsrnError
from mdcsrn.files import atomic_path
from mdcsrn.networks.catalog import architecture, build_network

FORMAT = 1


def save_weights(path: str | os.PathLike[str], network: nn.Module, facts: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights under ``model`` beside its constructor arguments under ``network``.

    Args:
        path: file to write, in one step.
        network: a network of the catalogue.
        facts: plain values about the training, stored under ``facts``.

    Raises:
        OutputError: the file cannot be written; an old file is intact.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_content(path, {"format": FORMAT, "model": state, "network": architecture(network), "facts": dict(facts or {})})


def load_weights(path: str | os.PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """Load weights into a network, or into a new one built from the stored arguments.

    Args:
        path: file written by :func:`save_weights`.
        network: network to fill; its constructor arguments must be the stored ones. None builds it.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged, or belongs to another network.
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


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint without running code from it (``weights_only``).

    Raises:
        CheckpointError: missing, damaged, or not a dictionary.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint at {path}", remedy="train first, or give the path of a checkpoint")
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
    expected = architecture(network)
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
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the weights in {path} do not fit the network", got=_first_line(error)) from error


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
