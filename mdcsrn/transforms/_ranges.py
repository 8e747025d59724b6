"""Check ranges of random transforms where they are given, not in a worker."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mdcsrn.errors import ConfigError


def check_range(
    name: str, values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float]:
    """Return (low, high) as floats.

    Raises:
        ConfigError: not two numbers in order, not finite, or outside `lowest` to `highest`.
    """
    allowed = "[lowest, highest]"
    if (lowest, highest) != (-math.inf, math.inf):
        allowed += f", from {lowest:g}" if highest == math.inf else f", {lowest:g} to {highest:g}"
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} is a range of two numbers", got=values, allowed=allowed) from error
    if not lowest <= low <= high <= highest or not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{name} is a range of two numbers in order", got=values, allowed=allowed)
    return low, high
