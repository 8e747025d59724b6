"""`import mdcsrn` and `mdcsrn --help` cost nothing: they load none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "monai", "ignite", "numpy", "scipy", "nibabel", "SimpleITK", "tensorboard", "matplotlib", "nilearn")
REPORT = f"import sys, json; print('LOADED', json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"


def loaded(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter holds after `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = (text for text in done.stdout.splitlines() if text.startswith("LOADED "))
    return list(json.loads(line.removeprefix("LOADED ")))


def test_the_probe_sees_a_heavy_library() -> None:
    assert loaded(f"import numpy; {REPORT}") == ["numpy"]


def test_import_mdcsrn_loads_no_heavy_library() -> None:
    assert loaded(f"import mdcsrn; {REPORT}") == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_the_command_line_starts_without_heavy_libraries(arguments: list[str]) -> None:
    start = f"import sys; sys.argv = {['mdcsrn', *arguments]!r}; from mdcsrn.cli.main import main; main()"
    code = f"import atexit; atexit.register(lambda: exec({REPORT!r})); {start}"
    assert loaded(code) == []
