"""``mdcsrn predict`` as it is installed: the shipped weights, and the fastest backend that is here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "mdcsrn", *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, make_head: Callable, numpy_low_pass: Callable, save: Callable
) -> Path:
    scan = numpy_low_pass(make_head((24, 96, 88)), (1, 2, 2))
    return save(scan, tmp_path_factory.mktemp("source") / "scan_T1w.nii.gz", np.diag([1.2, 1, 1.1, 1]))


@pytest.fixture(scope="module")
def first(source: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    output = source.with_name("first.nii.gz")
    done = run("predict", source, "-o", output, "--json")
    assert done.returncode == 0, done.stderr
    return output, done


def test_json(first: tuple) -> None:
    _, done = first
    (case,) = json.loads(done.stdout)
    record = case["record"]
    assert record["certificate"]["after_rounding"]["relative_error"] <= 1e-5
    weights = ROOT / "bundles" / record["inference"]["weights"]["bundle"] / "models" / "model.pt"
    assert record["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["inference"]["backend"]
    assert record["inference"]["precision"]
    assert {"read", "network"} <= set(record["timings_s"])


def test_quiet_is_silent_and_the_result_is_the_same(first: tuple, source: Path) -> None:
    output, _ = first
    quiet = run("predict", source, "-o", source.with_name("quiet.nii.gz"), "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    one, other = (nib.load(path).get_fdata() for path in (output, source.with_name("quiet.nii.gz")))
    assert np.linalg.norm(one - other) <= 1e-3 * np.linalg.norm(one)  # slabs depend on the memory that is free


def test_piped_text_is_plain_and_the_page_is_there(source: Path) -> None:
    output, page = source.with_name("piped.nii.gz"), source.with_name("page.html")
    piped = run("predict", source, "-o", output, "--report", page)
    assert piped.returncode == 0, piped.stderr
    assert all(c.isprintable() or c == "\n" for c in piped.stdout + piped.stderr)
    assert "<html" in page.read_text()
    verified = run("verify", output)
    assert verified.returncode == 0, verified.stdout
    assert "not checked" not in verified.stdout
