"""Weights in both forms: bitwise the same, read without running code, damage and other networks refused by name."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mdcsrn.errors import CheckpointError, OutputError
from mdcsrn.hashes import HASHES
from mdcsrn.networks import MDCSRN, Critic, load_generator, load_weights, publish_weights, save_weights
from mdcsrn.networks.restore import warm_start
from mdcsrn.networks.weights import read_weights

FORMS = (".pt", ".safetensors")
FACTS = {"psnr": 29.123456789012345, "degradation": {"reduction": [1, 2, 2], "window": "box"}, "start": None, "step": 3}


def small(**changes: Any) -> MDCSRN:
    torch.manual_seed(0)
    network = MDCSRN(**{"blocks": 1, "units": 2, "growth": 4, **changes})
    torch.nn.init.normal_(network.recon.weight)
    network(torch.rand(1, 1, 8, 8, 8))  # in training mode: statistics move too
    return network


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "network", [small(space_to_depth=(1, 2, 2)), small(residual=False), Critic("pointwise", 2, 2, 1.0, 16)],
    ids=["space_to_depth", "published", "critic"],
)  # fmt: skip
def test_either_form_gives_the_same_network(form: str, network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"a{form}"
    save_weights(path, network, FACTS)
    loaded = load_weights(path)
    assert type(loaded) is type(network)
    assert loaded.architecture == network.architecture
    assert same(loaded, network)
    assert not loaded.training
    assert read_weights(path).facts == FACTS


def test_another_program_reads_the_tensors(tmp_path: Path) -> None:
    network = small()
    save_weights(tmp_path / "a.safetensors", network)
    found = load_file(tmp_path / "a.safetensors")
    expected = {name: value.numpy() for name, value in network.state_dict().items()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(tmp_path / f"{name}.safetensors", small(), FACTS)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_ship_gives_both_forms_and_lists_them(tmp_path: Path) -> None:
    network = small()
    save_weights(tmp_path / "run" / "model_best.pt", network, FACTS)
    home = tmp_path / "bundle" / "models"
    assert publish_weights(tmp_path / "run" / "model_best.pt", home, "model") == [
        home / "model.pt", home / "model.safetensors", home / HASHES,
    ]  # fmt: skip
    for form in FORMS:
        assert same(load_weights(home / f"model{form}"), network)
        assert read_weights(home / f"model{form}").facts == FACTS
    publish_weights(home / "model.safetensors", home, "gan")  # from either form, beside what is there
    assert same(load_weights(home / "gan.pt"), network)
    listed = [line.split("  ")[1] for line in (home / HASHES).read_text().splitlines()]
    assert listed == ["gan.pt", "gan.safetensors", "model.pt", "model.safetensors"]


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_file_is_not_the_listed_one(form: str, tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small())
    publish_weights(tmp_path / "a.pt", tmp_path / "models", "model")
    path = tmp_path / "models" / f"model{form}"
    save_weights(path, small(), {"other": 1})  # whole, and of the same network
    for reading in (load_weights, load_generator):
        with pytest.raises(CheckpointError, match=f"model{form} is not the file that {HASHES}") as caught:
            reading(path)
        assert "write the list anew" in str(caught.value.remedy)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.safetensors"
    save_weights(path, small(), FACTS)
    return path.read_bytes()


def test_a_cut_file_is_refused_by_name(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    for size in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors: damaged, or not safetensors"):
            load_weights(path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_header_of_anything_is_refused_or_read(data: st.DataObject, whole: bytes, tmp_path_factory) -> None:
    """Bytes of the header replaced: either an error of ours, or weights that are as good as the file's."""
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    (length,) = struct.unpack("<Q", whole[:8])
    mutant = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(mutant))
    try:
        network = load_weights(path)
    except CheckpointError as error:
        assert "mutant.safetensors" in str(error)
    else:
        assert isinstance(network, MDCSRN)


def write(path: Path, header: str | None) -> None:
    tensors = {name: value.numpy() for name, value in small().state_dict().items()}
    save_file(tensors, path, metadata=None if header is None else {"mdcsrn": header})


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "a state dictionary that does not say residual"),
        ("[1]", "no header 'mdcsrn'"),
        ("{", "damaged"),
        ("{}", "a state dictionary that does not say residual"),
        ('{"network": 3}', "does not say which network"),
        ('{"network": {"name": "UNet", "arguments": {}}}', "no network that can be built"),
        (json.dumps({"network": {"name": "MDCSRN", "arguments": small(blocks=2).architecture}}), "do not fit"),
    ],
)
def test_files_of_others(header: str | None, words: str, tmp_path: Path) -> None:
    write(tmp_path / "foreign.safetensors", header)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors") as caught:
        load_weights(tmp_path / "foreign.safetensors")
    assert words in str(caught.value)


def test_a_checkpoint_by_another_name_is_not_tried(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small())
    (tmp_path / "a.pt").rename(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="not safetensors"):
        load_weights(tmp_path / "a.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "models" / "a.safetensors"
    save_weights(path, small())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_weights(path, small(), {"no plain value": object()})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        save_weights(tmp_path / "file" / "a.safetensors", small())
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]


def test_a_generator_as_its_file_describes_it(tmp_path: Path) -> None:
    network = small(space_to_depth=(1, 2, 2), residual=False)
    save_weights(tmp_path / "a.safetensors", network)
    for stated in ({}, {"growth": 4}, {"blocks": 1, "units": 2, "residual": False, "space_to_depth": [1, 2, 2]}):
        assert same(load_generator(tmp_path / "a.safetensors", **stated), network)
    save_weights(tmp_path / "plain.pt", small())
    assert load_generator(tmp_path / "plain.pt", space_to_depth=[1, 1, 1]).space_to_depth is None


@pytest.mark.parametrize(
    "stated", [{"blocks": 2}, {"units": 3}, {"growth": 8}, {"residual": False}, {"space_to_depth": (2, 2, 2)}],
    ids=lambda stated: next(iter(stated)),
)  # fmt: skip
def test_a_stated_value_that_contradicts_is_refused(stated: dict[str, Any], tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small())
    with pytest.raises(CheckpointError, match=r"a\.pt belongs to another network") as caught:
        load_generator(tmp_path / "a.pt", **stated)
    assert f"'{next(iter(stated))}'" in str(caught.value.got)


def test_a_critic_is_no_generator(tmp_path: Path) -> None:
    save_weights(tmp_path / "critic.safetensors", Critic(base_channels=4))
    with pytest.raises(CheckpointError, match="no generator"):
        load_generator(tmp_path / "critic.safetensors")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    """Weights in eight bits without their scale: torch takes the whole numbers for the weights."""
    state = small().state_dict()
    state["conv0.weight"] = (127 * state["conv0.weight"]).to(torch.int8)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"whole numbers.*\n?.*conv0\.weight"):
        load_generator(tmp_path / "a.pt", residual=True, space_to_depth=(1, 1, 1))


@pytest.mark.parametrize("form", FORMS)
def test_training_starts_from_a_file(form: str, tmp_path: Path) -> None:
    save_weights(tmp_path / f"a{form}", small())
    fresh = MDCSRN(1, 2, 4)
    network = warm_start(fresh, tmp_path / f"a{form}")
    assert network is fresh
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert same(network, small())


def test_training_starts_from_nothing() -> None:
    network = MDCSRN(1, 2, 4)
    assert warm_start(network) is network
    assert warm_start(network, "").training
    assert not network.recon.weight.any(), "as it was"


def test_training_does_not_start_from_another_network(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small(growth=6))
    with pytest.raises(CheckpointError, match="belongs to another network") as caught:
        warm_start(MDCSRN(1, 2, 4), tmp_path / "a.pt")
    assert "growth" in str(caught.value.got)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        warm_start(MDCSRN(1, 2, 4), tmp_path / "nothing.pt")


def test_the_description_is_json(whole: bytes) -> None:
    (length,) = struct.unpack("<Q", whole[:8])
    described = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["mdcsrn"])
    assert described["network"]["name"] == "MDCSRN"
    assert described["facts"] == FACTS


def test_weights_are_read_without_the_compiler() -> None:
    """Its import takes seconds and a hundred megabytes, and asks for packages that an image need not have."""
    code = (
        "import sys; from mdcsrn.inference.planning.models import find_model\n"
        "find_model(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
