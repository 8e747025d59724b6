"""How many threads a backend takes where nothing is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mdcsrn.processor import usable_threads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("asked", "threads"),
    [(None, CORES), ("1", 1), ("1,4", 1), (" 1 ", 1), ("100000", CORES), ("0", CORES), ("", CORES), ("many", CORES)],
)
def test_the_environment_may_ask_for_fewer_than_the_cores(
    asked: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_threads() == threads


def test_a_processor_that_only_pretends_to_be_older_has_no_bfloat16() -> None:
    code = "from mdcsrn.processor import has_bfloat16; print(has_bfloat16())"
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=older, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
