"""The command that a remedy names is one that works for this installation."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path

import pytest

from mdcsrn import optional
from mdcsrn.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    optional.install_command.cache_clear()


def test_an_installed_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optional, "_CHECKOUT", tmp_path)
    assert optional.install_command("report") == "pip install 'mdcsrn[report]'"
    optional.install_command.cache_clear()


def test_a_checkout_keeps_its_pins_and_may_lie_in_a_folder_with_spaces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "my code"
    home.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (home / name).write_text("")
    monkeypatch.setattr(optional, "_CHECKOUT", home)
    words = shlex.split(optional.install_command("dicom"))
    assert words == ["pip", "install", "mdcsrn[dicom]", "-c", str(home / "constraints.txt")]
    optional.install_command.cache_clear()

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    words = shlex.split(optional.install_command("dicom"))
    assert words == ["pip", "install", "-e", f"{home}[dicom]", "-c", str(home / "constraints.txt")]
    optional.install_command.cache_clear()


def test_every_extra_that_a_remedy_names_exists() -> None:
    import re
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (ROOT / "mdcsrn").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"""install_command\(['"](\w+)['"]\)""", text))
        assert path.name == "optional.py" or "pip install 'mdcsrn[" not in text, path  # one function says it
    assert {"report", "dicom", "fast", "int8", "demo", "cluster"} <= named <= set(extras)


@pytest.mark.parametrize("blocked", [None, "hook"])
def test_what_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch, blocked: str | None) -> None:
    if blocked is None:
        monkeypatch.setitem(sys.modules, "jinja2", None)
    else:

        class Hook:
            def find_spec(self, name: str, *rest: object) -> None:
                if name == "jinja2":
                    raise ImportError(name)

        monkeypatch.delitem(sys.modules, "jinja2", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Hook(), *sys.meta_path])
    assert not optional.is_installed("jinja2")
    with pytest.raises(MissingDependencyError, match=r"--report needs jinja2.*mdcsrn\[report\]"):
        optional.need("--report", "report", "json", "jinja2")
