"""The model zoo's rules, one broken at a time; and the commands that list and check."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdcsrn.bundle.check import check
from mdcsrn.cli.main import main
from mdcsrn.networks import EDSR, publish_weights, save_weights
from mdcsrn.resources import bundle_folder


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
    """It passes; it is not judged; it is refused: three words, and only the first has the exit code 0."""
    good = CliRunner().invoke(main, ["bundle", "check", str(foreign)])
    assert (good.exit_code, good.output) == (0, f"{foreign} passes\n")
    config = foreign / "configs" / "inference.yaml"
    config.write_text(config.read_text() + "x: {_target_: torch.compile}\n")
    unknown = CliRunner().invoke(main, ["bundle", "check", str(foreign)])
    assert unknown.exit_code == 3
    assert "is not judged" in unknown.output
    assert "passes" not in unknown.output
    assert "refused" not in unknown.output
    document = json.loads(CliRunner().invoke(main, ["bundle", "check", str(foreign), "--json"]).stdout)
    assert document["verdict"] == "not judged"
    assert [(found["rule"], found["verdict"]) for found in document["findings"]] == [("target", "not judged")]
    (foreign / "run.sh").write_text("")
    bad = CliRunner().invoke(main, ["bundle", "check", str(foreign)])
    assert bad.exit_code == 3
    assert "is refused" in bad.output
    document = json.loads(CliRunner().invoke(main, ["bundle", "check", str(foreign), "--json"]).stdout)
    assert document["verdict"] == "refused"
    assert document["findings"][0] == {"rule": "program", "where": "run.sh", "text": "a program", "verdict": "refused"}


def test_list_says_what_a_bundle_is_for(tmp_path: Path) -> None:
    planes, empty = tmp_path / "planes", tmp_path / "empty"
    for home in (planes, empty):
        shutil.copytree(bundle_folder("edsr_x2"), home, ignore=shutil.ignore_patterns("models", "runs"))
    save_weights(tmp_path / "trained.pt", EDSR(scale=3, width=4, blocks=1))
    publish_weights(tmp_path / "trained.pt", planes / "models", "model")
    shown = CliRunner().invoke(main, ["bundle", "list", str(planes), str(empty)])
    lines = [line for line in shown.output.splitlines() if not line.startswith(" ")]
    metadata = json.loads((planes / "configs" / "metadata.json").read_text())
    what = f"{metadata['version']}: {metadata['task']}"
    assert lines[0] == f"planes {what} (planes and pictures, factor 1 3 3 along any two axes)"
    assert lines[1] == f"empty {what} (no weights yet: train it, or give --model FILE)"
