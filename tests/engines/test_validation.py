"""Metrics of a validation by name."""

from __future__ import annotations

import pytest

from mdcsrn.engines import validation_metrics
from mdcsrn.errors import ConfigError
from mdcsrn.metrics import HeadMaskPSNR, HeadMaskSSIM


def test_names_become_handlers_in_their_order() -> None:
    found = validation_metrics(["ssim", "psnr"])
    assert list(found) == ["ssim", "psnr"]
    assert [type(handler.metric_fn) for handler in found.values()] == [HeadMaskSSIM, HeadMaskPSNR]


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="vif.*allowed: psnr, ssim, nrmse, hfen"):
        validation_metrics(["psnr", "vif"])
