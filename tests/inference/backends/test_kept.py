"""What is kept between volumes: made once, used by one at a time, and never for another network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from mdcsrn.inference.backends import backend, kept
from mdcsrn.inference.backends.kept import RUNNERS, Shelf, identity, lent
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN

NAMES = ["openvino", "onnxruntime"]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MDCSRN_CACHE", "off")  # what earlier processes left counts nothing here
    RUNNERS.clear()
    yield
    RUNNERS.clear()


@pytest.fixture
def network() -> MDCSRN:
    torch.manual_seed(0)
    net = MDCSRN(blocks=2, units=2, growth=4).eval().requires_grad_(False)
    torch.nn.init.normal_(net.recon.weight, std=0.1)
    return net


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often networks were recorded, and compiled by OpenVINO."""
    from mdcsrn.inference.backends import onnxruntime, openvino

    counts = {"record": 0, "prepare": 0}

    def count(name: str, call: Callable) -> Callable:
        def counting(*arguments: object) -> object:
            counts[name] += 1
            return call(*arguments)

        return counting

    for module in (openvino, onnxruntime):
        monkeypatch.setattr(module, "trace_module", count("record", module.trace_module))
    monkeypatch.setattr(openvino.OpenVinoBackend, "_prepare", count("prepare", openvino.OpenVinoBackend._prepare))
    return counts


def volume(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, dtype=np.float32))


def run(network: MDCSRN, low: torch.Tensor, name: str, **settings: object) -> torch.Tensor:
    engine = SlabRunner(network, backend=name, precision="float32", threads=1, **settings)  # type: ignore[arg-type]
    return engine.run(low, torch.ones(low.shape, dtype=torch.bool))


def test_a_shelf_hands_a_value_to_one_taker() -> None:
    shelf: Shelf[str] = Shelf(2)
    for key in "abc":
        shelf.put(key, key.upper())
    assert [shelf.take(key) for key in "abcc"] == [None, "B", "C", None]
    assert not shelf.clear()


def test_identity_is_that_of_the_function(network: MDCSRN) -> None:
    assert identity(SlabMDCSRN(network, 4)) == identity(SlabMDCSRN(network, 8))
    assert identity(SlabMDCSRN(network, 4)) != identity(SlabMDCSRN(network, 4, axis=1))
    before = identity(SlabMDCSRN(network, 4))
    with torch.no_grad():
        network.conv0.weight[0, 0, 0, 0, 0] += 1e-3
    assert identity(SlabMDCSRN(network, 4)) != before
    assert identity(torch.nn.Conv3d(1, 1, 3)) is None


def test_volumes_of_one_shape_are_compiled_once(network: MDCSRN, counted: dict[str, int]) -> None:
    pytest.importorskip("openvino")
    first = run(network, volume((26, 28, 30)), "openvino")
    once = dict(counted)
    for _ in range(3):
        assert torch.equal(run(network, volume((26, 28, 30)), "openvino"), first)
    assert counted == once


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_recorded_once_for_an_axis(name: str, network: MDCSRN, counted: dict[str, int]) -> None:
    pytest.importorskip(name)
    expected = network(volume((20, 25, 27))[None, None])[0, 0]
    for planes in (3, 4, 6, 8):
        result = run(network, volume((20, 25, 27)), name, planes=planes)
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-5)
    for shape in ((20, 24, 31), (26, 41, 24), (33, 24, 25)):
        run(network, volume(shape), name)
    assert counted["record"] <= 4  # three axes, and the network of the probe


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_was_trained_further_is_prepared_anew(name: str, network: MDCSRN) -> None:
    pytest.importorskip(name)
    low = volume((24, 24, 24))
    run(network, low, name)
    with torch.no_grad():
        network.recon.weight.mul_(3)
    torch.testing.assert_close(run(network, low, name), network(low[None, None])[0, 0], rtol=0, atol=2e-5)


def test_two_threads_never_share_a_runner(network: MDCSRN) -> None:
    pytest.importorskip("openvino")
    lows = [volume((24, 26, 25), seed) for seed in range(2)]
    expected = [run(network, low, "openvino") for low in lows]
    found: dict[int, torch.Tensor] = {}

    def work(index: int) -> None:
        for _ in range(3):
            found[index] = run(network, lows[index], "openvino")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], expected[index]) for index in range(2))


def test_a_runner_is_dropped_after_an_error_and_where_it_is_not_worth_keeping(network: MDCSRN) -> None:
    pytest.importorskip("openvino")
    slab = SlabMDCSRN(network, 4)
    from mdcsrn.inference.running.streaming import example_of

    example = example_of(slab, 12, 12)
    with pytest.raises(MemoryError), lent(backend("openvino"), slab, example, "float32", 1, example):
        raise MemoryError
    with lent(backend("eager"), slab, example, "float32", 1) as runner:
        runner(example)
    assert not RUNNERS.clear()
    with lent(backend("openvino"), slab, example, "float32", 1, example) as runner:
        runner(example)
    assert kept.RUNNERS.clear()


def test_openvino_leaves_the_setting_of_onednn_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    import os

    from mdcsrn.inference.backends import openvino

    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "77")
    openvino._core.cache_clear()
    openvino._core()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "77"
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    openvino._core.cache_clear()
    openvino._core()
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in os.environ
