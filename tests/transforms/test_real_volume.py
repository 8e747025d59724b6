"""The whole chain of transforms on a real T1w volume, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose, CopyItemsd, EnsureChannelFirstd, LoadImaged

from mdcsrn.transforms import (
    CheckVolumed,
    DataConsistencyd,
    KSpaceLowPassd,
    ScaleByPercentiled,
    UndoScaled,
    recorded_degradation,
)


def reference_low_pass(x, reduction):
    spectrum = np.fft.fftn(x.astype(np.float64))
    for axis, r in enumerate(reduction):
        n = x.shape[axis]
        keep = np.abs(np.fft.fftfreq(n, 1 / n)) * 2 * r < n if r > 1 else np.ones(n, bool)
        spectrum = spectrum * np.expand_dims(keep, tuple(a for a in range(3) if a != axis))
    return np.fft.ifftn(spectrum).real


@pytest.mark.parametrize("reduction", [(1, 2, 2), (2, 2, 1)])
def test_pipeline(shared_data, reduction):
    path = shared_data / "t1w" / "val" / "ds002748-16_T1w.nii.gz"
    keys = ["image", "label"]
    before = Compose([
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        CheckVolumed("image", smallest=64),
        CopyItemsd("image", names="label"),
        KSpaceLowPassd("image", {"reduction": list(reduction)}),
        ScaleByPercentiled(keys),
    ])  # fmt: skip
    data = before({"image": str(path)})
    low = reference_low_pass(LoadImaged("image")({"image": str(path)})["image"].numpy(), reduction)
    factor = np.percentile(low, 99.9)
    assert data["image"].meta["scale"] == pytest.approx(factor, rel=1e-5)
    assert np.abs(data["image"].numpy()[0] - low / factor).max() <= 1e-5 * np.abs(low / factor).max()
    assert recorded_degradation(data["image"]).reduction == reduction
    assert str(path) in data["image"].meta["filename_or_obj"]

    # A result that is blurred and 3 % too bright: consistency repairs both inside the band and nothing is lost outside.
    data["pred"] = (data["image"] * 0.5 + data["label"] * 0.5) * 1.03
    out = Compose([DataConsistencyd(raw_key="raw"), UndoScaled(["pred", "raw", "label"])])(data)
    error = {key: float((out[key] - out["label"]).norm()) for key in ("pred", "raw")}
    assert error["pred"] < 0.9 * error["raw"]
    assert out["pred"].meta["consistency"]["before"]["relative_error"] == pytest.approx(0.03, abs=1e-4)
    assert out["pred"].meta["consistency"]["after"]["relative_error"] < 1e-6
    assert float(out["pred"].max()) > 100  # the input's unit again
