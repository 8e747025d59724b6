"""Weight files: tensors with what it takes to build their network, written in one step, read without running code.

Two forms hold the same. ``.pt`` is the plain state dictionary that MONAI and its model zoo expect; the description lies
where PyTorch keeps what belongs to a state dictionary without being a tensor, its ``_metadata``, which every reader
passes over that does not look for it. ``.safetensors`` holds the description as JSON in its header.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mdcsrn.errors import CheckpointError
from mdcsrn.fetched import unfetched
from mdcsrn.files import atomic_path, atomic_write_bytes
from mdcsrn.networks.catalog import architecture, build_network
from mdcsrn.networks.described import build_described, described_by_tensors
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.tensor_files import CHECKSUM, HEADER, SAFE, checksum, first_line, read
from mdcsrn.networks.traits import Restorer

logger = logging.getLogger(__name__)

FORMAT = 1
FORMS = (".pt", SAFE)


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        state: name -> tensor.
        network: see :func:`mdcsrn.networks.architecture`; None: a state dictionary that other software saved, and no
            ``.safetensors`` with the same tensors beside it.
        facts: plain values about the training.
    """

    state: Mapping[str, Tensor]
    network: Mapping[str, Any] | None
    facts: Mapping[str, Any]


def save_weights(path: str | os.PathLike[str], network: nn.Module, facts: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights with its constructor arguments.

    Args:
        path: file to write, in one step; the suffix chooses the form.
        network: a network of the catalogue.
        facts: plain values about the training, stored as ``facts``.

    Raises:
        OutputError: the file cannot be written; an old file is intact.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, load_weights, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.pt", MDCSRN(blocks=1, units=1, growth=2), {"epochs": 3})
    ...     load_weights(f"{folder}/small.pt").growth
    2
    """
    state = network.state_dict()
    for name in state:
        state[name] = state[name].detach().cpu().contiguous()
    described = {"format": FORMAT, "network": architecture(network), "facts": dict(facts or {})}
    if Path(path).suffix == SAFE:
        described = json.loads(json.dumps(described))
        described[CHECKSUM] = checksum(state, described)
        atomic_write_bytes(path, save(dict(state), {HEADER: json.dumps(described, sort_keys=True)}))
    else:
        state._metadata[""][HEADER] = described  # type: ignore[attr-defined]
        save_content(path, state)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read a file of weights: either form, the nested ``.pt`` of before 0.2, or a plain state dictionary of others.

    A state dictionary without a description takes that of the ``.safetensors`` of its name beside it, where the tensors
    are the same.

    Raises:
        CheckpointError: as :func:`mdcsrn.networks.tensor_files.read`; or the file holds no weights.
    """
    content = read(path)
    nested = "model" in content  # safetensors, our older form, and what MONAI's CheckpointSaver writes
    state = content["model"] if nested else content
    plain = isinstance(state, Mapping) and all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items())
    if not plain or not state:
        raise CheckpointError(f"{path} holds no weights of this project", got=str(sorted(map(str, content)))[:200])
    described = {key: value for key, value in content.items() if key != "model"} if nested else _beside(content)
    if "network" not in described and not nested:
        described = _twin(path, state)
    if "network" in described:
        _check_description(described["network"], path)
    return Weights(state, described.get("network"), described.get("facts") or {})


def _beside(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """What a state dictionary holds beside its tensors for us; empty where other software saved it."""
    level: Any = getattr(state, "_metadata", None)
    for key in ("", HEADER):
        level = level.get(key) if isinstance(level, Mapping) else None
    return level if isinstance(level, Mapping) else {}


def _twin(path: str | os.PathLike[str], state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """The description of the same tensors in the other form beside a file; empty where there is none."""
    beside = Path(path).with_suffix(SAFE)
    if not beside.is_file() or unfetched(beside) is not None:
        return {}
    content = read(beside)
    other = content["model"]
    same = other.keys() == state.keys() and all(
        other[name].dtype == state[name].dtype and torch.equal(other[name], state[name]) for name in other
    )
    return content if same else {}


def load_weights(path: str | os.PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """Load weights into a network, or into a new one built from the stored arguments.

    Args:
        path: file of weights, see :func:`read_weights`.
        network: network to fill; its constructor arguments must be the stored ones. A file that stores none takes
            what its tensors do not show from this network. None builds the network from the file.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged, not what the hash list beside it says, of another network, or
            does not say which network it belongs to.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, load_weights, save_weights
    >>> network = MDCSRN(blocks=1, units=1, growth=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.safetensors", network)
    ...     load_weights(f"{folder}/small.safetensors", network) is network, network.training
    (True, False)
    """
    known = architecture(network)["arguments"] if isinstance(network, MDCSRN) else {}
    return read_network(path, known, network)


def read_network(path: str | os.PathLike[str], known: Mapping[str, Any], network: nn.Module | None = None) -> nn.Module:
    """Fill a network from a file of weights, or build the one that the file describes.

    Args:
        path: file of weights, see :func:`read_weights`.
        known: constructor arguments to assume where the file stores none.
        network: to fill; None: a new one.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: as :func:`load_weights`.
    """
    found = read_weights(path)
    description = found.network or described_by_tensors(found.state, known, path)
    if found.network is None:
        arguments = ", ".join(f"{name}={description['arguments'][name]}" for name in ("residual", "space_to_depth"))
        logger.warning(f"{path} does not say residual and space_to_depth of its network; taken as given: {arguments}")
    if network is None:
        network = build_described(description, found.state, path)
    _fill_network(network, description, found.state, path)
    return network.eval()


def load_network(path: str | os.PathLike[str], arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The network that a file of weights describes, of any class that restores volumes.

    Args:
        path: file of weights, see :func:`read_weights`.
        arguments: constructor arguments that must be the stored ones. A file that other software saved does not store
            `residual` and `space_to_depth` of a generator; they are then taken from here.

    Returns:
        The network, in evaluation mode; :func:`mdcsrn.networks.traits_of` says what it can do.

    Raises:
        CheckpointError: as :func:`load_weights`; the file holds a critic, or an argument is another one.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.pt", MDCSRN(blocks=1, units=1, growth=2))
    ...     load_network(f"{folder}/small.pt").traits.margin
    (2, 2, 2)
    """
    stated = dict(arguments or {})
    network = read_network(path, stated)
    if not isinstance(network, Restorer):
        raise CheckpointError(
            f"{path} holds no generator", got=type(network).__name__, remedy="give a generator's file"
        )
    if stated:
        described = architecture(network)
        wanted = build_network({**described, "arguments": {**described["arguments"], **stated}})
        _check_same(described, architecture(wanted), path)
    return network


def load_generator(
    path: str | os.PathLike[str],
    blocks: int | None = None,
    units: int | None = None,
    growth: int | None = None,
    residual: bool | None = None,
    space_to_depth: Sequence[int] | None = None,
) -> nn.Module:
    """:func:`load_network` for a config's ``network_def``, where each argument of mDCSRN may be stated.

    Args:
        path: file of weights, see :func:`read_weights`; of any network where nothing else is stated.
        blocks: as stored, like all that follow (see :class:`mdcsrn.networks.MDCSRN`); None: whatever is stored. A file
            that does not store `residual` and `space_to_depth` (other software saved it) needs these two.
        units: dense units in each block.
        growth: channels that a unit adds.
        residual: whether the input is added to the output.
        space_to_depth: factor per axis; (1, 1, 1) says that there is none.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: as :func:`load_network`.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, load_generator, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.pt", MDCSRN(blocks=1, units=1, growth=2))
    ...     load_generator(f"{folder}/small.pt", growth=2).traits.margin
    (2, 2, 2)
    """
    given = {"blocks": blocks, "units": units, "growth": growth, "residual": residual, "space_to_depth": space_to_depth}
    return load_network(path, {name: value for name, value in given.items() if value is not None})


def fill_network(network: nn.Module, stored: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Fill a network from ``{"network": arguments, "state": tensors}`` of a training checkpoint."""
    _fill_network(network, stored["network"], stored["state"], path)


def network_state(network: nn.Module) -> dict[str, Any]:
    """Constructor arguments and tensors of a network, for a training checkpoint."""
    return {"network": architecture(network), "state": network.state_dict()}


def _fill_network(
    network: nn.Module, stored: Mapping[str, Any], state: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    _check_description(stored, path)
    _check_same(stored, architecture(network), path)
    whole = [n for n, own in network.state_dict().items() if n in state and _is_whole(state[n]) and not _is_whole(own)]
    if whole:  # torch would turn them into floating point, without the scale that they were made with
        raise CheckpointError(
            f"the weights in {path} are whole numbers where the network has fractions",
            got=f"{whole[0]}: {state[whole[0]].dtype}",
            allowed="floating point",
            remedy="give the weights that they were made from",
        )
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the weights in {path} do not fit the network", got=first_line(error)) from error


def _is_whole(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point()


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
        raise CheckpointError(f"{path} does not say which network it belongs to", got=str(stored)[:200])


def save_content(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values in one step."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        torch.save(content, stream)  # to a stream: torch would write the temporary name into the file
