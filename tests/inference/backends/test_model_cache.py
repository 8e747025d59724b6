"""Converted networks on disk: the voxels of a fresh conversion, whatever the folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("openvino")

from mdcsrn.inference.backends import model_cache, openvino
from mdcsrn.inference.backends.kept import RUNNERS, identity
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.networks import MDCSRN, save_weights

# How many networks a process records, and a hash of what it restores.
RESTORE = """
import hashlib, sys, torch
from mdcsrn.inference.backends import openvino
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.networks import load_network
recorded, made = [], openvino.trace_module
openvino.trace_module = lambda *arguments: recorded.append(1) or made(*arguments)
low = torch.rand(24, 26, 28, generator=torch.Generator().manual_seed(3))
runner = SlabRunner(load_network(sys.argv[1]), "openvino", "float32")
found = runner.run(low, torch.ones_like(low, dtype=torch.bool))
print(len(recorded), hashlib.sha256(found.numpy().tobytes()).hexdigest())
"""


@pytest.fixture
def weights(tmp_path, random_network) -> Path:
    save_weights(tmp_path / "some.pt", random_network())
    return tmp_path / "some.pt"


def restore(weights: Path, cache: Path | str) -> tuple[int, str]:
    environment = {**os.environ, "MDCSRN_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RESTORE, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    recorded, digest = done.stdout.split()
    return int(recorded), digest


def test_the_next_process_converts_nothing_and_gives_the_same_voxels(weights, tmp_path) -> None:
    cache = tmp_path / "cache"
    fresh = restore(weights, "off")
    assert fresh[0] == 2, "the probe and the slab"
    assert not cache.exists()
    assert restore(weights, cache) == fresh
    assert restore(weights, cache) == (0, fresh[1])
    files = sorted((cache / "networks").iterdir())
    assert [file.suffix for file in files] == [".zip", ".zip"], "nothing else is left there"
    # A bit of the weights that fell over: found by the checksum, and made anew.
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert restore(weights, cache) == fresh
    assert restore(weights, cache) == (0, fresh[1])
    for file in files:
        file.write_bytes(b"")
    assert restore(weights, cache) == fresh


def test_a_folder_that_cannot_be_written_costs_time_alone(weights, tmp_path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert restore(weights, tmp_path / "file") == restore(weights, "off")


def test_other_weights_and_other_code_have_names_of_their_own(random_network, monkeypatch) -> None:
    one, other = (str(identity(slab(random_network(seed=seed)))) for seed in (0, 1))
    names = {model_cache._key(one), model_cache._key(other)}
    monkeypatch.setattr(model_cache, "_versions", lambda: "of another release")
    assert len(names | {model_cache._key(one)}) == 3


def slab(network: MDCSRN) -> torch.nn.Module:
    from mdcsrn.networks.slab import SlabMDCSRN

    return SlabMDCSRN(network, 4)


def test_the_longest_unused_go(random_network, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MDCSRN_CACHE", str(tmp_path))
    monkeypatch.setattr(model_cache, "MOST_FILES", 3)
    low = torch.rand(24, 26, 28, generator=torch.Generator().manual_seed(3))
    before: set[str] = set()
    for seed in range(3):
        RUNNERS.clear()
        openvino._MODELS.clear()
        SlabRunner(random_network(seed=seed), "openvino", "float32").run(low, torch.ones_like(low, dtype=torch.bool))
        found = {path.name for path in (tmp_path / "networks").iterdir()}
        assert len(found) == min(2 * (seed + 1), 3)
        assert len(found - before) == 2, "the two of this network are there"
        before = found
