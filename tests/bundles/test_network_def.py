"""The network of each config: a knob in training, read from the weights in inference, evaluation and fine-tuning."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out

from mdcsrn.errors import CheckpointError, root_error
from mdcsrn.networks import MDCSRN, load_weights, save_weights

CONFIGS = ("train", "evaluate", "inference")
FROM_WEIGHTS = ("evaluate", "inference")


def test_the_network_is_a_knob(resolved: Callable, overrides: Callable) -> None:
    parser = resolved("train", [], {**overrides("train"), "network_def#residual": False, "network_def#growth": 3})
    generator = parser.get_parsed_content("train#trainer").generator
    assert generator.architecture == {
        "blocks": 1, "units": 1, "growth": 3, "residual": False, "space_to_depth": None,
    }  # fmt: skip


def test_training_has_the_published_size() -> None:
    parser = ConfigParser()
    parser.read_config("configs/train.yaml")
    network = parser.get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in network.parameters()) == 411_648


@pytest.mark.parametrize("config", FROM_WEIGHTS)
def test_the_default_network_is_that_of_the_shipped_weights(config: str, bundle: Path) -> None:
    parser = ConfigParser()
    parser.read_config(f"configs/{config}.yaml")
    network, shipped = parser.get_parsed_content("network_def"), load_weights(bundle / "models" / "model.pt")
    assert network.architecture == shipped.architecture
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), shipped.parameters(), strict=True))


@pytest.fixture(params=[".pt", ".safetensors"])
def unusual(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Weights of a network that no config names."""
    network = MDCSRN(blocks=2, units=1, growth=3, residual=False, space_to_depth=(1, 2, 3))
    save_weights(tmp_path / f"unusual{request.param}", network)
    return tmp_path / f"unusual{request.param}"


def without_network(pairs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pairs.items() if not key.startswith("network_def")}


@pytest.mark.parametrize("config", FROM_WEIGHTS)
def test_whatever_the_checkpoint_describes_is_built(
    config: str, unusual: Path, resolved: Callable, overrides: Callable
) -> None:
    pairs = without_network(overrides(config)) | {"checkpoint": str(unusual)}
    network = resolved(config, [], pairs).get_parsed_content("evaluator").network
    expected = load_weights(unusual)
    assert network.architecture == expected.architecture
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize("config", FROM_WEIGHTS)
@pytest.mark.parametrize(
    "stated",
    [
        {"network_def#growth": 4},
        {"network_def#space_to_depth": [1, 1, 1]},
        {"network_def": {"_target_": "mdcsrn.networks.MDCSRN", "blocks": 1}},
    ],
    ids=["growth", "space_to_depth", "another"],
)
def test_a_network_that_contradicts_the_checkpoint_is_refused(
    config: str, stated: dict[str, Any], unusual: Path, resolved: Callable, overrides: Callable
) -> None:
    pairs = without_network(overrides(config)) | {"checkpoint": str(unusual)} | stated
    parser = resolved(config, [], pairs)
    with pytest.raises(Exception, match=r".") as caught:
        parser.get_parsed_content("network")
    error = root_error(caught.value)
    assert isinstance(error, CheckpointError)
    assert f"{unusual} belongs to another network" in str(error)


@pytest.mark.parametrize("config", FROM_WEIGHTS)
def test_a_network_that_agrees_may_be_stated(
    config: str, unusual: Path, resolved: Callable, overrides: Callable
) -> None:
    stated = {"network_def#blocks": 2, "network_def#residual": False, "network_def#space_to_depth": [1, 2, 3]}
    pairs = without_network(overrides(config)) | {"checkpoint": str(unusual)} | stated
    assert resolved(config, [], pairs).get_parsed_content("network").blocks == 2


@pytest.mark.parametrize("config", CONFIGS)
def test_verify_net_in_out(config: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        verify_net_in_out("network_def", meta_file="configs/metadata.json", config_file=f"configs/{config}.yaml", n=2)
    assert any("verified with no error" in message for message in caplog.messages)


def test_verify_net_in_out_sees_a_wrong_channel_count(tmp_path: Path) -> None:
    metadata = json.loads(Path("configs/metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 2
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="channel number"):
        verify_net_in_out(
            "network_def", meta_file=str(tmp_path / "metadata.json"), config_file="configs/inference.yaml"
        )
