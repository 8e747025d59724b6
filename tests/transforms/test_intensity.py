"""Scaling by a percentile: one factor for all volumes, kept in the meta-data, undone after inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.transforms import (
    ScaleByPercentile,
    ScaleByPercentileD,
    ScaleByPercentiled,
    ScaleByPercentileDict,
    UndoScaleD,
    UndoScaled,
    UndoScaleDict,
)


def volume(seed=0, gain=500.0):
    values = torch.from_numpy(np.random.default_rng(seed).gamma(2.0, gain, (1, 9, 10, 11))).float() - 100
    return MetaTensor(values, meta={"filename_or_obj": f"sub-{seed:02d}.nii.gz"})


def test_factor_is_numpys_percentile_and_nothing_else_happens():
    x = volume()
    y = ScaleByPercentile(99.9)(x)
    factor = np.percentile(x.numpy(), 99.9)
    assert y.meta["scale"] == pytest.approx(factor, rel=1e-6)
    assert isinstance(y.meta["scale"], float)
    np.testing.assert_allclose(y.numpy(), x.numpy() / factor, rtol=1e-5)  # no offset, no clipping
    assert float(y.min()) < 0
    assert float(y.max()) > 1
    assert "scale" not in x.meta


def test_all_keys_are_divided_by_the_reference_volume_of_before():
    image, label = volume(1), volume(2, 900.0)
    out = ScaleByPercentiled(keys=("label", "image"), reference_key="image", percent=95)(
        {"image": image, "label": label}
    )
    factor = np.percentile(image.numpy(), 95)
    for key, original in (("image", image), ("label", label)):
        assert out[key].meta["scale"] == pytest.approx(factor, rel=1e-6)
        np.testing.assert_allclose(out[key].numpy(), original.numpy() / factor, rtol=1e-5)


def test_inverse_gives_the_input_back():
    image, label = volume(1), volume(2)
    transform = ScaleByPercentiled()
    back = transform.inverse(transform({"image": image, "label": label}))
    for key, original in (("image", image), ("label", label)):
        torch.testing.assert_close(back[key].as_tensor(), original.as_tensor(), rtol=1e-6, atol=0)
        assert not back[key].applied_operations
        assert back[key].meta["scale"] == 1.0


def loaded(workers=0):
    pre = Compose([ScaleByPercentiled()])
    data = [{"image": volume(seed), "label": volume(seed)} for seed in range(3)]
    loader = DataLoader(Dataset(data, pre), batch_size=3, num_workers=workers)
    return pre, data, next(iter(loader))


def test_undo_reads_the_factor_of_the_image_after_a_batch():
    _, data, batch = loaded()
    batch["pred"] = batch["label"].as_tensor() * 1.0  # a plain tensor: no meta-data of its own
    items = [UndoScaled(["pred", "image"])(item) for item in decollate_batch(batch)]
    for item, original in zip(items, data, strict=True):
        torch.testing.assert_close(item["pred"].as_tensor(), original["label"].as_tensor(), rtol=1e-6, atol=0)
        torch.testing.assert_close(item["image"].as_tensor(), original["image"].as_tensor(), rtol=1e-6, atol=0)
        assert item["image"].meta["scale"] == 1.0


def test_half_precision_predictions_come_back_in_float32():
    item = ScaleByPercentiled("image")({"image": volume()})
    item["pred"] = item["image"].as_tensor().to(torch.bfloat16)
    out = UndoScaled()(item)["pred"]
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.as_tensor(), volume().as_tensor(), rtol=1e-2, atol=0)


def test_inverse_of_half_precision_is_float32():
    transform = ScaleByPercentiled("image")
    item = transform({"image": volume()})
    back = transform.inverse({"image": item["image"].to(torch.bfloat16)})["image"]
    assert back.dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 1])
def test_monai_invertd(workers):
    pre, data, batch = loaded(workers)
    batch["pred"] = batch["label"] * 1.0
    post = Invertd("pred", pre, orig_keys="image", nearest_interp=False)
    for item, original in zip(decollate_batch(batch), data, strict=True):
        torch.testing.assert_close(post(item)["pred"].as_tensor(), original["label"].as_tensor(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("fill", [0.0, -3.0, float("nan"), float("inf")])
def test_unusable_factor_names_the_file(fill):
    x = volume(3)
    x[:] = fill
    with pytest.raises(DataError, match=r"sub-03\.nii\.gz"):
        ScaleByPercentiled("image")({"image": x})


def test_one_bright_voxel_is_not_the_factor():
    x = volume()
    bright = x.clone()
    bright[0, 4, 4, 4] = 1e6
    assert ScaleByPercentile(99).factor(bright) == pytest.approx(ScaleByPercentile(99).factor(x), rel=0.05)


def test_refusals():
    for percent in (0, 101, -1):
        with pytest.raises(ConfigError, match="percentile"):
            ScaleByPercentile(percent)
    with pytest.raises(ConfigError, match="no scaling factor"):
        UndoScaled()({"pred": volume(), "image": volume()})
    with pytest.raises(ConfigError, match="missing"):
        UndoScaled()({"pred": volume()})
    with pytest.raises(ConfigError, match="missing"):
        ScaleByPercentiled(allow_missing_keys=True)({"label": volume()})


def test_family():
    assert ScaleByPercentileD is ScaleByPercentileDict is ScaleByPercentiled
    assert UndoScaleD is UndoScaleDict is UndoScaled
