"""Specification, noise statistics, partial Fourier and the acquired grid."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, acquired_shape, degrade, fft, load_spec, low_pass
from mdcsrn.kspace.degradation import as_spec, partial_fourier_mask
from mdcsrn.kspace.intensity import percentile

PRESETS = Path(__file__).resolve().parents[2] / "configs" / "degradation"


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


FULL = DegradationSpec((1, 2, 2.5), "tukey", 0.3, 0.01, (1, 0.75, 1), "acquired", 7)


def test_spec_goes_through_json_unchanged():
    again = DegradationSpec.from_dict(json.loads(json.dumps(FULL.to_dict())))
    assert again == FULL
    assert hash(again) == hash(FULL)
    assert again.sha256 == FULL.sha256
    assert as_spec(FULL.to_dict()) == as_spec(FULL) == FULL


def test_spec_is_frozen_and_normalised():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.noise = 0.5
    assert DegradationSpec([1, 2, 2]) == DegradationSpec((1.0, 2.0, 2.0))  # lists of a file, whole numbers
    assert DegradationSpec(window="tukey").window_parameter == 0.5  # the default is written down, so hashes are equal
    assert DegradationSpec(window="tukey").sha256 == DegradationSpec(window="tukey", window_parameter=0.5).sha256


def test_hash_is_that_of_the_canonical_json_and_every_field_counts():
    text = json.dumps(FULL.to_dict(), sort_keys=True)
    assert FULL.sha256 == hashlib.sha256(text.encode()).hexdigest()
    changes = {
        "reduction": (1, 2, 3), "window": "gaussian", "window_parameter": 0.4, "noise": 0.02,
        "partial_fourier": (1, 0.8, 1), "grid": "reference", "seed": 8,
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(DegradationSpec)}
    hashes = {dataclasses.replace(FULL, **{name: value}).sha256 for name, value in changes.items()} | {FULL.sha256}
    assert len(hashes) == len(changes) + 1


@pytest.mark.parametrize(
    "values",
    [
        {"reduction": (1, 2)}, {"reduction": (0.5, 2, 2)}, {"reduction": (1, math.inf, 1)},
        {"reduction": (1, math.nan, 1)},
        {"reduction": "122"}, {"reduction": (True, 2, 2)}, {"reduction": 2}, {"noise": -0.1}, {"noise": math.nan},
        {"noise": "0.1"}, {"partial_fourier": (0.5, 1, 1)}, {"partial_fourier": (1.1, 1, 1)}, {"grid": "small"},
        {"seed": -1}, {"seed": 1.5}, {"seed": True}, {"window": "hann"},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ConfigError) as error:
        DegradationSpec(**values)
    assert error.value.exit_code == 4


def test_unknown_key_is_named():
    with pytest.raises(ConfigError, match="reductions"):
        DegradationSpec.from_dict({"reductions": [1, 2, 2]})


@pytest.mark.parametrize(
    ("name", "reduction"),
    [("hcp_2x2", (1, 2, 2)), ("hcp_5x5", (1, 5, 5)), ("iso_2", (2, 2, 2)), ("slab_4", (1, 1, 4))],
)
def test_presets(name, reduction):
    assert load_spec(PRESETS / f"{name}.yaml") == DegradationSpec(reduction)


def test_json_file_is_read_too(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"degradation": FULL.to_dict()}))
    assert load_spec(path) == FULL


@pytest.mark.parametrize("text", ["reduction: [1, 2, 2]", "degradation: 3", "- 1", "a: [", ""])
def test_broken_files_are_refused(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="spec.yaml"):
        load_spec(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_spec(tmp_path / "absent.yaml")


@pytest.mark.parametrize("percent", [0.1, 50, 99.9, 100])
@pytest.mark.parametrize("count", [1, 2, 997, 2000])
def test_percentile_is_numpys(count, percent):
    x = random((count,))
    assert float(percentile(x, percent)) == pytest.approx(float(np.percentile(x.numpy(), percent)), rel=1e-12)


def test_without_noise_the_result_is_signed():
    x = random((8, 10, 12))
    spec = DegradationSpec((1, 2, 2))
    assert torch.equal(degrade(x, spec), low_pass(x, spec))
    assert float(degrade(x, spec).min()) < 0


def test_acquired_grid_holds_the_measured_frequencies():
    x = random((8, 15, 20))
    spec = DegradationSpec((1, 2, 1.6), grid="acquired")
    y = degrade(x, spec)
    assert tuple(y.shape) == acquired_shape(x.shape, spec.reduction) == (8, 8, 13)
    # Directly from the definition: the centre of the spectrum, scaled so that the mean is kept.
    full, small = fft(x), fft(y)
    scale = math.sqrt(8 * 8 * 13 / (8 * 15 * 20))
    for j, k in [(j, k) for j in range(-3, 4) for k in range(-6, 7)]:
        np.testing.assert_allclose(small[:, 4 + j, 6 + k].numpy(), full[:, 7 + j, 10 + k].numpy() * scale, atol=1e-12)
    assert float(small[:, 0].abs().max()) < 1e-12  # -4 is the even axis's unpaired sample: not measured


def two_levels(signal, shape=(32, 32, 32)):
    """Half air, half signal, so that the 99.9th percentile is the signal."""
    x = torch.zeros(shape, dtype=torch.float64)
    x[:, :, shape[2] // 2 :] = signal
    return x


def test_noise_is_rician():
    noise, signal = 0.05, 200.0
    spec = DegradationSpec((1, 1, 1), noise=noise, seed=11)
    y = degrade(two_levels(signal), spec).numpy()
    sigma = noise * signal
    air, tissue = y[:, :, :16].ravel(), y[:, :, 16:].ravel()
    count = air.size  # 16,384: standard errors below are sigma / sqrt(count)
    assert air.min() >= 0
    assert air.mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), abs=5 * sigma / math.sqrt(count))
    assert air.var() == pytest.approx((2 - math.pi / 2) * sigma**2, rel=0.05)
    rice = stats.rice(signal / sigma, scale=sigma)
    assert tissue.mean() == pytest.approx(rice.mean(), abs=5 * sigma / math.sqrt(count))
    assert tissue.var() == pytest.approx(rice.var(), rel=0.05)
    assert stats.kstest(air, stats.rayleigh(scale=sigma).cdf).pvalue > 1e-3
    assert stats.kstest(tissue, rice.cdf).pvalue > 1e-3


def test_real_and_imaginary_noise_are_independent():
    """Were they one draw, the noise of each voxel would repeat at the mirrored voxel."""
    x = torch.zeros((17, 17, 17), dtype=torch.float64)
    x[6:11, 6:11, 6:11] = 100.0
    y = degrade(x, DegradationSpec((1, 1, 1), noise=0.05, seed=2))
    air = x == 0
    assert abs(np.corrcoef(y[air].numpy(), y.flip(0, 1, 2)[air].numpy())[0, 1]) < 0.05


def test_noise_enters_the_measured_band_alone():
    signal, noise = 100.0, 0.02
    x = torch.full((16, 32, 32), signal, dtype=torch.float64)
    spec = DegradationSpec((1, 2, 2), noise=noise, seed=3)
    y = degrade(x, spec)
    share = (15 / 32) ** 2
    assert float(y.std()) == pytest.approx(noise * signal * math.sqrt(share), rel=0.05)


def test_noise_depends_on_the_seed_alone():
    x = two_levels(10.0, (8, 8, 8))
    spec = DegradationSpec((1, 2, 2), noise=0.1, seed=5)
    torch.manual_seed(1)
    first = degrade(x, spec)
    torch.manual_seed(2)
    assert torch.equal(degrade(x, spec), first)
    assert not torch.equal(degrade(x, dataclasses.replace(spec, seed=6)), first)


def test_partial_fourier_mask_leaves_out_one_end():
    spec = DegradationSpec((1, 1, 2), partial_fourier=(1, 0.75, 0.75))
    mask = partial_fourier_mask((4, 16, 32), spec).expand(4, 16, 32)
    k = np.arange(16) - 8
    np.testing.assert_array_equal(mask[0, :, 0].numpy(), k < 0.5 * 8)  # band edge 8: the last quarter of -8 ... 8
    k = np.arange(32) - 16
    np.testing.assert_array_equal(mask[0, 0].numpy(), k < 0.5 * 8)  # the reduced axis has its edge at 8 too


def test_partial_fourier_returns_a_seeded_magnitude():
    x = two_levels(10.0, (12, 16, 16)) + random((12, 16, 16)).abs()
    spec = DegradationSpec((1, 1, 1), partial_fourier=(1, 1, 0.6), seed=4)
    y = degrade(x, spec)
    assert not spec.is_linear
    assert float(y.min()) >= 0
    assert torch.equal(degrade(x, spec), y)
    assert not torch.equal(degrade(x, dataclasses.replace(spec, seed=5)), y)
    # Phase and missing samples matter, yet the image is still recognised.
    correlation = np.corrcoef(x.numpy().ravel(), y.numpy().ravel())[0, 1]
    assert 0.8 < correlation < 0.999


def test_no_phase_without_partial_fourier():
    x = two_levels(10.0, (8, 8, 8))
    noisy = degrade(x, DegradationSpec((1, 1, 1), noise=1e-9))
    torch.testing.assert_close(noisy, x, atol=1e-6, rtol=0)
