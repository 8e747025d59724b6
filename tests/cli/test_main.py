"""The command itself: help, version, lazy commands, resources, and errors as one line with their exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import mdcsrn
from mdcsrn import resources
from mdcsrn.cli import main as module
from mdcsrn.cli.main import COMMANDS, main
from mdcsrn.errors import ConfigError, OutputError


def test_help_fits_a_screen_and_names_every_command() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) <= 24
    assert all(len(line) <= 100 for line in shown.output.splitlines())
    for name in COMMANDS:
        assert f"  {name} " in shown.output
        inner = CliRunner().invoke(main, [name, "--help"])
        assert inner.exit_code == 0
        assert len(inner.output.splitlines()) <= 40


def test_version() -> None:
    assert mdcsrn.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_an_unknown_command_is_wrong_usage() -> None:
    shown = CliRunner().invoke(main, ["upsample"])
    assert shown.exit_code == 2
    assert "No such command" in shown.output


def test_an_error_behind_a_wrapper_is_shown_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    @click.command()
    def failing() -> None:
        try:
            raise OutputError("the disk is full", remedy="make room")
        except OutputError as error:
            raise RuntimeError("applying transform") from error

    monkeypatch.setattr(module, "failing", failing, raising=False)
    monkeypatch.setitem(COMMANDS, "failing", "mdcsrn.cli.main:failing")
    shown = CliRunner().invoke(main, ["failing"])
    assert shown.exit_code == OutputError.exit_code
    assert shown.output == "error: the disk is full | remedy: make room\n"


def test_a_programming_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "failing", failing, raising=False)
    monkeypatch.setitem(COMMANDS, "failing", "mdcsrn.cli.main:failing")
    assert isinstance(CliRunner().invoke(main, ["failing"]).exception, ZeroDivisionError)


def test_shipped_configs_are_found_by_name_and_files_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resources.config("hcp_2x2", "degradation").read_text().count("degradation:") == 1
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hcp_2x2").write_text("mine")
    assert resources.config("hcp_2x2", "degradation") == Path("hcp_2x2")
    with pytest.raises(ConfigError, match="hcp_9x9.*hcp_2x2, hcp_5x5"):
        resources.config("hcp_9x9", "degradation")


def test_an_installed_package_uses_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "mdcsrn"
    (package / "_data" / "configs").mkdir(parents=True)
    (tmp_path / "site-packages" / "configs").mkdir()  # another project's: not ours without pyproject.toml
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.folder("configs") == package / "_data" / "configs"
    with pytest.raises(ConfigError, match="no bundles"):
        resources.folder("bundles")


def test_the_data_fragments_hold_the_two_knobs_only() -> None:
    from mdcsrn.files import read_mapping

    fragments = sorted((resources.folder("configs") / "data").glob("*.yaml"))
    assert [path.stem for path in fragments] == ["folder", "hcp", "sample"]
    for path in fragments:
        assert set(read_mapping(path)) <= {"dataset_dir", "datalist"}
