"""Weights by name, by path and by bundle; what is not there, damaged or something else is refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.files import read_mapping
from mdcsrn.inference.models import RANGE_FILE, find_model
from mdcsrn.networks import MDCSRN, Critic, load_weights, save_weights
from mdcsrn.resources import folder


@pytest.fixture(scope="module")
def default() -> dict[str, str]:
    """The two lines that say what is used when nothing is said."""
    return read_mapping(folder("configs") / "default.yaml")


@pytest.fixture
def elsewhere(tmp_path: Path, default: dict[str, str]) -> Path:
    """A copy of the default bundle, under another name, outside of the package."""
    home = tmp_path / "my bundle"
    shutil.copytree(folder("bundles") / default["bundle"], home)
    return home


def test_the_default(default) -> None:
    model = find_model()
    assert model.path == folder("bundles") / default["bundle"] / "models" / default["model"]
    assert model.bundle == default["bundle"]
    metadata = json.loads((model.path.parents[1] / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert model.version == metadata["version"]
    assert model.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert model.trained is not None
    assert "T1w" in model.trained.contrasts


def test_the_network_is_ready_to_predict() -> None:
    model = find_model()
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    stored = load_weights(model.path).state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in model.network.state_dict().items())
    assert model.network is model.network, "read once"


def test_a_record_is_plain() -> None:
    record = find_model().to_dict()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == {"file", "sha256", "bundle", "bundle_version", "architecture"}
    assert "/" not in record["file"], "no path of this machine"


@pytest.mark.parametrize("name", ["model_l1", "model_l1.pt"])
def test_another_file_of_the_bundle_by_name(default, name) -> None:
    model = find_model(model=name)
    assert model.path.name == "model_l1.pt"
    assert model.bundle == default["bundle"]
    assert model.sha256 != find_model().sha256
    assert find_model(default["bundle"], name).path == model.path


def test_a_bundle_by_name_and_by_folder(default, elsewhere) -> None:
    assert find_model(default["bundle"]).path == find_model().path
    moved = find_model(elsewhere)
    assert moved.path == elsewhere / "models" / default["model"]
    assert moved.bundle == "my bundle"
    assert moved.trained == find_model().trained
    assert find_model(str(elsewhere), "model_l1").path == elsewhere / "models" / "model_l1.pt"


def test_a_path_into_a_bundle_is_of_that_bundle(elsewhere) -> None:
    model = find_model(model=elsewhere / "models" / "model_l1.pt")
    assert model.bundle == "my bundle"
    assert model.trained is not None
    (elsewhere / "configs" / RANGE_FILE).unlink()
    assert find_model(model=elsewhere / "models" / "model_l1.pt").trained is None


def test_a_file_of_ones_own_has_no_trained_range(tmp_path, monkeypatch) -> None:
    network = MDCSRN(1, 2, 3, space_to_depth=(1, 2, 2))
    torch.nn.init.normal_(network.recon.weight)
    save_weights(tmp_path / "own.pt", network)
    model = find_model(model=tmp_path / "own.pt")
    assert (model.bundle, model.version, model.trained) == ("", "", None)
    assert model.network.architecture == network.architecture
    assert torch.equal(model.network.recon.weight, network.recon.weight)
    monkeypatch.chdir(tmp_path)
    assert find_model(model="own.pt").path == Path("own.pt"), "relative to the working folder"


@pytest.mark.parametrize("name", ["nothing", "../models/model.pt", "sub/model.pt", "", "."])
def test_unknown_weights(name) -> None:
    with pytest.raises(CheckpointError, match="no weights named") as caught:
        find_model(model=name)
    assert "model_l1" in str(caught.value.allowed), "what there is"
    assert "--model" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["nothing", "../bundles/nothing", "", "/"])
def test_unknown_bundles(default, name) -> None:
    with pytest.raises(ConfigError, match="no bundle") as caught:
        find_model(name)
    assert default["bundle"] in str(caught.value)


def test_a_bundle_without_its_weights(elsewhere) -> None:
    for path in (elsewhere / "models").glob("*.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="no weights named"):
        find_model(elsewhere)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_bundle_with_damaged_metadata(elsewhere, content) -> None:
    (elsewhere / "configs" / "metadata.json").write_text(content)
    with pytest.raises(ConfigError, match="cannot read the metadata"):
        find_model(elsewhere)


def test_a_bundle_with_a_damaged_trained_range(elsewhere) -> None:
    (elsewhere / "configs" / RANGE_FILE).write_text("trained_range: {spacing: [1]}\n")
    with pytest.raises(ConfigError, match="trained range"):
        _ = find_model(elsewhere).trained


@pytest.mark.parametrize("cut", [0, 100, 5_000, -1_000])
def test_damaged_weights(tmp_path, cut) -> None:
    whole = find_model().path.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:cut])
    with pytest.raises(CheckpointError):
        _ = find_model(model=tmp_path / "cut.pt").network


def test_a_changed_byte_changes_the_hash(tmp_path) -> None:
    whole = bytearray(find_model().path.read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "changed.pt").write_bytes(whole)
    assert find_model(model=tmp_path / "changed.pt").sha256 != find_model().sha256


def test_a_critic_is_no_generator(tmp_path) -> None:
    save_weights(tmp_path / "critic.pt", Critic(base_channels=4))
    with pytest.raises(CheckpointError, match="no generator") as caught:
        _ = find_model(model=tmp_path / "critic.pt").network
    assert "Critic" in str(caught.value.got)


def test_a_folder_is_no_file_of_weights(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no weights named"):
        find_model(model=tmp_path)


@pytest.mark.parametrize("residual", [True, False])
def test_a_weight_that_is_not_finite(tmp_path, residual) -> None:
    """It would spread over the whole volume."""
    network = MDCSRN(1, 1, 2, residual)
    with torch.no_grad():
        network.conv0.weight[0, 0, 0, 0, 0] = float("nan")
    save_weights(tmp_path / "nan.pt", network)
    with pytest.raises(CheckpointError, match="NaN"):
        _ = find_model(model=tmp_path / "nan.pt").network
