"""`make` with a Python that is too old, or missing, says so and makes nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-f", str(ROOT / "Makefile"), "-C", str(ROOT), f"VENV={folder / 'venv'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_old_python_is_refused_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "Python 3.9.2"; fi\nexit 1\n')
    old.chmod(0o755)
    done = make(tmp_path, f"PYTHON={old}", "install")
    assert done.returncode != 0
    assert "needs Python >= 3.11" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_refused_by_name(tmp_path: Path) -> None:
    done = make(tmp_path, f"PYTHON={tmp_path / 'nowhere'}", "install")
    assert done.returncode != 0
    assert "PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_bare_make_lists_the_targets(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert done.returncode == 0
    for target in ("demo", "test", "test-long", "lint", "format", "clean"):
        assert f"make {target} " in done.stdout
