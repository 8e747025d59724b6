"""ResShift: the chain against a NumPy simulation of its steps, an oracle, seeds, and a training that resumes."""

from __future__ import annotations

import doctest
import itertools
from pathlib import Path

import numpy as np
import pytest
import resshift
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planes import cropped
from planes import figures as plane_figures
from resshift import STEPS, ResidualShifting, sample, shifts
from resshift_study import DRAWS, SPEC, best, judge, rows, verdict
from resshift_training import CHECKPOINT, Knobs, Run, train
from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.io.formats import read_image
from mdcsrn.kspace import decimate, degrade
from mdcsrn.metrics import head_mask
from mdcsrn.networks.interpolation import CubicUpsample

SMALL = Knobs(width=32, steps=30, rate=2e-3, warmup=2, precision="float32")
KAPPA = 0.3


class Oracle(nn.Module):
    """Knows x_0."""

    def __init__(self, x_0: Tensor) -> None:
        super().__init__()
        self.x_0, self.seen = x_0, list[int]()

    def forward(self, x: Tensor, timesteps: Tensor, context: None = None) -> Tensor:
        self.seen.append(int(timesteps))
        assert x.shape[1] == 2
        return self.x_0


def batch(seed: int = 0) -> dict[str, Tensor]:
    """Patches whose reference is a little brighter than the interpolated plane."""
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(4, 1, 1, 16, 16, generator=random)
    return {"image": image, "label": 1.1 * CubicUpsample(2)(image)}


def test_examples_do_what_they_show() -> None:
    assert doctest.testmod(resshift).failed == 0


def test_the_schedule_is_the_published_formula() -> None:
    found = shifts(15, least=(0.04 / 2) ** 2, last=0.999, power=0.3)
    base = np.exp(np.log(np.sqrt(0.999) / 0.02) / 14)
    roots = [0.02 * base ** (((t - 1) / 14) ** 0.3 * 14) for t in range(1, 16)]
    np.testing.assert_allclose(np.sqrt(found), roots, rtol=1e-12)
    scheduler = ResidualShifting()
    np.testing.assert_allclose(scheduler.eta, 1 - scheduler.alphas_cumprod, atol=1e-6)
    np.testing.assert_allclose(np.cumprod(scheduler.alphas.numpy()), scheduler.alphas_cumprod, rtol=1e-4)


def test_marginals_are_those_of_the_simulated_chain() -> None:
    """x_t = x_{t-1} + alpha_t e_0 + kappa sqrt(alpha_t) noise, step by step, in NumPy."""
    count, x_0, y_0 = 200_000, 0.7, 0.2
    random = np.random.default_rng(0)
    scheduler = ResidualShifting(kappa=KAPPA)
    alpha = np.diff(shifts(STEPS, 0.01, 0.999, 0.3), prepend=0.0)
    chain = np.full(count, x_0)
    sharp, blurred = torch.full((count, 1), x_0), torch.full((count, 1), y_0)
    torch.manual_seed(1)
    for t in range(STEPS):
        chain = chain + alpha[t] * (y_0 - x_0) + KAPPA * np.sqrt(alpha[t]) * random.normal(size=count)
        ours = scheduler.shift(sharp, blurred, torch.randn(count, 1), torch.full((count,), t)).numpy()
        error = 5 * KAPPA / np.sqrt(count)
        assert ours.mean() == pytest.approx(chain.mean(), abs=2 * error)
        assert ours.std() == pytest.approx(chain.std(), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(
    kappa=st.floats(0.01, 3), steps=st.integers(2, 20), least=st.floats(1e-4, 0.1), x_0=st.floats(-1, 1),
    e_0=st.floats(-1, 1), data=st.data(),
)  # fmt: skip
def test_the_posterior_leads_from_one_marginal_to_the_one_before(
    kappa: float, steps: int, least: float, x_0: float, e_0: float, data: st.DataObject
) -> None:
    """Mean and variance of x_{t-1} by the law of total expectation and variance over x_t."""
    scheduler = ResidualShifting(steps, kappa, least)
    t = data.draw(st.integers(1, steps - 1))
    eta, before = float(scheduler.eta[t]), float(scheduler.eta[t - 1])
    sharp = torch.tensor([x_0], dtype=torch.float64)
    mean, variance = scheduler.posterior(sharp, sharp + eta * e_0, t)
    unit, _ = scheduler.posterior(sharp, sharp + eta * e_0 + 1, t)
    slope = float(unit - mean)
    assert float(mean) == pytest.approx(x_0 + before * e_0, abs=1e-6)
    assert variance + slope**2 * kappa**2 * eta == pytest.approx(kappa**2 * before, rel=1e-5)


def test_the_first_step_back_agrees_with_bayes_on_a_grid() -> None:
    """q(x_{t-1} | x_t, x_0) is q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised, in NumPy."""
    scheduler, x_0, e_0, x_t, t = ResidualShifting(kappa=KAPPA), 0.4, 0.3, 0.55, 2
    eta, before = float(scheduler.eta[t]), float(scheduler.eta[t - 1])
    grid = np.linspace(-2, 3, 20_001)
    prior = -((grid - x_0 - before * e_0) ** 2) / (2 * KAPPA**2 * before)
    forward = -((x_t - grid - (eta - before) * e_0) ** 2) / (2 * KAPPA**2 * (eta - before))
    weight = np.exp(prior + forward)
    weight /= weight.sum()
    mean, variance = scheduler.posterior(torch.tensor(x_0), torch.tensor(x_t), t)
    assert float(mean) == pytest.approx((weight * grid).sum(), abs=1e-5)
    assert variance == pytest.approx((weight * (grid - float(mean)) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("shape", [(2, 1, 16, 24), (1, 1, 13, 17)])
def test_four_steps_with_an_oracle_return_x_0(shape: tuple[int, ...]) -> None:
    x_0, y_0 = torch.rand(shape), torch.rand(shape)
    padded = nn.functional.pad(x_0, (0, -shape[-1] % 8, 0, -shape[-2] % 8))
    oracle = Oracle(padded)
    assert torch.equal(sample(oracle, ResidualShifting(kappa=2.0), y_0, seed=0), x_0)
    assert oracle.seen == [3, 2, 1, 0]


def test_draws_depend_on_the_seed_alone() -> None:
    run = Run(SMALL)
    for _ in run.losses(itertools.repeat(batch(), 5)):
        pass
    y_0 = torch.rand(1, 1, 20, 28)
    torch.manual_seed(5)
    first = sample(run.network, run.scheduler, y_0, seed=3)
    here = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(here, torch.rand(1)), "the state of the generator is left as it was"
    assert torch.equal(first, sample(run.network, run.scheduler, y_0, seed=3))
    assert not torch.equal(first, sample(run.network, run.scheduler, y_0, seed=4))
    assert first.shape == y_0.shape


def test_the_spread_is_that_of_a_residual_of_known_size() -> None:
    scheduler = ResidualShifting(kappa=KAPPA)
    torch.manual_seed(0)
    y_0 = torch.zeros(STEPS, 100_000)
    moved = scheduler.shift(0.04 * torch.randn_like(y_0), y_0, torch.randn_like(y_0), torch.arange(STEPS))
    np.testing.assert_allclose(moved.std(1), scheduler.spread(0.04), rtol=0.02)


def test_a_short_training_lowers_the_loss() -> None:
    losses = list(Run(SMALL).losses(itertools.repeat(batch())))
    assert len(losses) == SMALL.steps
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_resumed_run_equals_one_in_one_go(tmp_path: Path) -> None:
    numbered = [batch(number) for number in range(6)]
    knobs = Knobs(width=32, steps=6, precision="float32")
    whole, part = Run(knobs), Run(knobs)
    list(whole.losses(numbered))
    for _ in itertools.islice(part.losses(numbered), 3):
        pass
    part.save(tmp_path / CHECKPOINT)
    resumed = Run.load(tmp_path / CHECKPOINT)
    assert resumed.step == 3
    list(resumed.losses(numbered[3:]))
    for name, value in whole.average.module.state_dict().items():
        assert torch.equal(value, resumed.average.module.state_dict()[name]), name


def test_other_knobs_in_a_folder_are_refused(tmp_path: Path) -> None:
    Run(SMALL).save(tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="other knobs"):
        train(Knobs(width=32, kappa=1.0), tmp_path / "none.json", tmp_path)


def numpy_power_error(planes: np.ndarray, reference: np.ndarray) -> float:
    """Mean |10 log10| of the power ratio over twelve shells of the planes' frequencies outside the measured half."""
    mask = head_mask(torch.from_numpy(reference)).numpy()
    filled = mask.sum((1, 2))
    chosen = filled >= 0.1 * filled.max()
    k = np.meshgrid(*(np.abs(np.fft.fftfreq(n, 1 / n)) for n in mask.shape[1:]), indexing="ij")
    unmeasured = np.logical_or(*(f >= n / 4 for f, n in zip(k, mask.shape[1:], strict=True)))
    shell = np.ceil(12 * np.hypot(*(2 * f / n for f, n in zip(k, mask.shape[1:], strict=True))) - 1e-9)
    power = [(np.abs(np.fft.fft2((image * mask)[chosen])) ** 2).sum(0) for image in (planes, reference)]
    levels = []
    for number in range(1, 13):
        inside = unmeasured & (shell == number)
        if inside.sum() >= 0.01 * (shell == number).sum():
            levels.append(abs(10 * np.log10(power[0][inside].sum() / power[1][inside].sum())))
    return float(np.mean(levels))


def test_all_slices_give_the_figures_of_the_plane_study(tiny_cohort: Path) -> None:
    path = tiny_cohort.parent / "aa-04_T1w.nii.gz"
    found = judge(Run(SMALL), [("T1w", "aa-04", path)], slices=100)
    reference = cropped(torch.from_numpy(read_image(path).array), 2)
    low = degrade(reference, SPEC)
    planes = {"zero-filled": low, "bicubic": CubicUpsample(2)(decimate(low, (1, 2, 2)))}
    for name, volume in planes.items():
        (theirs,) = found["T1w", name]
        assert theirs[:2] == pytest.approx(plane_figures(volume, reference, SPEC)[:2], rel=1e-4)
        assert theirs[2] == pytest.approx(numpy_power_error(volume.numpy(), reference.numpy()), rel=1e-3)
    (untrained,) = found["T1w", "ResShift, one draw"]
    assert untrained == pytest.approx(found["T1w", "bicubic"][0], rel=1e-4), "it starts as the interpolated plane"
    assert len(rows(found)) == 2 + len(found) == 10


@pytest.mark.parametrize(("gain", "word"), [(0.5, "beats"), (-0.5, "Dropped")])
def test_the_verdict_asks_each_contrast(gain: float, word: str) -> None:
    found = {
        (contrast, name): [(30.0, 0.9, 3.0)]
        for contrast in ("T1w", "T2w")
        for name in ("bicubic", "EDSR, L1, consistency")
    }
    for contrast, better in (("T1w", 1.0), ("T2w", gain)):
        for name in ("one draw", f"mean of {DRAWS}"):
            found[contrast, f"ResShift, {name}, consistency"] = [(30 + better, 0.9 + better / 100, 2.0)]
    assert word in verdict(found).splitlines()[0]


def test_the_best_trial_is_read_from_its_row() -> None:
    trials = ["| 0.04 | -0.75 | -0.0064 | 7.31 |", "| 0.2 | -0.72 | -0.0097 | 4.42 |", "| 1 | -0.06 | +0.0022 | 5.82 |"]
    assert (best(trials, column=4, least=True), best(trials, column=2, least=False)) == ("0.2", "1")
