"""Every backend that can run here against the plain network in float64, and states handed from call to call."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends import NAMES, Backend, backend, candidates
from mdcsrn.inference.backends.base import as_tuple
from mdcsrn.inference.backends.select import psnr
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN
from mdcsrn.processor import has_bfloat16, peak_gflops, usable_threads

FAST = [name for name in NAMES if name != "compile"]  # torch.compile takes half a minute: one long test below
# Relative rounding: 24 and 8 bits of mantissa over 10 layers.
LEAST_DB = {"float32": 100.0, "bfloat16": 30.0, "float16": 50.0}


def network(**arguments: object) -> MDCSRN:
    torch.manual_seed(0)
    found = MDCSRN(blocks=2, units=2, growth=4, **arguments)  # type: ignore[arg-type]
    for module in found.modules():  # statistics and weights that no symmetry hides
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, std=0.2)
    nn.init.normal_(found.recon.weight, std=0.2)
    return found.eval()


def exact(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return as_tuple(copy.deepcopy(module).double()(*(tensor.double() for tensor in inputs)))


def usable(name: str) -> Backend:
    found = backend(name)
    reason = found.available()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    return found


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("factor", [None, (1, 2, 2)])
def test_every_precision_is_close_to_float64(name: str, factor: tuple[int, int, int] | None) -> None:
    found, module = usable(name), network(space_to_depth=factor)
    x = torch.randn(1, 1, 9, 14, 11)  # the odd size is padded where there is a factor
    truth = exact(module, (x,))[0]
    peak = float(truth.abs().max())
    for precision in found.precisions():
        run = found.compile(module, (x,), precision, 1, small=(x[..., :4, :6, :5],))
        for _ in range(3):  # the first call, and both sets of results
            result = run((x,))[0]
        assert result.dtype == torch.float32
        assert result.device == found.device
        assert psnr(result.cpu(), truth, peak) > LEAST_DB[precision], precision


@pytest.mark.parametrize("name", FAST)
def test_states_go_from_slab_to_slab(name: str) -> None:
    found = usable(name)
    slab = SlabMDCSRN(network(), 4)
    torch.manual_seed(1)
    volume = torch.randn(1, 1, 20, 10, 7)

    def arguments(h: int, w: int) -> tuple[Tensor, ...]:
        states = [torch.zeros(shape) for shape in slab.state_shapes(h, w)]
        return torch.zeros(1, 1, 4, h, w), torch.ones(1, 1, slab.context + 4, 1, 1), *states

    for precision in found.precisions():
        run = found.compile(slab, arguments(10, 7), precision, 1, small=arguments(5, 5))
        _, valid, *ours = arguments(10, 7)
        truth: tuple[Tensor, ...] = tuple(ours)
        for first in range(0, 20, 4):
            x = volume[:, :, first : first + 4]
            result, *ours = run((x, valid, *ours))
            wanted, *rest = exact(slab, (x, valid, *truth))
            truth = tuple(rest)
            least = LEAST_DB[precision]
            assert psnr(result.cpu(), wanted, float(wanted.abs().max())) > least, (precision, first)
        assert [tuple(s.shape) for s in ours] == [tuple(s.shape) for s in truth]


@pytest.mark.parametrize("name", FAST)
def test_the_network_stays_as_it_is(name: str) -> None:
    found, module = usable(name), network()
    before = copy.deepcopy(module.state_dict())
    strides = [p.stride() for p in module.parameters()]
    x = torch.randn(1, 1, 6, 6, 6)
    found.compile(module, (x,), found.precisions()[0], 1, small=(x,))((x,))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert strides == [p.stride() for p in module.parameters()]


@pytest.mark.parametrize("name", FAST)
def test_results_of_a_call_outlive_the_next(name: str) -> None:
    found, module = usable(name), network()
    x = torch.randn(1, 1, 6, 7, 8)
    run = found.compile(module, (x,), "float32", 1, small=(x,))
    first = run((x,))[0]
    kept = first.clone()
    run((2 * x,))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", FAST)
def test_what_is_not_offered_is_refused(name: str) -> None:
    found = usable(name)
    x = torch.zeros(1, 1, 6, 6, 6)
    for precision in {"float16", "bfloat16", "int8", "float8"} - set(found.precisions()):
        with pytest.raises(ConfigError, match=name):
            found.compile(network(), (x,), precision)


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")
def test_openvino_computes_in_the_precision_named_and_no_other() -> None:
    """It would take bfloat16 by itself here: float32 must not be off by bfloat16's rounding, nor the other way."""
    found, module = usable("openvino"), network()
    x = torch.randn(1, 1, 8, 8, 8)
    truth = exact(module, (x,))[0]
    peak = float(truth.abs().max())
    full, half = (
        psnr(found.compile(module, (x,), precision, 1, small=(x,))((x,))[0], truth, peak)
        for precision in ("float32", "bfloat16")
    )
    assert full > 100 > 80 > half


def test_eager_bfloat16_only_where_the_processor_has_it() -> None:
    assert ("bfloat16" in backend("eager").precisions()) == has_bfloat16()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else None
    if flags is not None and "flags" in flags and "ONEDNN_MAX_CPU_ISA" not in os.environ:  # independent of torch
        assert has_bfloat16() == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_candidates_keep_to_the_device() -> None:
    assert [b.name for b in candidates()] == list(NAMES)
    assert [b.name for b in candidates(device="cuda:1")] == ["cuda"]
    assert candidates(device="cuda:1")[0].device == torch.device("cuda", 1)
    assert "cuda" not in [b.name for b in candidates(device="cpu")]
    for arguments in (("eager", "cuda"), ("auto", "tpu"), ("auto", "cuda:x"), ("auto", "cpu:0"), ("tensorrt", "auto")):
        with pytest.raises(ConfigError):
            candidates(*arguments)


def test_without_the_packages_the_reason_names_them() -> None:
    """A process in which neither package can be found."""
    code = """
import importlib.util, sys
find = importlib.util.find_spec
gone = ("openvino", "onnxruntime")
importlib.util.find_spec = lambda name, *rest: None if name in gone else find(name, *rest)
from mdcsrn.inference.backends import backend
print(backend("openvino").available()); print(backend("onnxruntime").available())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "openvino" in first and "mdcsrn[fast]" in first  # noqa: PT018
    assert "onnxruntime" in second
    assert ": onnx," not in second


HANDLED = """
import signal, sys, torch
from mdcsrn.inference.backends import backend
from mdcsrn.networks import MDCSRN
caught = []
signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
network, x = MDCSRN(blocks=1, units=1, growth=4).eval(), torch.randn(1, 1, 8, 8, 8)
with_int8 = sys.argv[1] == "int8"
found = backend("openvino", (lambda module: [(torch.randn_like(x),)] * 2) if with_int8 else None)
precisions = ("int8",) if with_int8 else found.precisions()
runs = [found.compile(network, (x,), precision, 1, small=(x,)) for precision in precisions * 2]
for index in range(len(runs)):
    runs[index]((x,))
while runs:  # the oldest first
    runs.pop(0)
    signal.raise_signal(signal.SIGUSR1)
print(len(caught) == 2 * len(precisions))
"""


@pytest.mark.parametrize("precision", ["all", "int8"])
def test_signals_are_handled_after_openvino(precision: str) -> None:
    """Its plugin replaces the stack that handlers run on; a Ctrl-C must not become a segmentation fault."""
    usable("openvino")
    if precision == "int8":
        pytest.importorskip("nncf")
    done = subprocess.run([sys.executable, "-c", HANDLED, precision], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, mdcsrn.inference.backends as b; b.candidates(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"monai", "ignite", "openvino", "onnxruntime", "onnx", "nncf", "torch._dynamo"} & set(modules)


def test_the_machines_peak_is_plausible() -> None:
    peak = peak_gflops("float32", 1, seconds=0.1)
    assert set(peak) == {"gemm", "conv"}
    assert all(0.5 < value < 1e5 for value in peak.values())
    assert usable_threads() >= 1


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled() -> None:
    found, module = usable("compile"), network()
    x = torch.randn(1, 1, 6, 8, 7)
    truth = exact(module, (x,))[0]
    for precision in found.precisions():
        run = found.compile(module, (x,), precision, 1)
        assert psnr(run((x,))[0], truth, float(truth.abs().max())) > LEAST_DB[precision]
