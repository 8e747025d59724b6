"""Read a client's request into the options of a prediction; unknown keys and values are refused."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.infer_tasks import FINER, Offer
from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends import NAMES, PRECISIONS
from mdcsrn.inference.planning.prepare import REGIONS
from mdcsrn.inference.planning.task import PROFILES
from mdcsrn.jobs.options import Options

# What MONAI Label's own server and clients put into a request; none has a say in the voxels.
THEIRS = {
    *("model", "image", "images", "description", "session", "session_id", "client_id", "timeout", "logging", "label"),
    *("save_label", "label_tag", "labels", "multi_gpu", "gpus", "max_workers", "max_batch_size", "_id", "_image_id"),
    *("result_compress", "result_write_to_file", "bundle_path"),
}
EXTENSIONS = (".nii.gz", ".nii")
DEVICES = ("auto", "cpu", "cuda")
MAX_FACTOR = 64.0  # refinement of an axis; beyond, a typing error is likelier than a wish


def offered(offer: Offer) -> dict[str, Any]:
    """Options that a client shows for a task: name to default; a list is a choice, its first entry the default."""
    finer: dict[str, Any] = {"factor": "2 2 2", "spacing": ""} if offer.grid == FINER else {}
    if offer.scale is not None:
        finer = {"factor": " ".join(map(str, offer.scale))}
    return {
        **finer,
        "consistency": True,
        "region": list(REGIONS),
        "slice_profile": list(PROFILES),
        "fill_nonfinite": False,
        "strict": False,
        "device": list(DEVICES),
        "backend": ["auto", *NAMES],
        "precision": ["auto", *(name for name in PRECISIONS if name != "int8")],  # int8 wants scans to calibrate with
        "max_memory": 0.0,
        "result_dtype": ["float32", "keep"],
        "result_extension": list(EXTENSIONS),
    }


def read_request(request: Mapping[str, Any], offer: Offer) -> tuple[Options, str]:
    """Options of a prediction, and the ending of the result's name.

    A key that is missing, None or the whole list of choices (as a client sends an untouched one) means the default.

    Args:
        request: key to value as a client sent them.
        offer: the task that is asked for.

    Raises:
        ConfigError: a key that is not known, or a value that is not allowed.
    """
    known = offered(offer)
    for key in request:
        if key not in known and key not in THEIRS:
            close = difflib.get_close_matches(str(key), known)
            remedy = f"did you mean {', '.join(close)}?" if close else None
            raise ConfigError(f"unknown parameter {key!r} for {offer.name}", allowed=", ".join(known), remedy=remedy)
    values = {key: _value(key, request.get(key), default) for key, default in known.items()}
    task: dict[str, Any] = {"same_grid": True}
    if offer.grid == FINER:
        spacing = _three("spacing", values["spacing"]) if _given(values.get("spacing", "")) else None
        task = {"to_spacing": spacing} if spacing else {"factor": _factor(values["factor"])}
    options = Options(
        **task,
        no_consistency=not values["consistency"],
        region=values["region"],
        slice_profile=values["slice_profile"],
        fill_nonfinite=values["fill_nonfinite"],
        strict=values["strict"],
        device=_device(values["device"]),
        backend=values["backend"],
        precision=values["precision"],
        max_memory=values["max_memory"] or None,
        dtype=values["result_dtype"],
        bundle=None if offer.bundle is None else str(offer.bundle),
        model=offer.model,
    )
    options.task()  # what contradicts itself is told before a scan is read
    return options, values["result_extension"]


def checked_name(key: str, value: object) -> str:
    """A value that becomes the name of a file or folder: the tag of a result, the name of a model.

    Raises:
        ConfigError: anything but letters, digits, ``_``, ``-`` and ``.``, or a leading dot.
    """
    text = str(value)
    if not text or text.startswith(".") or Path(text).name != text or not all(c.isalnum() or c in "_-." for c in text):
        raise ConfigError(f"parameter {key} is no name", got=text[:80], allowed="letters, digits, _ - .")
    return text


def _value(key: str, value: Any, default: Any) -> Any:
    """`value` as the kind that its default is of."""
    if isinstance(default, list):
        if value is None or value == default:
            return default[0]
        if key == "device":
            return value[0] if isinstance(value, list) and value else value
        if isinstance(value, str) and value in default:
            return value
        raise ConfigError(f"parameter {key}", got=value, allowed=", ".join(default))
    if value is None:
        return default
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        flags = {"true": True, "false": False}
        if isinstance(value, str) and value.lower() in flags:
            return flags[value.lower()]
        raise ConfigError(f"parameter {key}", got=value, allowed="true or false")
    if isinstance(default, float):
        numbers = _numbers(key, value, 1)
        if numbers[0] < 0:
            raise ConfigError(f"parameter {key}", got=value, allowed=">= 0")
        return numbers[0]
    return value


def _device(value: Any) -> str:
    """``cuda`` where there is none means the processor, as everywhere in MONAI Label, whose batches ask for it."""
    from monailabel.utils.others.generic import name_to_device

    if not isinstance(value, str):
        raise ConfigError("parameter device", got=value, allowed=", ".join(DEVICES))
    return value if value == "auto" else str(name_to_device(value))


def _given(value: Any) -> bool:
    return value not in ("", [], ()) and value is not None


def _factor(value: Any) -> tuple[float, float, float]:
    factor = _three("factor", value)
    if max(factor) > MAX_FACTOR:
        raise ConfigError("parameter factor", got=value, allowed=f"1 to {MAX_FACTOR:g} per axis")
    return factor


def _three(key: str, value: Any) -> tuple[float, float, float]:
    """Three numbers, given as a list or as a text such as ``1 1 2``; one number stands for all axes."""
    numbers = _numbers(key, value, 3)
    return (numbers[0], numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def _numbers(key: str, value: Any, count: int) -> list[float]:
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [float(part) for part in parts if not isinstance(part, bool)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(parts) or len(numbers) not in {1, count} or not all(map(math.isfinite, numbers)):
        allowed = "a number" if count == 1 else f"{count} numbers, one for each array axis, such as '1 1 2'"
        raise ConfigError(f"parameter {key}", got=value, allowed=allowed)
    return numbers
