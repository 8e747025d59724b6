"""A tile of the full network keeps to the memory that it was planned from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mdcsrn.inference import plan_core
from mdcsrn.networks import MDCSRN
from mdcsrn.processor import has_bfloat16

GIB = 2**30
# A process of its own. VmHWM, since ru_maxrss would begin at the peak of the process that started it.
NATIVE = pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")
CODE = """
import pathlib, re, sys, torch
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.networks import MDCSRN
torch.manual_seed(0)
network = MDCSRN().eval()
torch.nn.init.normal_(network.recon.weight, std=0.02)
sizes = []
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 2**20
network.register_forward_pre_hook(lambda module, args: sizes.append(tuple(args[0].shape[-3:])))
edge = int(sys.argv[1])
with torch.no_grad():
    network(torch.rand(1, 1, 24, 24, 24))
    before = peak()
    ExactTiledInferer(max_memory=4.0, precision=sys.argv[2])(torch.rand(1, 1, edge, edge, edge), network)
print(peak() - before, len(sizes) - 1)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=NATIVE)])
def test_a_tile_of_four_gib(precision: str) -> None:
    edge = int((4.0 * GIB / MDCSRN().bytes_per_voxel) ** (1 / 3))  # the largest cube that is one tile
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(edge), precision], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    gib, tiles = (float(word) for word in done.stdout.split())
    assert tiles == 1
    assert gib <= 1.1 * 4.0, "more than planned"
    assert gib >= 0.3 * 4.0, "the plan wastes most of the memory"


def test_the_plan_for_a_whole_head() -> None:
    """4 GiB cut 256x320x320 into tiles within the budget, at no more than four times the work of the whole."""
    network, shape = MDCSRN(), (256, 320, 320)
    most = int(4.0 * GIB / network.bytes_per_voxel)
    core = plan_core(shape, network.margin, network.multiple, most)
    reads = [
        [min(start + edge + m, n) - max(start - m, 0) for start in range(0, n, edge)]
        for n, edge, m in zip(shape, core, network.margin, strict=True)
    ]
    assert max(reads[0]) * max(reads[1]) * max(reads[2]) <= most
    assert sum(reads[0]) * sum(reads[1]) * sum(reads[2]) <= 4 * shape[0] * shape[1] * shape[2]
