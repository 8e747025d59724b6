"""The table of a run on two processes is that of all subjects, each once."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from mdcsrn.evaluation import ComparisonTable

idist.initialize("gloo")
# Three subjects on two processes: the sampler repeats the first one to even them out.
mine = {0: [0, 2], 1: [1, 0]}[idist.get_rank()]

def step(engine, index):
    generator = torch.Generator().manual_seed(index)
    truth = torch.rand(1, 12, 12, 12, generator=generator) + 0.1
    label = MetaTensor(truth, meta={"filename_or_obj": f"/study/sub-{index}.nii.gz"})
    return [{"image": truth * 0.9, "label": label, "pred": truth + 0.01 * (index + 1)}]

engine = Engine(step)
table = ComparisonTable(sys.argv[1], {"reduction": [1, 2, 2]}, baselines=["zero-filled"])
table.attach(engine)
engine.run(mine)
idist.finalize()
"""


def test_rows_of_two_processes_are_gathered_once(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "run.py"), str(tmp_path / "eval")],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = list(csv.DictReader((tmp_path / "eval" / "per_subject.csv").open()))
    assert sorted({line["subject"] for line in lines}) == ["sub-0", "sub-1", "sub-2"]
    assert len(lines) == 3 * 2 * 2
    assert done.stdout.count("3 subjects | region: head") == 1
