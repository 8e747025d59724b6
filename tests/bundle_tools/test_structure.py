"""The model zoo's rules, one broken at a time; and the commands that list and check."""

from __future__ import annotations

import hashlib
import importlib
import json
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdcsrn.bundle.check import check
from mdcsrn.bundle.names import FUNCTIONS, name_problem
from mdcsrn.cli.main import main

# Packages whose classes lead nowhere: typing and containers.
HARMLESS = {
    "posixpath",
    "genericpath",
    "collections",
    "collections.abc",
    "typing",
    "builtins",
    "numpy",
    "numbers",
    "nibabel.nifti1",
}


def rules(source: Path) -> set[str]:
    return {finding.rule for finding in check(source)}


@pytest.mark.parametrize(
    "name",
    [
        *("LICENSE", "configs/metadata.json", "configs/inference.yaml", "docs/README.md", "docs/data_license.txt"),
        "models/model.pt",
    ],
)
def test_a_missing_file(foreign: Path, name: str) -> None:
    (foreign / name).unlink()
    assert "missing" in rules(foreign)


@pytest.mark.parametrize("key", ["schema", "version", "copyright", "task", "authors", "network_data_format"])
def test_a_field_of_the_metadata(foreign: Path, metadata: Callable[..., None], key: str) -> None:
    metadata(**{key: None})
    assert "schema" in rules(foreign)


@pytest.mark.parametrize(
    ("version", "changelog"),
    [("9.9.9", {"0.1.0": "first"}), ("1.0", {"1.0": "first"}), ("0.1.0", {"0.1.0": "first", "0.10.0": "later"})],
)
def test_the_version_is_the_latest_of_the_changelog(
    foreign: Path, metadata: Callable[..., None], version: str, changelog: dict[str, str]
) -> None:
    metadata(version=version, changelog=changelog)
    assert "version" in rules(foreign)


@pytest.mark.parametrize("key", ["bundle_root", "device", "network_def", "inferer", "dataset", "evaluator"])
def test_an_identifier(foreign: Path, key: str) -> None:
    path = foreign / "configs" / "inference.yaml"
    path.write_text(path.read_text().replace(f"\n{key}:", f"\n{key}_:"))
    assert "id" in rules(foreign)


def test_the_hash_list(foreign: Path) -> None:
    listed = foreign / "models" / "sha256.txt"
    text = listed.read_text()
    listed.write_text(text.replace(text[0], "e" if text[0] != "e" else "f", 1))
    assert rules(foreign) == {"hash"}
    listed.write_text("")
    assert rules(foreign) == {"hash"}
    listed.write_text(text + "0" * 64 + "  absent.pt\n")
    assert rules(foreign) == {"hash"}
    listed.unlink()
    assert rules(foreign) == {"hash"}


@pytest.mark.parametrize("module", FUNCTIONS)
def test_no_allowed_name_hands_over_something_of_another_package(module: str) -> None:
    """Every name that a module has and the list lets through is looked at: none is a module or of elsewhere."""
    found = importlib.import_module(module)
    assert all(hasattr(found, name) for name in FUNCTIONS[module])
    passed = [name for name in dir(found) if name_problem([*module.split("."), name]) is None]
    for name in passed:
        value = getattr(found, name)
        assert not isinstance(value, types.ModuleType), name
        home = getattr(value, "__module__", None) or type(value).__module__
        root = str(home).split(".")[0]
        assert root in ("monai", "torch", "numpy", "ignite", "mdcsrn", module) or home in HARMLESS, (name, home)


def test_list(shipped: Path) -> None:
    shown = CliRunner().invoke(main, ["bundle", "list", "--json"])
    assert shown.exit_code == 0
    (bundle,) = [entry for entry in json.loads(shown.output) if entry["name"] == shipped.name]
    assert bundle["version"] == json.loads((shipped / "configs" / "metadata.json").read_text())["version"]
    files = {entry["file"]: entry for model in bundle["models"] for entry in model["files"]}
    assert sorted(files) == sorted(path.name for path in (shipped / "models").glob("*.*t*") if path.suffix != ".txt")
    for name, entry in files.items():
        content = (shipped / "models" / name).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert bundle["models"][0]["name"] in CliRunner().invoke(main, ["bundle", "list"]).output


def test_list_says_that_a_file_is_another_one(foreign: Path) -> None:
    path = foreign / "models" / "model.pt"
    path.write_bytes(path.read_bytes() + b"x")
    assert "DIFFERS" in CliRunner().invoke(main, ["bundle", "list", str(foreign)]).output


def test_list_of_nothing(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["bundle", "list", str(tmp_path)])
    assert shown.exit_code == 4
    assert "no bundle" in shown.output


def test_check_as_a_command(foreign: Path) -> None:
    good = CliRunner().invoke(main, ["bundle", "check", str(foreign)])
    assert (good.exit_code, good.output) == (0, f"{foreign} passes\n")
    (foreign / "run.sh").write_text("")
    bad = CliRunner().invoke(main, ["bundle", "check", str(foreign)])
    assert bad.exit_code == 3
    assert "program" in bad.output
    document = CliRunner().invoke(main, ["bundle", "check", str(foreign), "--json"])
    assert json.loads(document.stdout)["findings"] == [
        {"rule": "program", "where": "run.sh", "text": "a program"},
    ]
