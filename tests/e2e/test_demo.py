"""The demonstration as `make demo` runs it: training, evaluation, inference, table and picture."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}  # a processor without bfloat16, pretended


@pytest.mark.long
def test_demo_on_a_processor_without_bfloat16(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "demo.py"), "--output", str(tmp_path)]
    environment = {**os.environ, **AVX2}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout.startswith("about "), "an estimate comes first"
    said = result.stdout + result.stderr
    assert "this run computes in float32" in said
    assert len(re.findall(r"progress: step \d+ of \d+ .* left", said)) > 1
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["psnr_db"]["sr"] > report["psnr_db"]["zero_filled"]
    assert report["sr_is_higher"] is True
    picture = np.asarray(Image.open(tmp_path / "demo.png").convert("L"))
    assert min(picture.shape) > 400
    assert picture.std() > 10
    assert (tmp_path / "evaluate" / "per_subject.csv").is_file()
    assert len(list((tmp_path / "inference").glob("*_sr.nii.gz"))) == 1
