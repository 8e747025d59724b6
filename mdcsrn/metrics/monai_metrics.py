"""MONAI metrics over the pure functions: range and head mask come from each reference volume by itself.

A bundle hands one to ``monai.handlers.IgniteMetricHandler``, for instance as the evaluator's ``key_val_metric``, with
``output_transform: "$monai.handlers.from_engine(['pred', 'label'])"``.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction
from torch import Tensor

from mdcsrn.errors import DataError
from mdcsrn.metrics.frequency import hfen
from mdcsrn.metrics.pixelwise import nrmse, psnr
from mdcsrn.metrics.reference import data_range, head_mask
from mdcsrn.metrics.structural import SSIMWindow, WindowShape, ssim


class HeadMaskMetric(RegressionMetric):
    """Base: one value for every image and channel, inside the head mask or over the whole image.

    Args:
        head: True counts the voxels of :func:`mdcsrn.metrics.head_mask`; False counts all.
        reduction: MONAI's reduction over the images, ``"mean"`` by default.

    Call with ``(y_pred, y)``: (B, C, D, H, W) or (B, C, H, W), or lists of them without B; any unit, the same for both.

    >>> import torch
    >>> cube = torch.zeros(1, 1, 16, 16, 16)
    >>> cube[..., 4:12, 4:12, 4:12] = 1
    >>> class LargestError(HeadMaskMetric):
    ...     def value(self, prediction, reference, peak, mask):
    ...         return float((prediction - reference)[mask].abs().max() / peak)
    >>> LargestError()(0.5 * cube, cube)
    tensor([[0.5000]])
    """

    def __init__(self, head: bool = True, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__(reduction=reduction)
        self.head = head

    @abstractmethod
    def value(self, prediction: Tensor, reference: Tensor, peak: float, mask: Tensor | None) -> float:
        """Metric of one (D, H, W) or (H, W) image with its data range and mask."""

    def _compute_metric(self, y_pred: Tensor, y: Tensor) -> Tensor:
        # Plain tensors: a MetaTensor would carry its metadata through every operation.
        predictions, references = torch.Tensor(y_pred.detach().float()), torch.Tensor(y.detach().float())
        values = [
            [self._one(p, r) for p, r in zip(sample_p, sample_r, strict=True)]
            for sample_p, sample_r in zip(predictions, references, strict=True)
        ]
        return torch.tensor(values, dtype=torch.float32, device=y.device)

    def _one(self, prediction: Tensor, reference: Tensor) -> float:
        if not bool(torch.isfinite(prediction).all()):
            # MONAI's mean would leave a NaN out, and call the mean of nothing 0: the best NRMSE there is.
            raise DataError("a prediction to be scored holds NaN or Inf", remedy="the network has diverged")
        mask = head_mask(reference, reference.ndim) if self.head else None
        return self.value(prediction, reference, data_range(reference), mask)


class HeadMaskPSNR(HeadMaskMetric):
    """:func:`mdcsrn.metrics.psnr` in dB for each image.

    >>> import torch
    >>> cube = torch.zeros(1, 1, 16, 16, 16)
    >>> cube[..., 4:12, 4:12, 4:12] = 1
    >>> metric = HeadMaskPSNR()
    >>> metric(0.9 * cube, cube)
    tensor([[20.0000]])
    >>> metric.aggregate()
    tensor([20.0000])
    """

    def value(self, prediction: Tensor, reference: Tensor, peak: float, mask: Tensor | None) -> float:
        """See :meth:`HeadMaskMetric.value`."""
        return psnr(prediction, reference, peak, mask)


class HeadMaskNRMSE(HeadMaskMetric):
    """:func:`mdcsrn.metrics.nrmse` over the data range for each image.

    >>> import torch
    >>> cube = torch.zeros(1, 1, 16, 16, 16)
    >>> cube[..., 4:12, 4:12, 4:12] = 1
    >>> metric = HeadMaskNRMSE()
    >>> metric(0.9 * cube, cube)
    tensor([[0.1000]])
    >>> metric.aggregate()
    tensor([0.1000])
    """

    def value(self, prediction: Tensor, reference: Tensor, peak: float, mask: Tensor | None) -> float:
        """See :meth:`HeadMaskMetric.value`."""
        return nrmse(prediction, reference, peak, mask)


class HeadMaskHFEN(HeadMaskMetric):
    """:func:`mdcsrn.metrics.hfen` for each volume; it has no unit, so that the data range plays no part.

    >>> import torch
    >>> cube = torch.zeros(1, 1, 16, 16, 16)
    >>> cube[..., 4:12, 4:12, 4:12] = 1
    >>> metric = HeadMaskHFEN()
    >>> metric(0.9 * cube, cube)
    tensor([[0.1000]])
    >>> metric.aggregate()
    tensor([0.1000])
    """

    def value(self, prediction: Tensor, reference: Tensor, peak: float, mask: Tensor | None) -> float:
        """See :meth:`HeadMaskMetric.value`."""
        return hfen(prediction, reference, mask)


class HeadMaskSSIM(HeadMaskMetric):
    """:func:`mdcsrn.metrics.ssim` for each image, the window as wide as the image has axes.

    Args:
        window: ``"gaussian"`` or ``"uniform"``.
        size: window width in voxels, odd.
        sigma: Gaussian width in voxels.
        head: as :class:`HeadMaskMetric`.
        reduction: as :class:`HeadMaskMetric`.

    >>> import torch
    >>> cube = torch.zeros(1, 1, 16, 16, 16)
    >>> cube[..., 4:12, 4:12, 4:12] = 1
    >>> metric = HeadMaskSSIM()
    >>> metric(0.9 * cube, cube)
    tensor([[0.9890]])
    >>> metric.aggregate()
    tensor([0.9890])
    """

    def __init__(
        self,
        window: WindowShape = "gaussian",
        size: int = 11,
        sigma: float = 1.5,
        head: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
    ) -> None:
        super().__init__(head=head, reduction=reduction)
        self.window = SSIMWindow(window, size, sigma)

    def value(self, prediction: Tensor, reference: Tensor, peak: float, mask: Tensor | None) -> float:
        """See :meth:`HeadMaskMetric.value`."""
        return ssim(prediction, reference, peak, mask, self.window, reference.ndim)
