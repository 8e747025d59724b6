"""Read weight files of picture models: ESRGAN, SwinIR and the like, in the newer and the older form of torch."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mdcsrn.errors import CheckpointError
from mdcsrn.fetched import check_fetched
from mdcsrn.hashes import check_hash
from mdcsrn.networks.tensor_files import CALLING_OPCODES, MAX_DESCRIPTION_BYTES, MAX_FILE_BYTES, SAFE, first_line, read
from mdcsrn.optional import is_installed, need

if TYPE_CHECKING:
    from spandrel import ModelDescriptor

_OLDER, _CONTENT = 5, 3  # pickles of torch before 1.6: magic number, protocol, system, content, names of the storages
_NAMES = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
_NAMES |= {f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")}
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a declaration lives as long as its library


def describe(path: str | os.PathLike[str]) -> ModelDescriptor:
    """Read a file of weights and find its network by the names and shapes of its tensors.

    Args:
        path: ``.pth`` or ``.pt`` with tensors alone, or ``.safetensors``. Nothing in it is run, nothing is fetched.

    Returns:
        spandrel's description, on the CPU, its network in evaluation mode.

    Raises:
        MissingDependencyError: spandrel or torchvision is not installed.
        CheckpointError: missing, damaged, hostile, not what the hash list beside it says, or no network known.
        DataError: its content was not fetched (Git LFS, git-annex).
    """
    _let_torchvision_load()
    need("a baseline of a picture model", "spandrel", "torchvision", "spandrel")
    from spandrel import ModelLoader, UnsupportedModelError, canonicalize_state_dict

    from mdcsrn.evaluation.picture_architectures import registry

    content = _read(path)
    try:
        found = ModelLoader("cpu", registry()).load_from_state_dict(canonicalize_state_dict(content))
    except UnsupportedModelError as error:
        raise CheckpointError(
            f"{path}: no network known to spandrel has such tensors", got=", ".join(sorted(map(str, content))[:3]),
            allowed="weights of ESRGAN, Real-ESRGAN, SwinIR, HAT, DAT, RCAN, EDSR, WDSR and others that spandrel lists",
        ) from error  # fmt: skip
    except Exception as error:  # each of its forty architectures fails in its own way
        raise CheckpointError(f"{path}: its tensors do not fit their network", got=first_line(error)) from error
    return found.eval()


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A dictionary of tensors, maybe nested in another one."""
    file = Path(path)
    if file.is_file() and file.suffix != SAFE and not _is_zip(file):
        return _read_older(file)
    content = read(file)
    return content["model"] if file.suffix == SAFE else content


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _read_older(file: Path) -> dict[str, Any]:
    """The form of torch before 1.6, in which most published weights of ESRGAN are; it has no checksums."""
    check_fetched(file)
    if file.stat().st_size > MAX_FILE_BYTES:
        raise CheckpointError(f"{file} is too large for weights", allowed=f"{MAX_FILE_BYTES} bytes")
    check_hash(file)
    problem = _problem(file)
    if problem is not None:
        raise CheckpointError(f"cannot read {file}: damaged, hostile, or no weights", got=problem)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message advises weights_only=False: not to be passed on
        got = "something else than tensors and plain values"
        raise CheckpointError(f"cannot read {file}: damaged, hostile, or no weights", got=got) from error
    except Exception as error:  # what a pickle asks for can fail in many ways
        raise CheckpointError(f"cannot read {file}: damaged, or no weights", got=first_line(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no weights", got=type(content).__name__, allowed="a dictionary of tensors")
    return content


def _problem(file: Path) -> str | None:
    """Why the pickles of the older form may not be followed: their instructions are read first."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            for part in range(_OLDER):
                for code, argument, _place in pickletools.genops(stream):
                    if code.name in CALLING_OPCODES or (code.name == "GLOBAL" and argument not in _NAMES):
                        return "something else than tensors and plain values"
                    if part == _CONTENT and isinstance(argument, int) and argument > size:
                        return f"a tensor of {argument} values in a file of {size} bytes"
                if stream.tell() > MAX_DESCRIPTION_BYTES:
                    return f"more than {MAX_DESCRIPTION_BYTES} bytes beside its tensors"
    except Exception as error:  # a pickle that is cut, or none
        return first_line(error)[:80]
    return None


def _let_torchvision_load() -> None:
    """Declare operators without which torchvision does not import beside a torch of another build.

    The compiled part of torchvision from the package index fits CUDA builds of torch. Beside a CPU build it stays out,
    and torchvision's own registrations fail. spandrel takes functions on pictures from it that need no compiled part.
    """
    if "torchvision" in sys.modules or not is_installed("torchvision"):
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(name + _SCHEMA)
        _declared.append(library)
    except ImportError:
        return  # `need` tells of it
