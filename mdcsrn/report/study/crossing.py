"""Where one curve crosses another: the stretches on which a method is no better than bicubic interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Stretch = tuple[float, float]


def stretches_below(x: Curve, method: Curve, base: Curve) -> list[Stretch]:
    """Stretches of x on which `method` is at or below `base`, both taken as straight between their points.

    Args:
        x: (n,), ascending.
        method: (n,) figures, higher is better; NaN: no figure, and no stretch goes on there.
        base: (n,) likewise.

    Returns:
        First and last x of each stretch, ascending; a single point has both equal.

    >>> x = np.arange(5.0)
    >>> stretches_below(x, np.array([0.0, 2, 2, 2, 0]), np.ones(5))
    [(0.0, 0.5), (3.5, 4.0)]
    >>> stretches_below(x, np.full(5, 2.0), np.ones(5))
    []
    """
    gain = method - base
    found: list[Stretch] = []
    start: float | None = None
    for i, value in enumerate(gain):
        below = bool(value <= 0)  # False for NaN
        if below and start is None:
            start = _zero(x, gain, i - 1) if i > 0 and gain[i - 1] > 0 else float(x[i])
        if not below and start is not None:
            found.append((start, _zero(x, gain, i - 1) if value > 0 else float(x[i - 1])))
            start = None
    return found if start is None else [*found, (start, float(x[-1]))]


def stretches_in_words(stretches: Sequence[Stretch], unit: str, extent: Stretch) -> str:
    """Stretches as text: ``nowhere``, ``everywhere``, or their ends.

    Args:
        stretches: of :func:`stretches_below`.
        unit: behind the last number.
        extent: first and last x of the curve.

    >>> stretches_in_words([(0.0, 12.4), (90.0, 100.0)], " %", (0.0, 100.0))
    '0–12 %, 90–100 %'
    >>> stretches_in_words([], " %", (0.0, 100.0))
    'nowhere'
    """
    if not stretches:
        return "nowhere"
    if list(stretches) == [extent]:
        return "everywhere"
    return ", ".join(
        f"{first:.0f}{unit}" if round(first) == round(last) else f"{first:.0f}–{last:.0f}{unit}"
        for first, last in stretches
    )


def angles_in_words(angles: Sequence[float], method: Curve, base: Curve) -> str:
    """The angles at which a method is at or below the base; nothing is said of those in between.

    >>> angles_in_words((0, 15, 30), np.array([3.0, 1, 1]), np.array([2.0, 1, 3]))
    '15°, 30°'
    """
    below = [f"{angle:g}°" for angle, gain in zip(angles, method - base, strict=True) if gain <= 0]
    if not below:
        return "nowhere"
    return "everywhere" if len(below) == len(angles) else ", ".join(below)


def _zero(x: Curve, gain: Curve, i: int) -> float:
    """Where the straight line from point i to the next one is 0."""
    return float(x[i] + (x[i + 1] - x[i]) * gain[i] / (gain[i] - gain[i + 1]))
