"""What lies in ``models/``: small files in both forms of the same weights, listed with their hashes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from mdcsrn.hashes import HASHES, read_hashes, weight_files
from mdcsrn.networks import MDCSRN, load_weights
from mdcsrn.networks.weights import read_weights

MODELS = Path(__file__).resolve().parents[2] / "bundles" / "mdcsrn_wgan_gp" / "models"
NAMES = sorted({path.stem for path in weight_files(MODELS)})


def test_there_is_a_default_model_and_nothing_but_weights_and_their_list() -> None:
    assert "model" in NAMES
    assert set(NAMES) <= {"model", "gan"}
    expected = {HASHES, *(f"{name}{form}" for name in NAMES for form in (".pt", ".safetensors"))}
    assert {path.name for path in MODELS.iterdir() if not path.name.startswith(".")} == expected


def test_every_file_is_listed() -> None:
    assert sorted(read_hashes(MODELS)) == [path.name for path in weight_files(MODELS)]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_hashes_are_those_of_the_files() -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", HASHES], cwd=MODELS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == 2 * len(NAMES)


@pytest.mark.parametrize("path", weight_files(MODELS), ids=lambda path: path.name)
def test_a_file_is_below_five_megabytes(path: Path) -> None:
    assert path.stat().st_size < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_bitwise_the_same(name: str) -> None:
    one, other = (MODELS / f"{name}{form}" for form in (".pt", ".safetensors"))
    ours, theirs = load_weights(one).state_dict(), load_weights(other).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)
    assert read_weights(one).facts == read_weights(other).facts
    assert read_weights(one).network == read_weights(other).network


@pytest.mark.parametrize("name", NAMES)
def test_the_record_says_how_it_was_trained_and_names_no_place(name: str) -> None:
    facts = read_weights(MODELS / f"{name}.pt").facts
    assert {"datalist", "seed", "step", "phase"} <= set(facts)
    assert not [value for value in facts.values() if isinstance(value, str) and "/" in value]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_network_is_a_restorer(name: str) -> None:
    network = load_weights(MODELS / f"{name}.pt")
    assert isinstance(network, MDCSRN)
    assert network.residual
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())
    x = torch.rand(1, 1, 20, 20, 20)
    assert 1e-4 < float((network(x) - x).abs().max()) < 1
