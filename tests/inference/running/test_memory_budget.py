"""Memory to plan with against what the system says, and processes that keep within what they were allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends import backend
from mdcsrn.inference.running.memory import (
    FREE_MEMORY_SHARE,
    GIB,
    MAX_PROCESS_BYTES,
    MIN_NETWORK_BYTES,
    RESERVE_BYTES,
    VOLUMES,
    available,
    budget,
    give_back,
    resident,
    slab_bytes,
)
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.networks import MDCSRN, save_weights
from mdcsrn.networks.slab import SlabMDCSRN

linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="read from /proc")


def proc(folder: Path, free_kib: int, groups: str = "0::/\n") -> Path:
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free_kib} kB\nBuffers: 1 kB\n")
    (folder / "self" / "cgroup").write_text(groups)
    (folder / "self" / "statm").write_text("1000 100 10 1 0 1 0\n")
    return folder


def group(folder: Path, names: tuple[str, str, str], limit: str, usage: int, droppable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {droppable}\nfile 9\n")


FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = ("memory.max", "memory.current", "inactive_file")


@linux
def test_free_memory_is_that_of_the_system() -> None:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert 0 < available() <= 1.05 * int(lines["MemAvailable"].split()[0]) * 1024  # others come and go meanwhile


@linux
def test_resident_memory_is_that_of_the_process() -> None:
    before = resident()
    held = np.ones(300 * 2**20, dtype=np.uint8)
    grown = resident() - before
    assert 0.95 * held.nbytes < grown < 1.3 * held.nbytes
    status = Path("/proc/self/status").read_text()
    kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident() == pytest.approx(kib * 1024, rel=0.05)


def test_a_machine_without_containers(tmp_path) -> None:
    assert available(proc(tmp_path / "proc", 4 << 20), tmp_path / "none") == 4 * GIB


def test_a_container_of_version_2_and_its_file_pages(tmp_path) -> None:
    """Pages of files that were read count as used, though the kernel drops them for whoever needs memory."""
    group(tmp_path / "groups", SECOND, str(3 * GIB), usage=int(2.5 * GIB), droppable=2 * GIB)
    assert available(proc(tmp_path / "proc", 4 << 20), tmp_path / "groups") == int(2.5 * GIB)


def test_the_tightest_of_nested_groups(tmp_path) -> None:
    groups = tmp_path / "groups"
    group(groups / "batch", SECOND, str(2 * GIB), GIB, 0)
    group(groups / "batch" / "job", SECOND, "max", GIB, 0)
    process = proc(tmp_path / "proc", 8 << 20, "1:name=systemd:/other\n0::/batch/job\n")
    assert available(process, groups) == GIB
    group(groups / "batch" / "job", SECOND, str(GIB), GIB // 2, 0)
    assert available(process, groups) == GIB // 2
    group(groups / "batch" / "job", SECOND, str(GIB // 4), GIB // 2, 0)
    assert available(process, groups) == 0, "never negative"


@pytest.mark.parametrize("path", ["/jobs/7", "/as/the/host/names/it"])
def test_groups_of_version_1(tmp_path, path) -> None:
    """In a container the process may be told the host's path, while it sees its own group at the root."""
    groups = tmp_path / "groups"
    group(groups / "memory" / "jobs/7" if path == "/jobs/7" else groups / "memory", FIRST, str(GIB), 0, 0)
    if path == "/jobs/7":
        group(groups / "memory", FIRST, "9223372036854771712", 0, 0)
    process = proc(tmp_path / "proc", 8 << 20, f"4:cpu,cpuacct:/x\n3:memory:{path}\n0::/\n")
    assert available(process, groups) == GIB


def test_a_broken_report_of_the_system_is_no_error(tmp_path) -> None:
    process = proc(tmp_path / "proc", 4 << 20, "nonsense\n::\n0::/a:b\n")
    (process / "meminfo").write_text("")
    assert available(process, tmp_path) > 0  # half of the machine's


def test_a_budget_that_was_given() -> None:
    voxels = 1_000_000
    give_back()  # as the budget does
    expected = 4.0 * GIB - RESERVE_BYTES - VOLUMES * voxels - resident()
    assert budget(voxels, 4.0) == pytest.approx(expected, abs=0.02 * GIB)
    assert budget(voxels, 0.001) < 0


def test_a_budget_of_the_machine() -> None:
    free = available() * FREE_MEMORY_SHARE
    assert budget(0) == pytest.approx(min(free, MAX_PROCESS_BYTES - resident()), rel=0.05)
    # Volumes that take all of the 6 GiB leave the network its least, where the machine has that.
    voxels = int(MAX_PROCESS_BYTES / VOLUMES)
    assert budget(voxels) == pytest.approx(min(free - MAX_PROCESS_BYTES, MIN_NETWORK_BYTES), rel=0.05)


def test_a_slab_takes_more_with_every_plane_and_voxel() -> None:
    slab = SlabMDCSRN(MDCSRN(), 4)
    one = slab_bytes(slab, "openvino", "float32", 8, 10_000)
    assert slab_bytes(slab, "openvino", "bfloat16", 8, 10_000) < one
    assert one < slab_bytes(slab, "openvino", "float32", 16, 10_000)
    assert one < slab_bytes(slab, "openvino", "float32", 8, 20_000)


def test_too_little_is_an_error_with_a_remedy() -> None:
    low = torch.rand(40, 40, 40)
    with pytest.raises(ConfigError, match="too small for one slab") as caught:
        SlabRunner(MDCSRN().eval(), "eager", "float32", max_memory=0.05).run(
            low, torch.ones_like(low, dtype=torch.bool)
        )
    assert "remedy: allow" in str(caught.value)
    for nonsense in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="GiB"):
            SlabRunner(MDCSRN(), max_memory=nonsense)


LIMITED = """
import resource
from mdcsrn.inference.running.memory import GIB, available
resource.setrlimit(resource.RLIMIT_AS, (8 * GIB, 8 * GIB))
print(available())
"""


@linux
def test_a_limit_of_the_shell() -> None:
    """Batch systems limit the address space; what the process has mapped already is gone from it."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 8 * GIB


# VmHWM, since ru_maxrss would begin at the peak of the process that started it.
PEAK = """
import json, pathlib, re, sys
import numpy, torch
from mdcsrn.inference.planning.models import find_model
from mdcsrn.inference.pipeline import predict
from mdcsrn.inference.planning.settings import RunSettings
from mdcsrn.inference.planning.task import Task
from mdcsrn.io import Volume
backend, precision, gib, flips = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "True"
model = find_model(model=sys.argv[5])
array = numpy.random.default_rng(0).gamma(2, 100, (32, 48, 48)).astype(numpy.float32)
settings = RunSettings(backend=backend, precision=precision, max_memory=gib, uncertainty=flips)
found = predict(Volume(array, numpy.eye(4)), Task("factor", factor=(1, 1.5, 1.5)), settings, model=model)
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 2**20
print(json.dumps({"peak": peak, "planes": found.facts["planes"], "columns": found.facts["columns"]}))
"""


@linux
@pytest.mark.long
@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(("name", "gib"), [("eager", "0.85"), ("openvino", "0.65")])
def test_a_prediction_stays_within_what_it_was_allowed(name, gib, flips, tmp_path) -> None:
    """The libraries take half of it, so it is well below what the fastest plan of the plain network would take."""
    done = predicted(name, gib, flips, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["peak"] <= float(gib)
    assert found["columns"] > 1 or found["planes"] < 32, "the limit was felt"


@linux
@pytest.mark.long
def test_what_is_hardly_enough_is_kept_or_refused(tmp_path) -> None:
    """Eight passes over several shapes of columns: the networks kept of the others must not add up."""
    done = predicted("openvino", "0.6", True, tmp_path)
    if done.returncode == 0:
        assert json.loads(done.stdout.splitlines()[-1])["peak"] <= 0.6
    else:
        assert "too small for one slab with its margins" in done.stderr


def predicted(name: str, gib: str, flips: bool, folder: Path) -> subprocess.CompletedProcess[str]:
    """PEAK in a process of its own, with the plain network."""
    if (reason := backend(name).available()) is not None:
        pytest.skip(reason)
    save_weights(folder / "plain.pt", MDCSRN())
    command = [sys.executable, "-c", PEAK, name, "float32", gib, str(flips), str(folder / "plain.pt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@linux
def test_freed_memory_is_given_back() -> None:
    """Blocks below the C library's threshold stay with the process when they are freed."""
    held = [torch.ones(25_000) for _ in range(3_000)]
    size, full = sum(block.nbytes for block in held), resident()
    held = held[-1:]  # at the top of the heap, which therefore does not shrink by itself
    if full - resident() > 0.5 * size:
        pytest.skip("this C library returns freed memory by itself")
    give_back()
    assert full - resident() > 0.8 * size
    assert float(held[0].sum()) == 25_000
