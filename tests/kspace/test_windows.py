"""The registry of windows: a window that is added is accepted everywhere and inherits every property test."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import pytest
import torch

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, Window, WindowParameter, find_window, register_window, window, window_names
from mdcsrn.kspace.windows import WINDOWS

TESTS = Path(__file__).resolve().parents[1]
PROPERTY_TESTS = ("kspace/test_lowpass.py", "kspace/test_consistency.py", "properties/test_physics.py")
TOYS = [
    Window("toy-cosine", lambda u, _: torch.cos(u * math.pi / 2)),
    Window("toy-cone", lambda u, p: 1 - p * u, WindowParameter(default=0.8, low=0.0, high=1.0), radial=True),
    Window("toy-box"),
]


@pytest.fixture
def registry():
    before = dict(WINDOWS)
    yield
    WINDOWS.clear()
    WINDOWS.update(before)


def runs_of(module, name):
    """(test, arguments) of every test of a module that is parametrised over windows, with this window."""
    for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
        marks = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        if hasattr(test, "hypothesis"):
            yield test, {}  # draws its window from the registry as it was at import
        elif any(names == "kind" and name in values for names, values in marks):
            keys = [(names,) if isinstance(names, str) else tuple(names) for names, _ in marks]
            choices = [[name] if key == ("kind",) else values for key, (_, values) in zip(keys, marks, strict=True)]
            for chosen in itertools.product(*choices):
                arguments = {}
                for key, value in zip(keys, chosen, strict=True):
                    arguments.update(zip(key, (value,) if len(key) == 1 else value, strict=True))
                yield test, arguments


def run_inherited(path, name):
    """Import a test module anew, so that it reads the registry as it is now; run its tests with one window."""
    spec = importlib.util.spec_from_file_location(f"with_{name}_{Path(path).stem}", TESTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ran = set()
    for test, arguments in runs_of(module, name):
        test(**arguments)
        ran.add(test.__name__)
    return ran


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_a_new_window_inherits_the_property_tests(toy):
    register_window(toy)
    names = {test for path in PROPERTY_TESTS for test in run_inherited(path, toy.name)}
    expected = {
        "test_dc_is_kept_exactly_and_real_stays_real_and_signed",
        "test_low_pass_is_self_adjoint",
        "test_projection_is_idempotent_and_keeps_dc",
        "test_low_pass_keeps_the_mean_and_never_adds_energy",
    }
    apodised = {
        "test_apodised_measurement_is_divided_by_its_window_above_the_threshold",
        "test_certificate_with_apodisation",
    }
    expected |= {"test_binary_windows_are_idempotent"} if toy.is_binary else apodised
    assert expected <= names


@pytest.mark.usefixtures("registry")
def test_a_wrong_window_fails_them():
    """The inherited tests judge: weights above 1 at the centre change the mean."""
    register_window(Window("toy-cosine", lambda u, _: 1.1 - u))
    with pytest.raises(AssertionError):
        run_inherited(PROPERTY_TESTS[0], "toy-cosine")


@pytest.mark.usefixtures("registry")
def test_a_degradation_takes_a_registered_window():
    register_window(TOYS[1])
    spec = DegradationSpec((1, 2, 2), window="toy-cone")
    assert spec.window_parameter == 0.8
    assert DegradationSpec.from_dict(spec.to_dict()) == spec
    u = (torch.arange(-6, 6).abs().double() / 3)[6:9]
    assert torch.allclose(window((1, 12, 12), spec)[0, 6, 6:9], 1 - 0.8 * u)
    with pytest.raises(ConfigError, match="out of range"):
        DegradationSpec(window="toy-cone", window_parameter=2)


def test_names_and_refusals():
    assert window_names() == ("box", "ellipsoid", "tukey", "hamming", "gaussian")
    assert set(window_names(binary=True)) | set(window_names(binary=False)) == set(window_names())
    assert find_window("tukey").parameter == WindowParameter(0.5, 0.0, 1.0)
    with pytest.raises(ConfigError, match="unknown k-space window"):
        find_window("hann")
    with pytest.raises(ConfigError, match="is registered"):
        register_window(Window("hamming"))
