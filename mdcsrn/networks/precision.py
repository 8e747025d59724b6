"""Precision of a network's arithmetic, by name: the one place that turns it into autocast."""

from __future__ import annotations

import torch

from mdcsrn.errors import ConfigError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def check_precision(precision: str) -> str:
    """Return a known precision, or raise ConfigError."""
    if precision not in PRECISIONS:
        raise ConfigError("unknown precision", got=precision, allowed=", ".join(PRECISIONS))
    return precision


def autocast(device_type: str, precision: str) -> torch.autocast:
    """Context in which convolutions run in `precision`; float32 leaves everything as it is.

    Args:
        device_type: ``cpu`` or ``cuda``.
        precision: ``float32`` or ``bfloat16``.
    """
    dtype = PRECISIONS[check_precision(precision)]
    return torch.autocast(device_type, dtype, enabled=dtype != torch.float32)
