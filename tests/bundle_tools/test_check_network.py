"""The network of a bundle that is trusted, by MONAI's own check of its shapes and its own export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from mdcsrn.bundle.check import check_network
from mdcsrn.cli.main import main
from mdcsrn.hashes import write_hashes


def test_the_network_of_the_shipped_bundle(shipped: Path) -> None:
    shown = CliRunner().invoke(main, ["bundle", "check", shipped.name])
    assert shown.exit_code == 0, shown.output
    assert "its network too" in shown.output


@pytest.mark.long
@pytest.mark.parametrize(("channels", "rule"), [(2, "network"), (1, "export")])
def test_a_network_that_does_not_do_what_is_asked(channels: int, rule: str, foreign: Path) -> None:
    """One that has two channels where the metadata say one; one whose weights MONAI cannot put in."""
    path = foreign / "configs" / "inference.yaml"
    text = path.read_text()
    start = text.index("network_def:")
    definition = f"{{_target_: torch.nn.Conv3d, in_channels: 1, out_channels: {channels}, kernel_size: 1}}"
    path.write_text(f"{text[:start]}network_def: {definition}{text[text.index(chr(10), start) :]}")
    torch.save([torch.zeros(1)], foreign / "models" / "model.pt")
    write_hashes(foreign / "models")
    shown = CliRunner().invoke(main, ["bundle", "check", str(foreign), "--network"])
    assert shown.exit_code == 3
    assert shown.output.startswith(f"{rule} ")


@pytest.mark.long
def test_a_configuration_in_json_is_found(foreign: Path) -> None:
    path = foreign / "configs" / "inference.yaml"
    (foreign / "configs" / "inference.json").write_text(json.dumps(yaml.safe_load(path.read_text())))
    path.unlink()
    assert check_network(foreign) == []
