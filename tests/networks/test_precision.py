"""What ``auto`` comes to: hardware first, then the clock; an emulated bfloat16 is kept, with a warning by name."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys

import pytest
import torch

from mdcsrn.errors import ConfigError
from mdcsrn.networks import MDCSRN, precision
from mdcsrn.networks.precision import autocast, resolve_precision
from mdcsrn.processor import has_bfloat16

PATCH = torch.rand(2, 1, 16, 16, 16)


def network() -> MDCSRN:
    return MDCSRN(blocks=1, units=1, growth=4)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:bfloat16-emulated")
def test_a_precision_by_name_is_kept(name: str) -> None:
    assert resolve_precision(name, network(), PATCH) == name


def test_an_unknown_one_is_refused_with_what_is_allowed() -> None:
    for name in ("float16", "", "Auto"):
        with pytest.raises(ConfigError, match="auto, float32, bfloat16"):
            resolve_precision(name, network(), PATCH)
    with pytest.raises(ConfigError, match="float32, bfloat16"):
        autocast("cpu", "auto")  # to be resolved first


@pytest.mark.parametrize(("half", "chosen"), [(0.1, "bfloat16"), (10.0, "float32")])
def test_auto_is_what_the_clock_says_where_there_is_hardware(
    half: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "step_seconds", lambda n, p, name, t: half if name == "bfloat16" else 1.0)
    assert resolve_precision("auto", network(), PATCH) == chosen


def test_auto_is_float32_without_hardware_and_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "step_seconds", lambda *_: pytest.fail("an emulated step takes minutes"))
    assert resolve_precision("auto", network(), PATCH) == "float32"


@pytest.mark.parametrize("training", [True, False])
def test_a_timed_step_leaves_network_and_draws_alone(training: bool) -> None:
    subject = network().train(training)
    before, draws = copy.deepcopy(subject.state_dict()), torch.random.get_rng_state()
    assert precision.step_seconds(subject, PATCH, "float32", training) > 0
    assert all(torch.equal(value, before[name]) for name, value in subject.state_dict().items())
    assert all(p.grad is None for p in subject.parameters())
    assert torch.equal(torch.random.get_rng_state(), draws)


def test_an_older_processor_by_a_real_process() -> None:
    """Where bfloat16 is emulated auto takes float32, and bfloat16 by name warns once, with the ratio measured there."""
    code = (
        "import torch; from mdcsrn.networks import MDCSRN\n"
        "from mdcsrn.networks.precision import resolve_precision as r\n"
        "n, x = MDCSRN(blocks=1, units=1, growth=4), torch.rand(1, 1, 8, 8, 8)\n"
        "print(*(r(p, n, x) for p in ('auto', 'bfloat16', 'bfloat16')))"
    )
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], env=older, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["float32", "bfloat16", "bfloat16"]
    (ratio,) = re.findall(r"bfloat16-emulated: .* takes (\d+) times", done.stderr)
    assert int(ratio) > 1


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")
def test_auto_runs_here() -> None:
    assert resolve_precision("auto", network(), PATCH, training=True) in ("float32", "bfloat16")
