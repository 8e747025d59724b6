"""What tests of several kinds measure against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest


@pytest.fixture(scope="session")
def numpy_low_pass() -> Callable[..., np.ndarray]:
    """``low_pass(volume, reduction)``: a box low-pass by NumPy alone; integer |k| < n / (2 r) is kept."""

    def low_pass(volume: np.ndarray, reduction: Sequence[float]) -> np.ndarray:
        spectrum = np.fft.fftn(volume.astype(np.float64))
        for axis, (n, r) in enumerate(zip(volume.shape, reduction, strict=True)):
            kept = np.abs(np.rint(np.fft.fftfreq(n, 1 / n))) < n / (2 * r) if r > 1 else np.ones(n, bool)
            spectrum *= np.expand_dims(kept, [other for other in range(3) if other != axis])
        return np.fft.ifftn(spectrum).real.astype(np.float32)

    return low_pass
