"""DataConsistency(d): the projection with the recorded degradation, before and after in the certificate."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, certify, project
from mdcsrn.transforms import DataConsistency, DataConsistencyD, DataConsistencyd, DataConsistencyDict, KSpaceLowPass

SPEC = DegradationSpec((1, 2, 2))


def item(spec=SPEC):
    generator = torch.Generator().manual_seed(0)
    label = MetaTensor(torch.rand((1, 8, 12, 14), generator=generator), meta={"filename_or_obj": "a.nii.gz"})
    pred = label + 0.1 * torch.randn(label.shape, generator=generator)
    return {"label": label, "image": KSpaceLowPass(spec)(label), "pred": pred}


def test_projects_with_the_recorded_degradation():
    data = item()
    out = DataConsistencyd(raw_key="raw")(data)
    expected = project(data["pred"].as_tensor(), data["image"].as_tensor(), SPEC)
    assert torch.equal(out["pred"].as_tensor(), expected)
    assert out["raw"] is data["pred"]
    error = {key: float((out[key] - data["label"]).norm()) for key in ("pred", "raw")}
    assert error["pred"] < error["raw"]


def test_certificate_before_and_after():
    data = item()
    meta = DataConsistencyd()(data)["pred"].meta["consistency"]
    assert meta["before"] == certify(data["pred"].as_tensor(), data["image"].as_tensor(), SPEC).to_dict()
    assert meta["before"]["relative_error"] > 0.01
    assert meta["after"]["relative_error"] < 1e-6
    assert meta["after"]["spec_sha256"] == SPEC.sha256
    assert "consistency" not in data["pred"].meta


def test_specification_of_the_caller_goes_first():
    data = item()
    other = DegradationSpec((2, 1, 1))
    out = DataConsistency(other.to_dict())(data["pred"], data["image"])
    assert torch.equal(out.as_tensor(), project(data["pred"].as_tensor(), data["image"].as_tensor(), other))


def test_measured_on_the_acquired_grid_and_short_types():
    data = item(DegradationSpec((1, 2, 2), grid="acquired"))
    assert data["image"].shape != data["pred"].shape
    data["pred"] = data["pred"].to(torch.bfloat16)
    out = DataConsistencyd()(data)["pred"]
    assert out.dtype == torch.float32
    assert out.shape == data["label"].shape
    assert out.meta["consistency"]["after"]["relative_error"] < 1e-6


def test_several_keys():
    data = item()
    data["second"] = data["pred"] * 2
    out = DataConsistencyd(["pred", "second"], raw_key=["raw", "raw2"])(data)
    assert {"raw", "raw2"} <= set(out)
    assert out["second"].meta["consistency"]["after"]["relative_error"] < 1e-6


def test_refusals():
    data = item()
    with pytest.raises(ConfigError, match="no degradation is recorded"):
        DataConsistencyd(measured_key="label")(data)
    with pytest.raises(ConfigError, match="measured volume is missing"):
        DataConsistencyd(measured_key="absent")(data)
    with pytest.raises(ConfigError, match="one raw_key for each key"):
        DataConsistencyd(["pred", "second"], raw_key="raw")
    with pytest.raises(ConfigError, match="off with partial Fourier"):
        DataConsistencyd()(item(DegradationSpec((1, 2, 2), partial_fourier=(1, 1, 0.75))))


def test_family():
    assert DataConsistencyD is DataConsistencyDict is DataConsistencyd
