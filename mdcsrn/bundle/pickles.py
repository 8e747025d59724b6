"""Check that a weights file holds only tensors and plain values: read its pickle's instructions, never run them."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile

# What torch.save writes for tensors; anything else in a pickle is a call that somebody chose.
ALLOWED = {
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict", "torch Size"),
    *(
        f"torch {kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte")
    ),
    *("torch BoolStorage", "torch float32", "torch float64", "torch int64"),
    *("torch float16", "torch bfloat16", "torch int32", "torch uint8", "torch bool"),
}
_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ", "NEWOBJ_EX"}
MAX_PICKLE_BYTES = 64 * 2**20
DTYPES = {
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "U16",
    "U32",
    "U64",
}


def weights_problem(name: str, content: bytes) -> str | None:
    """Why a file of weights may not be loaded; None: it holds tensors and plain values.

    Args:
        name: its name, whose suffix says its form.
        content: its bytes.
    """
    return _safetensors_problem(content) if name.lower().endswith(".safetensors") else _pickle_problem(content)


def _pickle_problem(content: bytes) -> str | None:
    if not content.startswith(b"PK\x03\x04"):
        return "not the zip that torch.save writes: an old form, whose pickles cannot be told apart, or no weights"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)):
                return "a name that comes twice in its zip: readers take different ones"
            if any("/code/" in f"/{name}" or name.endswith((".py", "constants.pkl")) for name in names):
                return "a TorchScript program, not tensors"
            pickles = [name for name in names if name.endswith(".pkl")]
            if len(pickles) != 1 or not pickles[0].endswith("data.pkl"):
                return f"{len(pickles)} pickles instead of one named data.pkl"
            if sum(entry.file_size for entry in archive.infolist()) > 2 * len(content) + 2**20:
                return "unpacks to far more than its size"
            with archive.open(pickles[0]) as stream:
                pickled = stream.read(MAX_PICKLE_BYTES + 1)
    except Exception as error:  # damaged zips fail in many ways
        return f"damaged: {error}"
    if len(pickled) > MAX_PICKLE_BYTES:
        return "a pickle of more than 64 MiB beside its tensors"
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name == "GLOBAL" and argument not in ALLOWED:
                return f"its pickle asks for {str(argument).replace(' ', '.')[:80]}"
            if code.name in _CALLS:
                return f"its pickle makes objects by {code.name}"
    except Exception as error:  # a pickle that is cut, or no pickle
        return f"no pickle: {str(error)[:80]}"
    return None


def _safetensors_problem(content: bytes) -> str | None:
    """The format is its own proof; what is checked is that the file is of that format, to its last byte."""
    if len(content) < 8:
        return "no safetensors: shorter than its header's size"
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content) - 8, 100 * 2**20):
        return "no safetensors: the header is longer than the file"
    try:
        header = json.loads(content[8 : 8 + length])
        ends = [0]
        for name, entry in header.items():
            if name != "__metadata__":
                if entry["dtype"] not in DTYPES:
                    return f"no safetensors: {name} is of type {str(entry['dtype'])[:20]}"
                ends.append(int(entry["data_offsets"][1]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        return f"no safetensors: {type(error).__name__} in the header"
    return None if max(ends) == len(content) - 8 - length else "no safetensors: its tensors do not fill the file"
