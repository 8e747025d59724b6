"""Metrics of a validation by name, as MONAI's engines take them."""

from __future__ import annotations

from collections.abc import Sequence

from monai.handlers import IgniteMetricHandler, from_engine

from mdcsrn.errors import ConfigError
from mdcsrn.metrics import HeadMaskHFEN, HeadMaskNRMSE, HeadMaskPSNR, HeadMaskSSIM

METRICS = {"psnr": HeadMaskPSNR, "ssim": HeadMaskSSIM, "nrmse": HeadMaskNRMSE, "hfen": HeadMaskHFEN}


def validation_metrics(names: Sequence[str]) -> dict[str, IgniteMetricHandler]:
    """Metrics in the head mask, of ``pred`` against ``label``.

    Args:
        names: of :data:`METRICS`.

    Returns:
        Name -> handler, for ``key_val_metric`` and ``additional_metrics`` of an evaluator.

    Raises:
        ConfigError: an unknown name.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ConfigError("unknown metrics", got=", ".join(map(str, unknown)), allowed=", ".join(METRICS))
    pair = from_engine(["pred", "label"])
    return {name: IgniteMetricHandler(metric_fn=METRICS[name](), output_transform=pair) for name in names}
