"""A packed bundle: whole, listed, the same bytes each time, written in one step, and refused where it should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mdcsrn.bundle import pack as module
from mdcsrn.bundle.check import check
from mdcsrn.bundle.pack import pack
from mdcsrn.cli.main import main
from mdcsrn.configs import check_command_line
from mdcsrn.errors import ConfigError, DataError, OutputError
from mdcsrn.inference.planning.models import find_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def packed(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(shipped.name, tmp_path_factory.mktemp("packed") / "bundle")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_the_tracked_files_and_the_fragments(packed: Path, shipped: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=shipped, capture_output=True, text=True, check=True
    ).stdout.split()
    fragments = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").glob("*/*.yaml")}
    assert len(fragments) > 5
    there = {name for name in tracked if (shipped / name).is_file()}
    assert there | fragments | {"sha256.txt"} <= names(packed)
    assert not [name for name in names(packed) if name.startswith(("runs", "eval"))]
    for name in there - {"docs/README.md"}:
        assert (packed / name).read_bytes() == (shipped / name).read_bytes()
    assert "../../configs" not in (packed / "docs" / "README.md").read_text()


def test_it_passes(packed: Path) -> None:
    assert check(packed) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_reads_the_list(packed: Path) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", "sha256.txt"], cwd=packed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(names(packed)) - 1


def test_its_fragments_merge(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(packed)
    fragments = sorted(packed.glob("configs/*/*.yaml"))
    assert len(fragments) == len(list((ROOT / "configs").glob("*/*.yaml"))) > 5
    for path in fragments:
        check_command_line(["run", "--config_file", f"['configs/train.yaml','{path.relative_to(packed)}']"])


def test_predictions_find_its_models(packed: Path) -> None:
    assert find_model(packed).path == packed / "models" / find_model().path.name
    assert find_model(packed).trained is not None


def test_a_changed_file_is_found(packed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    (copy / "configs" / "data" / "hcp.yaml").write_text("dataset_dir: elsewhere\n")
    (copy / "docs" / "more.md").write_text("more")
    (copy / "LICENSE").unlink()
    found = {(finding.rule, finding.where) for finding in check(copy)}
    assert {("hash", "configs/data/hcp.yaml"), ("hash", "docs/more.md"), ("hash", "LICENSE")} <= found


def test_a_zip_is_the_same_bytes_each_time(foreign: Path, tmp_path: Path) -> None:
    first = pack(foreign, tmp_path / "a.zip").read_bytes()
    for path in foreign.rglob("*"):
        path.touch()
    shutil.move(foreign, tmp_path / "elsewhere")
    again = Path(shutil.copytree(tmp_path / "elsewhere", tmp_path / "again" / "foreign"))
    assert pack(again, tmp_path / "b.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert all(name.startswith("foreign/") for name in archive.namelist())
    assert check(tmp_path / "a.zip") == []


def test_leftovers_stay_behind(foreign: Path, tmp_path: Path) -> None:
    for name in ("runs/a.txt", ".git/config.txt", "models/checkpoint_1.pt"):
        (foreign / name).parent.mkdir(exist_ok=True)
        shutil.copy(foreign / "models" / "model.pt", foreign / name)
    found = module.collect(foreign)
    assert not [name for name in found if "runs" in name or ".git" in name or "checkpoint" in name]


def test_large_files_are_named(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", (foreign / "models" / "model.pt").stat().st_size - 1)
    with pytest.raises(ConfigError, match="model.pt"):
        pack(foreign, tmp_path / "a.zip")
    target = pack(foreign, tmp_path / "out", url="https://example.org/files/")
    assert not (target / "models" / "model.pt").exists()
    (entry,) = yaml.safe_load((target / "large_files.yml").read_text())["large_files"]
    assert entry["url"] == "https://example.org/files/models/model.pt"
    assert entry["hash_val"] in (foreign / "models" / "sha256.txt").read_text()
    assert check(target) == []


def test_what_breaks_a_rule_is_not_packed(foreign: Path, tmp_path: Path) -> None:
    (foreign / "run.sh").write_text("")
    for name in ("out", "out.zip"):
        with pytest.raises(DataError, match="run.sh"):
            pack(foreign, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_nothing_is_overwritten_but_a_zip(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        pack(foreign, tmp_path / "full")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        pack(foreign, tmp_path / "file" / "out")
    (tmp_path / "old.zip").write_text("old")
    (foreign / "LICENSE").rename(foreign / "no LICENSE.txt")
    with pytest.raises(DataError, match="LICENSE"):
        pack(foreign, tmp_path / "old.zip")
    assert (tmp_path / "old.zip").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "foreign", "full", "old.zip"]


def test_as_a_command(foreign: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    shown = CliRunner().invoke(main, ["bundle", "pack", str(foreign), "-o", str(target)])
    assert (shown.exit_code, shown.output) == (0, f"{target}\n")
    assert CliRunner().invoke(main, ["bundle", "check", str(target)]).exit_code == 0
    listed = CliRunner().invoke(main, ["bundle", "list", str(foreign), "--json"])
    assert json.loads(listed.output)[0]["name"] == "foreign"
    assert CliRunner().invoke(main, ["bundle", "pack", "nothing", "-o", str(target)]).exit_code == 4
