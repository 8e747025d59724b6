"""The MONAI metrics inside a real SupervisedEvaluator, with the pure functions as the oracle."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.metrics import HeadMaskNRMSE, HeadMaskPSNR, HeadMaskSSIM, data_range, head_mask, nrmse, psnr, ssim


class Blur(torch.nn.Module):
    """A fixed network that changes its input a little."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        return torch.nn.functional.avg_pool3d(x, 3, stride=1, padding=1)


def heads(count: int) -> list[dict[str, MetaTensor]]:
    torch.manual_seed(0)
    samples = []
    for index in range(count):
        volume = torch.zeros(1, 14, 15, 16)
        volume[:, 2:12, 2:12, 2:13] = (10.0 + 100 * index) * (torch.rand(1, 10, 10, 11) + 0.2)
        samples.append({"image": MetaTensor(volume), "label": MetaTensor(volume)})
    return samples


def test_metrics_in_a_monai_evaluator_equal_the_functions() -> None:
    samples, network = heads(3), Blur()
    pair = from_engine(["pred", "label"])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(samples), batch_size=2),
        network=network,
        key_val_metric={"val_psnr": IgniteMetricHandler(HeadMaskPSNR(), output_transform=pair)},
        additional_metrics={
            "val_ssim": IgniteMetricHandler(HeadMaskSSIM(), output_transform=pair),
            "val_nrmse": IgniteMetricHandler(HeadMaskNRMSE(), output_transform=pair),
            "val_psnr_volume": IgniteMetricHandler(HeadMaskPSNR(head=False), output_transform=pair),
        },
        decollate=True,
    )
    evaluator.run()
    pairs = [(network(s["label"].as_tensor()[None])[0], s["label"].as_tensor()) for s in samples]
    peaks = [data_range(y) for _, y in pairs]
    masks = [head_mask(y) for _, y in pairs]
    expected = {
        "val_psnr": [psnr(x, y, p, m) for (x, y), p, m in zip(pairs, peaks, masks, strict=True)],
        "val_ssim": [ssim(x, y, p, m) for (x, y), p, m in zip(pairs, peaks, masks, strict=True)],
        "val_nrmse": [nrmse(x, y, p, m) for (x, y), p, m in zip(pairs, peaks, masks, strict=True)],
        "val_psnr_volume": [psnr(x, y, p) for (x, y), p in zip(pairs, peaks, strict=True)],
    }
    for name, values in expected.items():
        assert evaluator.state.metrics[name] == pytest.approx(sum(values) / 3, rel=1e-5), name
        assert evaluator.state.metric_details[name].flatten().tolist() == pytest.approx(values, rel=1e-5)
    assert evaluator.state.key_metric_name == "val_psnr"


def test_two_dimensional_batches_and_channels() -> None:
    y = torch.rand(2, 3, 16, 17) + 0.1
    x = y + 0.05 * torch.randn_like(y)
    values = HeadMaskSSIM(reduction="none")(x, y)
    assert values.shape == (2, 3)
    one = y[1, 2]
    assert float(values[1, 2]) == pytest.approx(
        ssim(x[1, 2], one, data_range(one), head_mask(one, 2), spatial_dims=2), abs=1e-6
    )


def test_a_diverged_prediction_is_an_error_and_not_left_out() -> None:
    y = torch.rand(1, 1, 12, 12, 12)
    with pytest.raises(DataError, match="NaN"):
        HeadMaskPSNR()(y * torch.nan, y)


def test_intensity_units_do_not_matter() -> None:
    y = torch.rand(1, 1, 12, 12, 12)
    x = y + 0.1 * torch.randn_like(y)
    for metric in (HeadMaskPSNR(), HeadMaskSSIM(), HeadMaskNRMSE()):
        assert float(metric(x * 4096, y * 4096)) == pytest.approx(float(metric(x, y)), rel=1e-4)


def test_shapes_must_agree() -> None:
    with pytest.raises((GeometryError, ValueError)):
        HeadMaskPSNR()(torch.rand(1, 1, 8, 8, 8), torch.rand(1, 1, 8, 8, 9))
