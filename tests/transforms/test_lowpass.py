"""KSpaceLowPass(d): values, meta-data, affine, kinds of input, and MONAI's habits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Flip, MapTransform, Transform

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine
from mdcsrn.transforms import KSpaceLowPass, KSpaceLowPassD, KSpaceLowPassd, KSpaceLowPassDict, recorded_degradation

SPEC = DegradationSpec((1, 2, 2.5))
AFFINE = torch.tensor([[0, -1.2, 0, 4], [0.9, 0, 0, -7], [0, 0, 1.5, 3], [0, 0, 0, 1]], dtype=torch.float64)


def volume(shape=(1, 8, 12, 15), dtype=torch.float32):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype) * 100
    return MetaTensor(values, affine=AFFINE, meta={"filename_or_obj": "sub-01_T1w.nii.gz"})


def test_values_are_those_of_degrade_and_the_input_is_untouched():
    x = volume()
    before = x.clone()
    y = KSpaceLowPass(SPEC)(x)
    assert torch.equal(y.as_tensor(), degrade(before.as_tensor(), SPEC))
    assert torch.equal(x, before)
    assert "degradation" not in x.meta


def test_meta_is_kept_and_the_degradation_recorded():
    y = KSpaceLowPass(SPEC)(volume())
    assert isinstance(y, MetaTensor)
    assert y.meta["filename_or_obj"] == "sub-01_T1w.nii.gz"
    assert torch.equal(y.affine, AFFINE)
    assert recorded_degradation(y) == SPEC
    assert recorded_degradation(y.meta) == SPEC


def test_applied_operations_are_kept_and_not_shared():
    x = Flip(spatial_axis=2)(volume())
    y = KSpaceLowPass(SPEC)(x)
    assert [op["class"] for op in y.applied_operations] == ["Flip"]
    y.meta["filename_or_obj"] = "other"
    y.applied_operations.clear()
    assert x.meta["filename_or_obj"] == "sub-01_T1w.nii.gz"
    assert len(x.applied_operations) == 1


def test_acquired_grid_moves_the_affine():
    x = volume()
    y = KSpaceLowPass({"reduction": [1, 2, 2.5], "grid": "acquired"})(x)
    assert tuple(y.shape) == (1, 8, 6, 6)
    torch.testing.assert_close(y.affine, grid_affine(AFFINE, (8, 12, 15), (8, 6, 6)))
    assert torch.equal(x.affine, AFFINE)
    # a channel dimension of two goes through alike
    assert tuple(KSpaceLowPass({"reduction": [1, 2, 2], "grid": "acquired"})(volume((2, 8, 12, 14))).shape) == (
        2,
        8,
        6,
        7,
    )


@pytest.mark.parametrize(
    "make", [lambda x: x.as_tensor(), lambda x: x.numpy(), lambda x: x.to(torch.int16), lambda x: x]
)
def test_kinds_of_input(make):
    x = volume()
    y = KSpaceLowPass(SPEC)(make(x))
    assert isinstance(y, MetaTensor)
    assert y.dtype == torch.float32
    expected = degrade(torch.as_tensor(np.asarray(make(x))).float(), SPEC)
    torch.testing.assert_close(y.as_tensor(), expected, rtol=0, atol=0)


def test_double_precision_stays():
    assert KSpaceLowPass(SPEC)(volume(dtype=torch.float64)).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_is_kept():
    x = volume()
    y = KSpaceLowPass(SPEC)(x.cuda())
    assert y.device.type == "cuda"
    torch.testing.assert_close(y.cpu().as_tensor(), KSpaceLowPass(SPEC)(x).as_tensor(), atol=1e-3, rtol=1e-5)


def test_dictionary_version():
    x = volume()
    out = KSpaceLowPassd(["image", "second"], SPEC.to_dict())({"image": x, "second": 2 * x, "label": x})
    assert torch.equal(out["image"], KSpaceLowPass(SPEC)(x))
    torch.testing.assert_close(out["second"], 2 * out["image"])
    assert out["label"] is x
    with pytest.raises(KeyError):
        KSpaceLowPassd("absent", SPEC)({"image": x})
    assert KSpaceLowPassd("absent", SPEC, allow_missing_keys=True)({"image": x})["image"] is x


def test_family():
    assert KSpaceLowPassD is KSpaceLowPassDict is KSpaceLowPassd
    assert issubclass(KSpaceLowPass, Transform)
    assert issubclass(KSpaceLowPassd, MapTransform)
    assert KSpaceLowPassd.backend == KSpaceLowPass.backend


def test_recorded_degradation_survives_a_batch_of_different_draws():
    specs = [DegradationSpec((1, 2, 2)), DegradationSpec((1.5, 1, 3), "tukey", 0.3, noise=0.01, seed=9)]
    batch = list_data_collate([{"image": KSpaceLowPass(spec)(volume())} for spec in specs])
    assert [recorded_degradation(item["image"]) for item in decollate_batch(batch)] == specs


def test_from_a_bundle_config():
    parser = ConfigParser({
        "degradation": {"reduction": [1, 2, 2], "window": "hamming"},
        "transform": {"_target_": "mdcsrn.transforms.KSpaceLowPassd", "keys": "image", "spec": "@degradation"},
    })  # fmt: skip
    out = parser.get_parsed_content("transform")({"image": volume()})
    assert recorded_degradation(out["image"]) == DegradationSpec((1, 2, 2), "hamming")


def test_refusals():
    with pytest.raises(ConfigError, match="unknown key"):
        KSpaceLowPass({"reductoin": [1, 2, 2]})
    with pytest.raises(GeometryError, match=r"sub-01_T1w\.nii\.gz"):
        KSpaceLowPass(SPEC)(volume((8, 12, 15)))
    with pytest.raises(ConfigError, match="no degradation is recorded"):
        recorded_degradation(volume())
    with pytest.raises(ConfigError, match="not JSON"):
        recorded_degradation({"degradation": "half"})
