"""Interpolate acquired planes onto the result's grid by Keys' cubic convolution: where EDSR, WDSR and SRGAN start.

R. G. Keys: Cubic convolution interpolation for digital image processing, IEEE Transactions on Acoustics, Speech, and
Signal Processing 29(6), 1981, with a = -1/2, the only value that is exact for parabolas. Sample j of the input lies at
index r j of the result, as on a grid that was cropped in k-space (:func:`mdcsrn.kspace.decimate`), and not at
r j + (r - 1) / 2 as where pictures share their edges.

Annotations are not text (no ``from __future__ import annotations``): TorchScript reads them.
"""

from typing import List  # noqa: UP035 - TorchScript's word for a list

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError

TAPS = 4  # samples j - 1 ... j + 2 for the results between j and j + 1
MARGIN = 2  # samples to the far side that a result depends on


class Separable(nn.Module):
    """Change the sampling of the last two axes by a whole factor, the same way along both (`last_axis`).

    Args:
        scale: factor r, a whole number >= 1; 1 returns the input.
        what: is by a whole number, for the message.
    """

    def __init__(self, scale: int, what: str) -> None:
        super().__init__()
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise ConfigError(f"{what} by a whole number", got=scale, allowed=">= 1")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(..., H, W) -> the same with both sizes changed by the factor, of the same type."""
        if self.scale == 1:
            return x
        return self.last_axis(self.last_axis(x).transpose(-1, -2)).transpose(-1, -2)

    def extra_repr(self) -> str:
        """The factor."""
        return f"scale={self.scale}"

    def last_axis(self, x: Tensor) -> Tensor:
        """Change the sampling of the last axis."""
        raise NotImplementedError


class CubicUpsample(Separable):
    """Refine the last two axes by a whole factor: (..., H, W) -> (..., r H, r W).

    Result r j + p is the sum over k = -1 ... 2 of w(k - p / r) times sample j + k, with Keys' kernel
    w(t) = 3/2 |t|^3 - 5/2 |t|^2 + 1 for |t| <= 1 and -1/2 |t|^3 + 5/2 |t|^2 - 4 |t| + 2 up to 2. Samples pass unchanged
    (p = 0); the border is replicated. The weights are plain numbers: there is no parameter, no entry of the state
    dictionary, and under autocast the sums stay in the precision of the input.

    Args:
        scale: factor r, a whole number >= 1; 1 returns the input.

    Raises:
        ConfigError: `scale` is not a whole number of at least 1.

    >>> import torch
    >>> CubicUpsample(2)(torch.tensor([[0.0, 1.0, 4.0, 9.0, 16.0]]))[0, 2:7].tolist()
    [1.0, 2.25, 4.0, 6.25, 9.0]
    """

    weights: List[List[float]]  # noqa: UP006

    def __init__(self, scale: int) -> None:
        super().__init__(scale, "interpolation refines")
        self.weights = phase_weights(scale)

    def last_axis(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., r W)."""
        first, last = x[..., :1], x[..., -1:]
        padded = torch.cat([first, x, last, last], dim=-1)
        taps = [padded[..., :-3], padded[..., 1:-2], padded[..., 2:-1], padded[..., 3:]]
        phases = [x]
        for w in self.weights:
            phases.append(w[0] * taps[0] + w[1] * taps[1] + w[2] * taps[2] + w[3] * taps[3])
        return torch.stack(phases, dim=-1).flatten(-2)


class LinearUpsample(CubicUpsample):
    """Refine the last two axes by linear interpolation, on the same grid: weights 1 - p / r and p / r.

    >>> import torch
    >>> LinearUpsample(2)(torch.tensor([[0.0, 1.0, 4.0]]))[0].tolist()
    [0.0, 0.5, 1.0, 2.5, 4.0, 4.0]
    """

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.weights = [[0.0, 1 - p / scale, p / scale, 0.0] for p in range(1, scale)]


class CubicDownsample(Separable):
    """Low-pass and thin the last two axes by a whole factor: (..., r H, r W) -> (..., H, W).

    Sample j is the mean around index r j, weighted by Keys' kernel stretched by r, which leaves little above the new
    grid's highest frequency; the border is replicated. As :class:`CubicUpsample` it has no parameter, and its sums stay
    in the precision of the input.

    Args:
        scale: factor r, a whole number >= 1; 1 returns the input.

    Raises:
        ConfigError: `scale` is not a whole number of at least 1.

    >>> import torch
    >>> CubicDownsample(2)(torch.arange(16.0).expand(16, 16))[4, 2:6].tolist()
    [4.0, 6.0, 8.0, 10.0]
    """

    weights: List[float]  # noqa: UP006

    def __init__(self, scale: int) -> None:
        super().__init__(scale, "decimation is")
        kernel = [_keys(m / scale) for m in range(1 - MARGIN * scale, MARGIN * scale)]
        self.weights = [value / sum(kernel) for value in kernel]

    def last_axis(self, x: Tensor) -> Tensor:
        """(..., r W) -> (..., W)."""
        side = len(self.weights) // 2
        padded = torch.cat([x[..., :1]] * side + [x] + [x[..., -1:]] * side, dim=-1)
        result = self.weights[0] * padded[..., 0 : x.size(-1) : self.scale]
        for m in range(1, len(self.weights)):
            result = result + self.weights[m] * padded[..., m : m + x.size(-1) : self.scale]
        return result


def phase_weights(scale: int) -> list[list[float]]:
    """Keys' weights of samples j - 1, j, j + 1, j + 2 for the results at j + p / r, p = 1 ... r - 1.

    >>> phase_weights(2)
    [[-0.0625, 0.5625, 0.5625, -0.0625]]
    """
    return [[_keys(k - p / scale) for k in range(-1, TAPS - 1)] for p in range(1, scale)]


def _keys(t: float) -> float:
    t = abs(t)
    return (1.5 * t - 2.5) * t * t + 1 if t <= 1 else ((-0.5 * t + 2.5) * t - 4) * t + 2
