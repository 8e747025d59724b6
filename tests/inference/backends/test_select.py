"""The choice of a backend: measured errors decide, reasons are kept, the user's word is kept."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, MissingDependencyError
from mdcsrn.inference.backends import Backend, Choice, backend, candidates, select
from mdcsrn.inference.backends.base import Job, Runner
from mdcsrn.inference.backends.quantise import quantise
from mdcsrn.inference.backends.select import PREFERENCE, psnr
from mdcsrn.inference.running.calibration import sample_columns
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN

X = torch.linspace(0, 1, 512).reshape(1, 1, 8, 8, 8)


class Off(nn.Module):
    """A network whose result is its input; a backend below can then be off by a known amount."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


class Rough(Backend):
    """A backend that adds a constant to the network's result: its error in dB is known."""

    device = torch.device("cpu")

    def __init__(self, name: str, errors: dict[str, float], reason: str | None = None) -> None:
        self.name, self.errors, self.reason, self.compiled = name, errors, reason, 0

    def available(self) -> str | None:
        return self.reason

    def precisions(self) -> tuple[str, ...]:
        return tuple(self.errors)

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        self.compiled += 1
        return lambda inputs: (module(*inputs) + self.errors[job.precision],)


def chosen(choice: Choice) -> tuple[str, str]:
    return choice.backend.name, choice.precision


def test_the_first_of_the_order_within_the_tolerance() -> None:
    fast = Rough("openvino", {"bfloat16": 10 ** (-50 / 20), "float32": 10 ** (-90 / 20)})  # 50 and 90 dB
    gone = Rough("cuda", {"bfloat16": 0.0}, "no CUDA device")
    everything: list[Backend] = [backend("eager"), fast, gone]
    for order in itertools.permutations(everything):
        choice = select(Off(), (X,), list(order), tolerance_db=55, threads=1)
        # eager bfloat16 is the identity here: exact, where the processor has it.
        assert chosen(choice) in (("eager", "bfloat16"), ("openvino", "float32"))
    choice = select(Off(), (X,), [fast, gone], tolerance_db=55)
    assert chosen(choice) == ("openvino", "float32")
    assert choice.psnr_db == pytest.approx(90, abs=0.01)
    assert [(a.backend, a.precision) for a in choice.attempts] == [
        ("cuda", "any"),
        ("openvino", "bfloat16"),
        ("openvino", "float32"),
    ]
    assert "no CUDA device" in choice.attempts[0].reason
    assert "50.0 dB" in choice.attempts[1].reason
    assert chosen(select(Off(), (X,), [fast, gone], tolerance_db=45)) == ("openvino", "bfloat16")
    assert choice.to_dict()["probe_psnr_db"] == pytest.approx(90, abs=0.01)


def test_the_tolerance_goes_with_the_range() -> None:
    fast = Rough("openvino", {"bfloat16": 10 ** (-50 / 20), "float32": 0.0})
    assert chosen(select(Off(), (X,), [fast], tolerance_db=55, data_range=10.0)) == ("openvino", "bfloat16")


def test_eager_float32_is_the_last_resort_and_is_not_run_twice() -> None:
    bad = Rough("openvino", {"bfloat16": math.nan, "float32": math.inf})
    only = [bad, backend("eager")]
    network = MDCSRN(1, 1, 2).eval()
    nn.init.normal_(network.recon.weight, std=0.2)
    choice = select(network, (X,), only, tolerance_db=1000)  # nothing but the reference reaches that
    assert chosen(choice) == ("eager", "float32")
    assert choice.psnr_db == math.inf
    assert choice.to_dict()["probe_psnr_db"] is None
    assert any("openvino bfloat16" in text for text in choice.to_dict()["tried"])  # type: ignore[attr-defined]


def test_what_the_user_names_is_taken_whatever_its_error() -> None:
    rough = Rough("openvino", {"bfloat16": 0.5, "int8": 1.0})
    choice = select(Off(), (X,), [rough], precision="int8")
    assert chosen(choice) == ("openvino", "int8")
    assert choice.psnr_db == pytest.approx(0, abs=0.01)
    with pytest.raises(ConfigError, match="float16"):
        select(Off(), (X,), [rough], precision="float16")
    with pytest.raises(ConfigError, match="6.0 dB"):  # auto: both are too far off, and it says by how much
        select(Off(), (X,), [rough])
    with pytest.raises(MissingDependencyError, match="not here"):
        select(Off(), (X,), [Rough("openvino", {"float32": 0.0}, "not here")])


def test_a_backend_named_alone_may_be_one_that_auto_never_takes() -> None:
    assert not any(name in ("compile", "onnxruntime") for name, _ in PREFERENCE)
    odd = Rough("onnxruntime", {"float32": 0.0})
    assert chosen(select(Off(), (X,), [odd])) == ("onnxruntime", "float32")
    both = [odd, backend("eager")]
    assert select(Off(), (X,), both).backend.name == "eager"
    assert odd.compiled == 1


def test_the_image_that_is_judged() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((x, x), dim=1)

    fast = Rough("openvino", {"bfloat16": 10 ** (-57 / 20), "float32": 0.0})
    assert chosen(select(Two(), (X,), [fast], tolerance_db=55)) == ("openvino", "bfloat16")
    # The same error in both shares of one sum is twice as large: 51 dB.
    summed = select(Two(), (X,), [fast], tolerance_db=55, judge=lambda shares: shares.sum(1))
    assert chosen(summed) == ("openvino", "float32")


def test_real_backends_on_a_real_network_are_chosen_twice_alike() -> None:
    torch.manual_seed(0)
    network = MDCSRN(2, 2, 4).eval()
    nn.init.normal_(network.recon.weight, std=0.02)
    choices = [select(network, (X,), candidates(device="cpu"), threads=1) for _ in range(2)]
    assert chosen(choices[0]) == chosen(choices[1])
    assert choices[0].psnr_db >= 55
    assert choices[0].psnr_db == choices[1].psnr_db


def test_psnr_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 6, 7))
    ours = psnr(torch.from_numpy(a), torch.from_numpy(b), 2.5)
    assert ours == pytest.approx(peak_signal_noise_ratio(b, a, data_range=2.5), abs=1e-9)
    assert psnr(X, X, 1.0) == math.inf
    assert math.isnan(psnr(X * math.nan, X, 1.0))


def test_eight_bits_need_a_calibration_set_that_fits() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    from mdcsrn.inference.backends.openvino import convert

    torch.manual_seed(0)
    network = MDCSRN(1, 2, 4).eval()
    nn.init.normal_(network.recon.weight, std=0.2)
    patches = [(torch.rand(1, 1, 8, 8, 8),) for _ in range(4)]
    assert "int8" not in backend("openvino").precisions()
    calibrated = backend("openvino", lambda module: patches)
    assert calibrated.precisions()[0] == "int8"
    model = convert(network, patches[0], patches[0])
    with pytest.raises(ConfigError, match="calibration"):
        quantise(model, [(torch.rand(1, 1, 8, 8, 9),)])
    with pytest.raises(ConfigError, match="calibration"):
        backend("openvino", lambda module: []).compile(network, patches[0], "int8", 1)
    kinds = [op.get_type_name() for op in quantise(model, patches).get_ordered_ops()]
    assert "FakeQuantize" in kinds
    larger = torch.rand(1, 1, 12, 9, 10)  # other sizes than those it was calibrated at
    with torch.inference_mode():
        truth = network(larger)
    result = calibrated.compile(network, (larger,), "int8", 1, small=patches[0])((larger,))[0]
    measured = psnr(result, truth, float(truth.abs().max()))
    assert 15 < measured < 70  # eight bits: neither nonsense nor, in truth, float


@pytest.mark.parametrize("axis", [0, 2])
def test_calibration_is_what_the_slab_network_meets(axis: int) -> None:
    torch.manual_seed(0)
    network = MDCSRN(2, 2, 4).eval()
    nn.init.normal_(network.recon.weight, std=0.2)
    slab = SlabMDCSRN(network, 4, axis)
    cells = torch.rand(1, 21, 18, 19)
    samples = sample_columns(slab, cells, edge=64, least=5)  # columns as wide as the volume
    assert len({tuple(tuple(tensor.shape) for tensor in sample) for sample in samples}) == 1
    with torch.inference_mode():
        whole = network(cells[None]) - cells[None]
        total = torch.zeros_like(whole.movedim(2 + axis, 2))
        for index, arguments in enumerate(samples[: total.shape[2] // 4]):
            for share, lag in zip(slab(*arguments)[0][0], slab.lags, strict=True):
                for plane in range(4):
                    at = 4 * index + plane - lag
                    if 0 <= at < total.shape[2]:
                        total[0, 0, at] += share[plane]
    done = 4 * (total.shape[2] // 4) - slab.lags[-1]
    wanted = whole.movedim(2 + axis, 2)[:, :, :done]
    assert done > 4
    assert float((total[:, :, :done] - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    assert sample_columns(slab, torch.zeros(1, 8, 8, 8))  # air: better than nothing at all
    cubes = sample_columns(network, cells, edge=7)
    assert [tuple(cube.shape) for (cube,) in cubes] == [(1, 1, 7, 7, 7)] * 9
    assert torch.equal(cubes[1][0][0], cells[:, 7:14, 5:12, 6:13])  # the second of the column through the middle


def test_the_user_may_name_eight_bits_on_slabs() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    network = MDCSRN(1, 2, 4).eval()
    nn.init.normal_(network.recon.weight, std=0.05)
    slab, cells = SlabMDCSRN(network, 8), torch.rand(1, 24, 16, 16)
    probe = sample_columns(slab, cells, edge=12)[1]
    options = candidates("openvino", "cpu", partial(sample_columns, cells=cells))
    choice = select(slab, probe, options, "int8", threads=1, judge=lambda shares: shares.sum(1))
    assert chosen(choice) == ("openvino", "int8")
    assert 25 < choice.psnr_db < 90
