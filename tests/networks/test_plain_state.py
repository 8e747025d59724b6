"""``.pt`` as plain state dictionaries: what others do with them, older files, and files that describe no network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.handlers import Checkpoint
from monai.networks import copy_model_state
from safetensors.torch import save_file

from mdcsrn.errors import CheckpointError
from mdcsrn.hashes import weight_files
from mdcsrn.inference.planning.models import find_model
from mdcsrn.networks import MDCSRN, load_generator, load_weights, publish_weights, save_weights
from mdcsrn.networks.restore import warm_start
from mdcsrn.networks.weights import read_weights

MODELS = Path(__file__).resolve().parents[2] / "bundles" / "mdcsrn_wgan_gp" / "models"
NESTED = Path(__file__).with_name("data") / "nested.pt"  # by the code of before: tensors under `model`
NESTED_ARGUMENTS = {"blocks": 1, "units": 1, "growth": 2, "residual": False, "space_to_depth": [1, 2, 2]}
CELLS = {"residual": False, "space_to_depth": (1, 2, 2)}


def small(**changes: Any) -> MDCSRN:
    torch.manual_seed(0)
    network = MDCSRN(**{"blocks": 2, "units": 3, "growth": 2, **changes})
    torch.nn.init.normal_(network.recon.weight)
    network(torch.rand(1, 1, 8, 8, 8))
    return network.eval()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def plain(path: Path, network: MDCSRN) -> Path:
    """A state dictionary as any other program saves it."""
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("path", [p for p in weight_files(MODELS) if p.suffix == ".pt"], ids=lambda path: path.name)
def test_the_shipped_files_are_plain(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in content.values())
    expected = load_weights(path)
    by_hand = MDCSRN(4, 4, 16, residual=True, space_to_depth=(2, 2, 2))
    by_hand.load_state_dict(content, strict=True)
    assert same(by_hand, expected)
    ignite = MDCSRN(4, 4, 16, residual=True, space_to_depth=(2, 2, 2))
    Checkpoint.load_objects(to_load={"": ignite}, checkpoint=str(path))  # MONAI's ckpt_export without a key
    assert same(ignite, expected)
    monai = MDCSRN(4, 4, 16, residual=True, space_to_depth=(2, 2, 2))
    _, changed, unchanged = copy_model_state(monai, content)  # monai.bundle.load
    assert not unchanged
    assert set(changed) == set(content)
    assert same(monai, expected)


def test_a_saved_file_is_plain_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(tmp_path / name / "model.pt", small(), {"psnr": 29.5})
    content = torch.load(tmp_path / "a" / "model.pt", weights_only=True)
    assert list(content) == list(small().state_dict())
    small().load_state_dict(content, strict=True)
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()


def test_a_copy_by_torch_still_says_its_network(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small(**CELLS), {"step": 3})
    torch.save(torch.load(tmp_path / "a.pt", weights_only=True), tmp_path / "b.pt")
    assert load_weights(tmp_path / "b.pt").architecture == small(**CELLS).architecture
    assert read_weights(tmp_path / "b.pt").facts == {"step": 3}


def test_files_of_before_still_load(tmp_path: Path) -> None:
    stored = torch.load(NESTED, weights_only=True)
    assert isinstance(stored["model"], dict), "the older form"
    network = load_weights(NESTED)
    assert network.architecture == NESTED_ARGUMENTS
    assert all(torch.equal(value, stored["model"][name]) for name, value in network.state_dict().items())
    assert read_weights(NESTED).facts == {"step": 3, "psnr": 29.5, "degradation": {"reduction": [1, 2, 2]}}
    assert same(load_generator(NESTED, residual=False, growth=2), network)
    assert same(find_model(model=NESTED).network, network)
    assert same(warm_start(MDCSRN(**NESTED_ARGUMENTS), NESTED), network)
    assert warm_start(MDCSRN(**{**NESTED_ARGUMENTS, "growth": 3}), NESTED).growth == 3  # widened
    with pytest.raises(CheckpointError, match="belongs to another network"):
        load_weights(NESTED, MDCSRN(**{**NESTED_ARGUMENTS, "residual": True}))
    publish_weights(NESTED, tmp_path, "model")
    for form in (".pt", ".safetensors"):
        assert same(load_weights(tmp_path / f"model{form}"), network)
        assert read_weights(tmp_path / f"model{form}").facts == read_weights(NESTED).facts
    assert "model" not in torch.load(tmp_path / "model.pt", weights_only=True), "the new form"


@pytest.mark.parametrize("changes", [CELLS, {}, {"residual": False}], ids=["cells", "default", "published"])
def test_a_file_that_describes_nothing_is_refused_by_name(changes: dict[str, Any], tmp_path: Path) -> None:
    path = plain(tmp_path / "plain.pt", small(**changes))
    for reading in (load_weights, load_generator, lambda file: find_model(model=file).network):
        with pytest.raises(
            CheckpointError, match=r"plain\.pt is a state dictionary that does not say residual"
        ) as caught:
            reading(path)
        assert ("space_to_depth" in caught.value.what) == (changes == CELLS)
        assert "blocks=2, units=3, growth=2" in str(caught.value.got)


def test_the_remedy_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "plain.pt", small(space_to_depth=(2, 2, 2)))
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value.remedy).partition("for example: ")[2], {})
    assert same(load_weights("described.pt"), small(space_to_depth=(2, 2, 2)))
    assert load_weights("described.pt").architecture == small(space_to_depth=(2, 2, 2)).architecture


def test_what_a_config_states_completes_a_plain_file(tmp_path: Path) -> None:
    path = plain(tmp_path / "plain.pt", small(**CELLS))
    network = load_generator(path, **CELLS)
    assert network.architecture == small(**CELLS).architecture
    assert same(network, small(**CELLS))
    assert same(load_weights(path, MDCSRN(2, 3, 2, **CELLS)), network)
    assert same(warm_start(MDCSRN(2, 3, 2, **CELLS), path), network)
    assert warm_start(MDCSRN(2, 3, 4, **CELLS), path).growth == 4  # widened
    for wrong in ({**CELLS, "blocks": 3}, {**CELLS, "growth": 4}, {**CELLS, "space_to_depth": (2, 2, 2)}):
        with pytest.raises(CheckpointError, match=r"plain\.pt"):
            load_generator(path, **wrong)
    with pytest.raises(CheckpointError, match=r"plain\.pt"):
        load_weights(path, MDCSRN(2, 3, 2, residual=False))


def test_it_is_said_where_the_rest_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = plain(tmp_path / "plain.pt", small(residual=False))
    with caplog.at_level(logging.WARNING):
        load_weights(path, MDCSRN(2, 3, 2, residual=False))
    assert "plain.pt does not say residual" in caplog.text


def test_safetensors_beside_a_plain_file_describe_it(tmp_path: Path) -> None:
    path = plain(tmp_path / "model.pt", small(**CELLS))
    save_weights(tmp_path / "model.safetensors", small(**CELLS), {"step": 5})
    assert load_weights(path).architecture == small(**CELLS).architecture
    assert read_weights(path).facts == {"step": 5}
    with pytest.raises(CheckpointError, match="belongs to another network"):
        load_weights(path, MDCSRN(2, 3, 2, residual=True, space_to_depth=(1, 2, 2)))
    other = small(**CELLS)
    torch.nn.init.normal_(other.recon.weight)
    save_weights(tmp_path / "model.safetensors", other)  # of another step: it describes other tensors
    with pytest.raises(CheckpointError, match="does not say residual"):
        load_weights(path)


def test_what_monai_saves_while_it_trains(tmp_path: Path) -> None:
    """MONAI's CheckpointSaver: the state under a key, beside the optimiser's."""
    torch.save({"model": small().state_dict(), "optimizer": {"state": {}}}, tmp_path / "a.pt")
    assert same(load_generator(tmp_path / "a.pt", residual=True), small())
    with pytest.raises(CheckpointError, match="does not say residual"):
        load_generator(tmp_path / "a.pt")


def test_safetensors_of_others(tmp_path: Path) -> None:
    save_file(dict(small(**CELLS).state_dict()), tmp_path / "a.safetensors")
    assert same(load_generator(tmp_path / "a.safetensors", **CELLS), small(**CELLS))


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(3)}, {"conv0.weight": torch.zeros(4, 1, 3, 3, 3)}, {"module.conv0.weight": torch.zeros(1)},
        {**small().state_dict(), "step": 3}, {**small().state_dict(), 5: torch.zeros(1)},
        {name: value for name, value in small().state_dict().items() if "running_var" not in name},
        {**small().state_dict(), "block0.denselayer9.conv.weight": torch.zeros(1)},
        {**small().state_dict(), "block999999.denselayer999999.conv.weight": torch.zeros(1)},
    ],
)  # fmt: skip
def test_state_dictionaries_of_something_else(content: dict[Any, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        load_generator(tmp_path / "a.pt", residual=True, space_to_depth=(1, 1, 1))


@pytest.mark.parametrize("metadata", [3, {"": 3}, {"": {"mdcsrn": 3}}, {"": {"mdcsrn": {"network": 3}}}, {}])
def test_descriptions_of_anything(metadata: Any, tmp_path: Path) -> None:
    state = small().state_dict()
    state._metadata = metadata  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt (is a state dictionary|does not say which network)"):
        load_weights(tmp_path / "a.pt")
