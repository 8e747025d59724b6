"""What ``mdcsrn bundle list`` says of weights: from their header as from the network, and without torch."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from mdcsrn.bundle.listing import TOLD, stored_use, use_of
from mdcsrn.networks import (
    EDSR,
    MDCSRN,
    WDSR,
    Critic,
    CycleGeneratorHR,
    CycleGeneratorLR,
    SRGANGenerator,
    SRResDNet,
    save_weights,
)

RESTORERS = [
    MDCSRN(1, 2, 2),
    *(EDSR(scale, width=4, blocks=1) for scale in (1, 2, 8)),
    EDSR(dims=3, width=3, blocks=1),
    WDSR(4, width=4, expansion=2, blocks=1, channels=3),
    WDSR(dims=3, width=3, expansion=2, blocks=1),
    SRGANGenerator(3, width=4, blocks=1),
    SRGANGenerator(dims=3, width=3, blocks=1),
    CycleGeneratorHR(2, width=4, blocks=1, channels=3),
    SRResDNet(4, width=4, blocks=1, projection=True),
]


def test_each_network_that_is_told_is_tried() -> None:
    assert {type(network).__name__ for network in RESTORERS} == TOLD


@pytest.mark.parametrize("network", RESTORERS, ids=lambda network: type(network).__name__)
def test_the_header_says_what_the_network_does(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, network)
    assert stored_use(path) == use_of(path) != ""


@pytest.mark.parametrize("network", [Critic("light"), CycleGeneratorLR(width=4, blocks=1)], ids=["Critic", "LR"])
def test_a_network_that_restores_nothing_is_loaded_and_asked(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, network)
    assert stored_use(path) is None
    assert use_of(path) == ""


def test_headers_that_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    assert stored_use(path) is None
    described = {"network": {"name": "EDSR", "arguments": {"scale": "2"}}}
    for header in (
        b"", b"{", b"[" * 100_000, b"[]", b'{"__metadata__": {}}', b'{"__metadata__": {"mdcsrn": "3"}}',
        json.dumps({"__metadata__": {"mdcsrn": json.dumps(described)}}).encode(),
    ):  # fmt: skip
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        assert stored_use(path) is None, header[:60]
    path.write_bytes(b"\xff" * 8)  # a header of 2^64 bytes
    assert stored_use(path) is None


def test_shipped_bundles_are_listed_without_torch() -> None:
    program = (
        "import sys; from mdcsrn.bundle.listing import describe; from mdcsrn.resources import shipped_bundles;"
        "uses = [model['use'] for home in shipped_bundles() for model in describe(home)['models']];"
        "print(uses, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n"), done.stdout
    assert "factor 1 2 2 along any two axes" in done.stdout
    assert "''" not in done.stdout
