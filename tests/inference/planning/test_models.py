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
from mdcsrn.hashes import HASHES
from mdcsrn.inference.planning.models import RANGE_FILE, find_model, model_names
from mdcsrn.networks import MDCSRN, Critic, load_weights, publish_weights, save_weights
from mdcsrn.resources import folder


@pytest.fixture(scope="module")
def default() -> dict[str, str]:
    """The two lines that say what is used when nothing is said."""
    return read_mapping(folder("configs") / "default.yaml")


@pytest.fixture
def elsewhere(tmp_path: Path, default: dict[str, str]) -> Path:
    """A copy of the default bundle, under another name, outside of the package, with two models more.

    ``gan`` has both forms, ``fine`` is safetensors alone.
    """
    home = tmp_path / "my bundle"
    source = folder("bundles") / default["bundle"]
    shutil.copytree(source, home, ignore=shutil.ignore_patterns("models", "runs"))
    (home / "models").mkdir()
    for path in (source / "models").glob("model.*"):
        shutil.copy(path, home / "models")
    for name, growth in (("gan", 3), ("fine", 5)):
        save_weights(tmp_path / "own.pt", MDCSRN(1, 2, growth))
        publish_weights(tmp_path / "own.pt", home / "models", name)
    (home / "models" / "fine.pt").unlink()
    return home


def test_the_default(default) -> None:
    model = find_model()
    assert model.path == folder("bundles") / default["bundle"] / "models" / f"{default['model']}.pt"
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


def test_the_names_of_a_bundle(elsewhere) -> None:
    assert model_names(elsewhere) == ["model", "fine", "gan"]
    assert model_names()[0] == "model", "the default first"


@pytest.mark.parametrize(
    ("name", "file"),
    [("gan", "gan.pt"), ("gan.pt", "gan.pt"), ("gan.safetensors", "gan.safetensors"), ("fine", "fine.safetensors"),
     ("model", "model.pt")],
)  # fmt: skip
def test_another_model_of_the_bundle_by_name(elsewhere, name, file) -> None:
    model = find_model(elsewhere, name)
    assert model.path == elsewhere / "models" / file
    assert model.bundle == "my bundle"
    assert model.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert model.network.growth == {"gan": 3, "fine": 5, "model": 16}[model.path.stem]


def test_both_forms_are_one_network(elsewhere) -> None:
    one, other = (find_model(elsewhere, f"gan{form}").network.state_dict() for form in (".pt", ".safetensors"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_bundle_by_name_and_by_folder(default, elsewhere) -> None:
    assert find_model(default["bundle"]).path == find_model().path
    moved = find_model(elsewhere)
    assert moved.path == elsewhere / "models" / f"{default['model']}.pt"
    assert moved.bundle == "my bundle"
    assert moved.trained == find_model().trained
    assert find_model(str(elsewhere), "gan").path == elsewhere / "models" / "gan.pt"


RANGES = """
trained_range:
  model: {spacing: [1, 2], field_of_view: [100, 200], reductions: [[1, 2, 2]]}
  gan: {spacing: [3, 4], field_of_view: [100, 200], reductions: [[1, 2, 2]]}
"""


def test_each_model_has_its_trained_range(elsewhere) -> None:
    (elsewhere / "configs" / RANGE_FILE).write_text(RANGES)
    assert find_model(elsewhere).trained.spacing == (1, 2)
    for name in ("gan", "gan.safetensors", elsewhere / "models" / "gan.safetensors"):
        assert find_model(elsewhere, name).trained.spacing == (3, 4)
    assert find_model(elsewhere, "fine").trained is None, "not the range of another model"


def test_a_path_into_a_bundle_is_of_that_bundle(elsewhere) -> None:
    model = find_model(model=elsewhere / "models" / "model.pt")
    assert model.bundle == "my bundle"
    assert model.trained is not None
    (elsewhere / "configs" / RANGE_FILE).unlink()
    assert find_model(model=elsewhere / "models" / "model.pt").trained is None


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
    assert all(shipped in str(caught.value.allowed) for shipped in model_names()), "what there is"
    assert "--model" in str(caught.value.remedy)


def test_unknown_weights_of_another_bundle(elsewhere) -> None:
    with pytest.raises(CheckpointError, match="no weights named best") as caught:
        find_model(elsewhere, "best")
    assert caught.value.allowed == "a file, or fine, gan, model of my bundle"


@pytest.mark.parametrize("name", ["nothing", "../bundles/nothing", "", "/"])
def test_unknown_bundles(default, name) -> None:
    with pytest.raises(ConfigError, match="no bundle") as caught:
        find_model(name)
    assert default["bundle"] in str(caught.value)


def test_a_bundle_without_its_weights(elsewhere) -> None:
    for path in (elsewhere / "models").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="has no weights yet"):
        find_model(elsewhere)
    assert model_names(elsewhere) == []


def test_a_model_that_is_not_the_listed_one_is_refused(elsewhere) -> None:
    save_weights(elsewhere / "models" / "gan.pt", MDCSRN(1, 2, 3))
    model = find_model(elsewhere, "gan")
    with pytest.raises(CheckpointError, match=rf"gan\.pt is not the file that {HASHES}"):
        _ = model.network


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
@pytest.mark.parametrize("form", [".pt", ".safetensors"])
def test_damaged_weights(elsewhere, tmp_path, cut, form) -> None:
    whole = (elsewhere / "models" / f"gan{form}").read_bytes()
    (tmp_path / f"cut{form}").write_bytes(whole[:cut])
    with pytest.raises(CheckpointError, match=f"cut{form}"):
        _ = find_model(model=tmp_path / f"cut{form}").network


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
