"""Memory stays level over a folder of scans, and the slope that says so is that of a straight line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soak

ROOT = Path(__file__).resolve().parents[2]
# Large blocks are mapped one by one and given back whole. Otherwise the place of a few lasting small blocks holds or
# frees some 20 MiB of heap at a time, by chance: over twenty volumes a slope of 100 MiB for 100 that is no leak.
NO_FRAGMENTS = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}


def test_growth_is_the_slope_after_the_warm_up() -> None:
    held = [1000.0, *(50.0 * n for n in range(4)), *(200 + 0.02 * n for n in range(45))]
    assert soak.growth(held, 0.1) == pytest.approx(2.0, abs=1e-6)
    assert soak.growth(list(np.full(50, 7.0))) == 0


@pytest.mark.long
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "eager"])
def test_memory_stays_level_over_forty_volumes(backend: str) -> None:
    """Recorded and compiled anew for each volume, OpenVINO took 1300 MiB for 100 of them."""
    if backend != "eager":
        pytest.importorskip(backend)
    words = ["--child", backend, "--precision", "float32", "--cases", "40"]
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | NO_FRAGMENTS)
    assert soak.growth(json.loads(done.stdout.splitlines()[-1])["mib"], warm_up=0.5) < 30
