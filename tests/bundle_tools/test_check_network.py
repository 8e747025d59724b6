"""The network of a bundle that is trusted, by MONAI's own check of its shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mdcsrn.cli.main import main


def test_the_network_of_the_shipped_bundle(shipped: Path) -> None:
    shown = CliRunner().invoke(main, ["bundle", "check", shipped.name])
    assert shown.exit_code == 0, shown.output
    assert "its network too" in shown.output


@pytest.mark.long
def test_a_network_that_does_not_do_what_the_metadata_says(foreign: Path) -> None:
    path = foreign / "configs" / "inference.yaml"
    text = path.read_text()
    start = text.index("network_def:")
    wrong = "network_def: {_target_: torch.nn.Conv3d, in_channels: 1, out_channels: 2, kernel_size: 1}"
    path.write_text(text[:start] + wrong + text[text.index("\n", start) :])
    shown = CliRunner().invoke(main, ["bundle", "check", str(foreign), "--network"])
    assert shown.exit_code == 3
    assert "network " in shown.output
