"""The door for files of tensors: damage is found, and what is hostile costs neither memory nor time."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mdcsrn.errors import CheckpointError
from mdcsrn.networks import MDCSRN, load_weights, save_weights
from mdcsrn.networks.tensor_files import MAX_VALUES, read

GIB = 2**30


def small(**changes: Any) -> MDCSRN:
    torch.manual_seed(0)
    return MDCSRN(**{"blocks": 1, "units": 1, "growth": 2, **changes})


def pt(pickled: bytes, storages: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as torch.save writes it, around a pickle and storages of our choice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for name, content in (storages or {}).items():
            archive.writestr(f"archive/data/{name}", content)
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def long(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def tensor_pickle(numel: int, shape: tuple[int, ...], stride: tuple[int, ...], name: bytes = b"conv0.weight") -> bytes:
    """``{name: tensor}``, in the instructions that torch.save uses."""
    return b"".join([
        b"\x80\x02}(X", struct.pack("<L", len(name)), name, b"ctorch._utils\n_rebuild_tensor_v2\n((",
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
        long(numel), b"tQK\x00(",
        *map(long, shape), b"t(", *map(long, stride), b"t\x89ccollections\nOrderedDict\n)RtRu.",
    ])  # fmt: skip


def called(name: str, *arguments: int) -> bytes:
    """``{"a": name(*arguments)}``."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00ac"
        + name.replace(" ", "\n").encode()
        + b"\n("
        + b"".join(map(long, arguments))
        + b"tRs."
    )


def laughs(levels: int) -> bytes:
    """A list of ten times the list before, and so on: a kilobyte that takes for ever to walk through."""
    value: Any = "ha"
    for _ in range(levels):
        value = [value] * 10
    stream = io.BytesIO()
    torch.save({"a": value}, stream)
    return stream.getvalue()


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], begin: int, end: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def described(arguments: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None) -> bytes:
    """Weights whose description asks for another network than their tensors are of."""
    state = small().state_dict()
    state.update(tensors or {})
    state._metadata[""]["mdcsrn"] = {"network": {"name": "MDCSRN", "arguments": arguments}, "facts": {}}  # type: ignore[attr-defined]
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def critic(arguments: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    content = {"network": {"name": "Critic", "arguments": arguments}, "model": {"a": torch.zeros(1)}}
    torch.save(content, stream)
    return stream.getvalue()


PLAIN = {"blocks": 1, "units": 1, "growth": 2, "residual": True, "space_to_depth": None}
HOSTILE = {
    "deflated.pt": pt(tensor_pickle(GIB // 4, (GIB // 4,), (1,)), {"0": bytes(GIB // 8)}, zipfile.ZIP_DEFLATED),
    "deflated pickle.pt": pt(b"\x80\x02" + b"]" * 2**26, method=zipfile.ZIP_DEFLATED),
    "long pickle.pt": pt(b"\x80\x02" + b"]" * 2**21),
    "stated storage.pt": pt(tensor_pickle(GIB, (GIB,), (1,)), {"0": bytes(16)}),
    "expanded.pt": pt(tensor_pickle(4, (2**20, 1, 3, 3, 3), (0, 0, 0, 0, 0)), {"0": bytes(16)}),
    "bytearray.pt": pt(called("builtins bytearray", GIB)),
    "storage.pt": pt(called("torch.storage UntypedStorage", GIB)),
    "tensor.pt": pt(called("torch FloatTensor", GIB)),
    "laughs.pt": laughs(30),
    "endless.pt": pt(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."),
    "huge number.pt": pt(b"\x80\x02}X\x01\x00\x00\x00a\x8b" + struct.pack("<L", 2**18) + b"\x7f" * 2**18 + b"s."),
    "header.safetensors": safetensors({}, length=2**60),
    "sparse header.safetensors": safetensors(b"[" * 2**22),
    "shape.safetensors": safetensors({"conv0.weight": entry([2**40], 0, 2**42)}, bytes(16)),
    "overlap.safetensors": safetensors({f"a{i}": entry([2**18], 0, 2**20) for i in range(200)}, bytes(2**20)),
    "deep.safetensors": safetensors(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "wide growth.pt": described({**PLAIN, "growth": 10**6}),
    "many blocks.pt": described({**PLAIN, "blocks": 10**7}),
    "many units.pt": described({**PLAIN, "units": 10**7}),
    "large cells.pt": described({**PLAIN, "space_to_depth": [10**6, 10**6, 10**6]}),
    "beyond numbers.pt": described({**PLAIN, "growth": 2**62}),
    "wide critic.pt": critic({"preset": "original", "base_channels": 10**6}),
    "large critic.pt": critic({"preset": "pointwise", "patch_size": 16 * 10**5}),
    "critic beyond numbers.pt": critic({"in_channels": 2**62}),
}  # fmt: skip
LOADER = """
import json, resource, sys, time, tracemalloc
from mdcsrn.errors import CheckpointError
from mdcsrn.networks import load_weights
try:
    load_weights(sys.argv[1])  # imports what it needs
except CheckpointError:
    pass
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 64 * 2**20, pages + 64 * 2**20))
for path in sys.argv[2:]:
    begun = time.process_time()
    try:
        load_weights(path)
        words = "loaded"
    except CheckpointError as error:
        words = str(error)
    except BaseException as error:
        words = f"{type(error).__name__}: {error}"
    print(json.dumps([path, words, time.process_time() - begun]), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="address space is read from /proc")
def test_hostile_files_are_refused_within_64_mib_and_a_second(tmp_path: Path) -> None:
    paths = []
    for name, content in HOSTILE.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    first = tmp_path / "first.pt"
    save_weights(first, small())
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(first), *map(str, paths)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in paths], done.stderr[-2000:]
    words = {Path(path).name: text.replace(f"{tmp_path}/", "") for path, text, _ in lines}
    assert not [(name, text) for name, text in words.items() if name not in text or text == "loaded"]
    assert not [(name, text) for name, text in words.items() if re.search("(?i)memory|alloc|Error:", text)]
    assert not [line for line in lines if line[2] > 1]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_any_flipped_bit_is_found_or_does_not_matter(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_weights(path, small(), {"psnr": 29.5, "step": 7})
    whole, expected = path.read_bytes(), small().state_dict()
    for place in [*range(0, 600, 7), *range(600, len(whole), 61)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            loaded = load_weights(path)
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert loaded.architecture == small().architecture, place
            found = loaded.state_dict()
            assert all(torch.equal(found[name], expected[name]) for name in expected), place


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_flipped_bit_of_a_weight_is_called_damage(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_weights(path, small())
    whole = bytearray(path.read_bytes())
    place = whole.index(small().state_dict()["conv0.weight"].numpy().tobytes()[:16]) + 5
    whole[place] ^= 4
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="damaged"):
        load_weights(path)
    if suffix == ".pt":
        torch.load(path, weights_only=True)  # torch itself sees nothing


def test_the_old_form_of_torch_is_refused_with_a_way_out(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="not the zip") as caught:
        read(tmp_path / "a.pt")
    torch.save(torch.load(tmp_path / "a.pt", weights_only=True), tmp_path / "b.pt")  # the way out
    assert read(tmp_path / "b.pt").keys() == small().state_dict().keys()
    assert "save it again" in str(caught.value.remedy)


def test_a_program_is_no_file_of_weights(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Conv3d(1, 1, 1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        read(tmp_path / "a.pt")


def test_a_training_checkpoint_of_any_kind_of_value(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(small().parameters())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {
        "optimizer": optimizer.state_dict(), "half": torch.rand(3).bfloat16(), "flags": torch.tensor([True]),
        "dtype": torch.float16, "shape": torch.Size([1, 2]), "seed": 2**63, "text": "ü", "none": None,
        "list": [(1, 2.5)],
    }  # fmt: skip
    torch.save(content, tmp_path / "a.pt")
    found = read(tmp_path / "a.pt")
    assert found["optimizer"]["param_groups"] == content["optimizer"]["param_groups"]
    assert {key: found[key] for key in ("dtype", "shape", "seed", "text", "list")} == {
        key: content[key] for key in ("dtype", "shape", "seed", "text", "list")
    }


def test_a_file_of_too_many_values(tmp_path: Path) -> None:
    torch.save({"a": list(range(MAX_VALUES))}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="more than 100000 values"):
        read(tmp_path / "a.pt")
