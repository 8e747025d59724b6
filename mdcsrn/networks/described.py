"""Check a network's description against the tensors of its file before anything is built."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mdcsrn.errors import CheckpointError, MdcsrnError
from mdcsrn.networks.catalog import build_network
from mdcsrn.networks.mdcsrn import MDCSRN

_UNIT = re.compile(r"block(\d{1,6})\.denselayer(\d{1,6})\.conv\.weight")


def build_described(
    description: Mapping[str, Any], state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> nn.Module:
    """Build the network that a file describes, after its tensors were found to be those of such a network.

    A description is a few numbers, and could ask for any amount of memory or time; the tensors cost what they are.

    Args:
        description: see :func:`mdcsrn.networks.architecture`.
        state: names and tensors of the file, no longer than the file.
        path: the file, for messages.

    Returns:
        The network, freshly initialised.

    Raises:
        CheckpointError: it cannot be built, or the tensors are not its own.
    """
    _check_count(description, state, path)
    expected, problem = _expected(description)
    if problem:
        raise CheckpointError(f"{path} describes no network that can be built", got=problem)
    found = {name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in state.items()}
    differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n, "none") != found.get(n, "none"))
    if differing:
        first = differing[0]
        raise CheckpointError(
            f"the weights in {path} do not fit the network that it describes",
            got=f"{len(differing)} tensors differ, the first is {str(first)[:80]}: {found.get(first, 'not there')}",
            allowed=expected.get(first, "no such tensor"),
        )
    return build_network(description)


def _expected(description: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], str]:
    """Names and shapes of the network's tensors, or why there is no such network (its own error names no file)."""
    try:
        with torch.device("meta"):  # shapes without memory
            state = build_network(description).state_dict()
    except (MdcsrnError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        return {}, str(error).splitlines()[0][:300]
    return {name: tuple(value.shape) for name, value in state.items()}, ""


def _check_count(description: Mapping[str, Any], state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Building takes time for each unit, even without memory: no more of them than tensors."""
    arguments = description["arguments"]
    for name in ("blocks", "units"):
        value = arguments.get(name, 1)
        if isinstance(value, int) and value > len(state):
            raise CheckpointError(
                f"the weights in {path} do not fit the network that it describes",
                got=f"{name}: {str(value)[:20]} and {len(state)} tensors",
            )


def described_by_tensors(
    state: Mapping[str, Tensor], known: Mapping[str, Any], path: str | os.PathLike[str]
) -> dict[str, Any]:
    """The description of a generator whose file has none, a plain state dictionary that other software saved.

    Blocks, units and growth rate are read from names and shapes. Whether the input is added to the output leaves no
    trace in the tensors, and of `space_to_depth` only the product is seen: both must be given, unless there is none.

    Args:
        state: names and tensors.
        known: what is known of the constructor's arguments, with ``residual`` and ``space_to_depth``.
        path: the file, for messages.

    Raises:
        CheckpointError: these are not the tensors of a generator, or an argument that they do not show is not known.
    """
    units = [match for name in state if (match := _UNIT.fullmatch(str(name)))]
    first = state.get("conv0.weight")
    if not units or not isinstance(first, Tensor) or first.ndim != 5:
        some = ", ".join(sorted(map(str, state))[:3])
        raise CheckpointError(f"{path} holds no weights of this project", got=some[:120] or "nothing")
    seen: dict[str, Any] = {
        "blocks": 1 + max(int(unit[1]) for unit in units),
        "units": max(int(unit[2]) for unit in units),
        "growth": first.shape[0] // 2,
    }
    if first.shape[1] == 1:
        seen["space_to_depth"] = None
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in {**known, **seen}.items()}
    missing = [name for name in ("residual", "space_to_depth") if name not in arguments]
    if missing:
        raise CheckpointError(
            f"{path} is a state dictionary that does not say {' and '.join(missing)} of its network",
            got=", ".join(f"{name}={value}" for name, value in seen.items()),
            allowed="weights that mdcsrn wrote, or the two arguments beside them",
            remedy=_remedy(path, missing),
        )
    return {"name": MDCSRN.__name__, "arguments": arguments}


def _remedy(path: str | os.PathLike[str], missing: list[str]) -> str:
    values = {"residual": "residual=True", "space_to_depth": "space_to_depth=[2, 2, 2]"}
    given = ", ".join(values[name] for name in missing)
    return (
        "with the values of the network that was trained, for example: from mdcsrn.networks import load_generator, "
        f"save_weights; save_weights('described.pt', load_generator('{path}', {given}))"
    )
