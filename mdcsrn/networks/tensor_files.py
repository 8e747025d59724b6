"""Read files of tensors (``.pt``, ``.safetensors``): each is judged before anything is allocated, then read.

Nothing in a file is run, no stated size is believed, and damage is found: the checksums of a ``.pt`` are compared
(torch does not), and a ``.safetensors`` of ours holds one in its header.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mdcsrn.errors import CheckpointError
from mdcsrn.fetched import check_fetched
from mdcsrn.hashes import check_hash
from mdcsrn.ziplayout import layout_problem

SAFE = ".safetensors"
HEADER = "mdcsrn"  # the one key of a safetensors header: several would be written in a random order
CHECKSUM = "tensors_sha256"
MAX_FILE_BYTES = 8 * 2**30
MAX_DESCRIPTION_BYTES = 2**20  # of a pickle without its tensors, or of a safetensors header: ours have some 20 kB
MAX_VALUES = 100_000  # numbers, texts, tensors and containers of one file
# What torch.save writes for tensors in dictionaries. Unpickling with ``weights_only`` allows more, for example
# bytearray and UntypedStorage, which a pickle of thirty bytes can ask to be gigabytes long.
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_GLOBALS = {
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict", "torch Size"),
    *(f"torch {kind}Storage" for kind in _STORAGES),
    *(f"torch {kind}" for kind in _DTYPES),
}
CALLING_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ", "NEWOBJ_EX"}  # of pickles
_SAFE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file of tensors: a state dictionary, weights of the older form, or a training checkpoint.

    Args:
        path: the file; its suffix says its form.

    Returns:
        The dictionary of a ``.pt`` as it is; of a ``.safetensors`` what our header says, with the tensors under
        ``model``.

    Raises:
        CheckpointError: missing, damaged, hostile, too large, not what the hash list beside it says, or no dictionary.
        DataError: its content was not fetched (Git LFS, git-annex).
    """
    check_fetched(path)
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint at {path}", remedy="train first, or give the path of a checkpoint")
    size = Path(path).stat().st_size
    if size > MAX_FILE_BYTES:
        raise CheckpointError(f"{path} is too large for weights", got=size, allowed=f"{MAX_FILE_BYTES} bytes")
    check_hash(path)
    content = _read_safe(path, size) if Path(path).suffix == SAFE else _read_pickled(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no checkpoint of this project", got=type(content).__name__)
    problem = _values_problem(content, size)
    if problem is not None:
        raise CheckpointError(f"{path} is no checkpoint of this project", got=problem)
    return content


def checksum(state: Mapping[str, Tensor], described: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, and over what is said of them."""
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read_pickled(path: str | os.PathLike[str]) -> Any:
    with open(path, "rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise CheckpointError(
                f"cannot read the checkpoint {path}: damaged, or not one",
                got="not the zip that torch.save writes",
                remedy="fetch it again; a file of torch before 1.6 has no checksums: load and save it again there",
            )
        problem = layout_problem(stream, of_torch=True)
    if problem is not None:
        raise CheckpointError(f"cannot read the checkpoint {path}: damaged, or not one", got=problem)
    problem = _pickle_problem(path)
    if problem is not None:
        raise CheckpointError(f"cannot read the checkpoint {path}: damaged, hostile, or not one", got=problem)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message advises weights_only=False: not to be passed on
        got = "something else than tensors and plain values"
        raise CheckpointError(f"cannot read the checkpoint {path}: damaged, hostile, or not one", got=got) from error
    except Exception as error:  # what a pickle asks for can fail in many ways
        raise CheckpointError(
            f"cannot read the checkpoint {path}: damaged, or not one", got=first_line(error)
        ) from error


def _pickle_problem(path: str | os.PathLike[str]) -> str | None:
    """Why the pickle may not be followed: its instructions are read first."""
    with zipfile.ZipFile(path) as archive:
        pickles = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("/data.pkl"):
            return "not what torch.save writes for tensors"
        if pickles[0].file_size > MAX_DESCRIPTION_BYTES:
            return f"more than {MAX_DESCRIPTION_BYTES} bytes beside its tensors"
        pickled = archive.read(pickles[0])
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name in CALLING_OPCODES or (code.name == "GLOBAL" and argument not in _GLOBALS):
                return "something else than tensors and plain values"
    except Exception as error:  # a pickle that is cut, or none
        return first_line(error)[:80]
    return None


def _read_safe(path: str | os.PathLike[str], size: int) -> dict[str, Any]:
    try:
        _check_safe_header(path, size)
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(HEADER)
            described = None if header is None else json.loads(header)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except Exception as error:  # the library's own error, and those of a header that is no JSON
        raise CheckpointError(
            f"cannot read the weights {path}: damaged, or not safetensors", got=first_line(error)
        ) from error
    if header is None:
        return {"model": state}
    if not isinstance(described, dict):
        raise CheckpointError(f"{path} holds no weights of this project", got=f"no header '{HEADER}'")
    stated = described.pop(CHECKSUM, None)  # files of before 0.2 have none
    if stated is not None and stated != checksum(state, described):
        raise CheckpointError(
            f"cannot read the weights {path}: damaged",
            got="other bytes than its checksum says",
            remedy="fetch it again",
        )
    return {**described, "model": state}


def _check_safe_header(path: str | os.PathLike[str], size: int) -> None:
    """The header may state any sizes; the tensors must lie one after another and fill the file."""
    with open(path, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
        if length > min(max(size - 8, 0), MAX_DESCRIPTION_BYTES):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        header = json.loads(stream.read(length))
    place = 0
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    for entry in sorted(entries, key=lambda entry: entry["data_offsets"]):
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        if any(isinstance(edge, bool) or not isinstance(edge, int) or edge < 0 for edge in [*shape, begin, end]):
            raise ValueError("a size that is no number")
        if begin != place or end - begin != math.prod(shape) * _SAFE_BYTES[entry["dtype"]]:
            raise ValueError("tensors that overlap, leave gaps, or are not as long as their shape")
        place = end
    if place != size - 8 - length:
        raise ValueError("its tensors do not fill the file")


def _values_problem(content: dict[str, Any], size: int) -> str | None:
    """Why a dictionary cannot be used: endless, or with tensors that are longer than the file that holds them."""
    todo: list[Any] = [content]
    count = claimed = 0
    while todo:
        value = todo.pop()
        count += 1
        if count > MAX_VALUES:  # lists within themselves end here too
            return f"more than {MAX_VALUES} values"
        if isinstance(value, Tensor):
            claimed += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
            if hasattr(value, "_metadata"):
                todo.append(value._metadata)
        elif isinstance(value, (list, tuple)):
            todo += value
        elif isinstance(value, int) and value.bit_length() > 64:
            return f"a number of {value.bit_length()} bits"
    return None if claimed <= size else f"tensors of {claimed} bytes in a file of {size}"


def first_line(error: Exception) -> str:
    """The first line of an error's words, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
