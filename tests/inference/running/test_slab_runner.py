"""The engine where things go wrong: memory that is refused, errors of a backend, nothing to do; and what it tells."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, MissingDependencyError
from mdcsrn.inference.backends import Runner, Tensors, backend
from mdcsrn.inference.backends.base import Job
from mdcsrn.inference.backends.eager import EagerBackend
from mdcsrn.inference.running import slab_runner as module
from mdcsrn.inference.running.slab_runner import SlabRunner

SHAPE = (40, 37, 35)


class Grudging(EagerBackend):
    """The eager backend on a machine with little memory: slabs above `most` voxels are refused."""

    def __init__(self, most: int, error: Exception, late: bool) -> None:
        super().__init__()
        self.most, self.error, self.late = most, error, late
        self.slabs: list[int] = []

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        """Refuse at once, or (late) in the second call."""
        self.slabs.append(job.example[0].numel())
        refused = job.example[0].numel() > self.most
        if refused and not self.late:
            raise self.error
        run, calls = super()._prepare(module, job), 0

        def counted(inputs: Tensors) -> Tensors:
            nonlocal calls
            calls += 1
            if refused and calls == 2:
                raise self.error
            return run(inputs)

        return counted


@pytest.fixture
def low() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def region() -> Tensor:
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[3:36, 2:37, 5:30] = True
    return inside


def grudging(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception, late: bool = False) -> Grudging:
    found = Grudging(most, error, late)
    monkeypatch.setattr(module, "candidates", lambda *settings: [found])
    return found


REFUSALS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("Exception from core.cpp:117:\nCheck 'ptr' failed:\nFailed to allocate 84639840 bytes of memory\n"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: str(error)[:20])
@pytest.mark.parametrize("late", [False, True])
def test_refused_memory_means_smaller_slabs_and_the_same_result(
    random_network: Callable, monkeypatch, caplog, low, region, error, late
) -> None:
    caplog.set_level(logging.WARNING)  # nncf, used in other tests, raises that of every handler it finds
    network = random_network()
    wanted = SlabRunner(network, "eager", "float32").run(low, region)
    slow, shares = grudging(monkeypatch, 3_000, error, late), []
    engine = SlabRunner(network, precision="float32")
    result = engine.run(low, region, shares.append)
    torch.testing.assert_close(result, wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()))
    sizes = [size for size, before in zip(slow.slabs, [0, *slow.slabs], strict=False) if size != before]
    assert sizes[0] > 3_000 >= sizes[-1], "the first was refused, the last was not"
    assert all(later < earlier for earlier, later in zip(sizes, sizes[1:], strict=False)), "nothing is tried twice"
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert "memory was refused" in caplog.text
    words = [line for line in str(error).splitlines() if "alloc" in line or "memory" in line] or ["MemoryError"]
    assert words[-1].strip() in caplog.text, "the line that speaks of memory"
    assert engine.facts["planes"] >= 2


@pytest.mark.parametrize("late", [False, True])
def test_memory_that_is_always_refused(random_network, monkeypatch, low, region, late) -> None:
    slow = grudging(monkeypatch, 0, MemoryError(), late)
    with pytest.raises(ConfigError, match="not enough memory for the smallest slabs"):
        SlabRunner(random_network(), precision="float32").run(low, region)
    assert len(slow.slabs) < 20, "it gives up"


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("no"), KeyboardInterrupt()])
def test_other_errors_pass_through(random_network, monkeypatch, low, region, error) -> None:
    slow = grudging(monkeypatch, 0, error)
    with pytest.raises(type(error)) as caught:
        SlabRunner(random_network(), precision="float32").run(low, region)
    assert caught.value is error
    assert len(slow.slabs) == 1


# A real limit in a process of its own, set when all libraries are loaded.
CHILD = """
import re, resource, sys, pathlib
import numpy, torch
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.networks import MDCSRN
torch.manual_seed(0)
network = MDCSRN(2, 2, 8).eval().requires_grad_(False)
torch.nn.init.normal_(network.recon.weight, std=0.1)
low, region = torch.rand(64, 64, 64), torch.ones(64, 64, 64, dtype=torch.bool)
engine = SlabRunner(network, sys.argv[1], "float32", max_memory=4.0, threads=1)
engine.run(low[:24, :24, :24].contiguous(), region[:24, :24, :24])
if sys.argv[2] == "limited":
    mapped = int(re.search(r"VmSize:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 50 * 2**20,) * 2)
numpy.save(sys.argv[3], engine.run(low, region).numpy())
print(engine.facts["planes"], engine.facts["columns"])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the limit is set from /proc")
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_process_whose_memory_ends(tmp_path, name) -> None:
    if (reason := backend(name).available()) is not None:
        pytest.skip(reason)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    found = {}
    for kind in ("free", "limited"):
        command = [sys.executable, "-c", CHILD, name, kind, str(tmp_path / f"{kind}.npy")]
        found[kind] = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert found[kind].returncode == 0, found[kind].stderr
    assert "memory was refused" in found["limited"].stderr
    assert "memory was refused" not in found["free"].stderr
    assert found["limited"].stdout != found["free"].stdout
    free, limited = (np.load(tmp_path / f"{kind}.npy") for kind in ("free", "limited"))
    np.testing.assert_allclose(limited, free, rtol=0, atol=5e-6 * np.abs(free).max())


def test_an_empty_region_changes_nothing(random_network, low) -> None:
    shares: list[float] = []
    result = SlabRunner(random_network()).run(low, torch.zeros(SHAPE, dtype=torch.bool), shares.append)
    assert torch.equal(result, low)
    assert result.data_ptr() != low.data_ptr(), "a copy: the caller may write to it"
    assert shares == [1.0]


def test_the_input_stays_as_it_is(random_network, low, region) -> None:
    before, inside = low.clone(), region.clone()
    SlabRunner(random_network(space_to_depth=(1, 2, 2)), "eager", "float32").run(low, region)
    assert torch.equal(low, before)
    assert torch.equal(region, inside)


def test_one_engine_runs_volumes_of_different_sizes(random_network, low, region) -> None:
    network = random_network()
    engine = SlabRunner(network, "eager", "float32")
    engine.run(low, region)
    small = low[:9, :10, :3].contiguous()
    result = engine.run(small, torch.ones_like(small, dtype=torch.bool))
    torch.testing.assert_close(result, network(small[None, None])[0, 0], rtol=0, atol=1e-5)


def test_the_same_again_to_the_last_bit(random_network, low, region) -> None:
    network = random_network()
    first, second = (SlabRunner(network, "eager", "float32").run(low, region) for _ in range(2))
    assert torch.equal(first, second)


def test_facts_are_plain_values(random_network, low, region) -> None:
    engine = SlabRunner(random_network(), threads=1)
    engine.run(low, region)
    facts = json.loads(json.dumps(engine.facts, allow_nan=False))
    assert facts == engine.facts
    assert facts["threads"] == 1
    assert facts["device"] == "cpu" or facts["backend"] == "cuda"
    assert facts["region_share"] == pytest.approx(float(region.float().mean()), abs=1e-4)
    assert facts["computed_share"] > facts["region_share"]
    assert {"axis", "planes", "columns", "precision", "tried", "compile_s", "network_s"} <= set(facts)


def test_settings_out_of_range() -> None:
    low, region = torch.rand(8, 8, 8), torch.ones(8, 8, 8, dtype=torch.bool)
    from mdcsrn.networks import MDCSRN

    network = MDCSRN(1, 1, 1).eval()
    with pytest.raises(ConfigError, match="unknown backend"):
        SlabRunner(network, "abacus").run(low, region)
    with pytest.raises(ConfigError, match="unknown device"):
        SlabRunner(network, device="tpu").run(low, region)
    with pytest.raises(ConfigError, match="does not run on that device"):
        SlabRunner(network, "eager", device="cuda").run(low, region)
    with pytest.raises(ConfigError, match="a slab must hold"):
        SlabRunner(MDCSRN(1, 4, 1).eval(), "eager", "float32", planes=2).run(low, region)
    if not torch.cuda.is_available():
        with pytest.raises(MissingDependencyError, match="cuda"):
            SlabRunner(network, "cuda").run(low, region)
