"""Low-pass a volume as a short scan does: which frequencies it measures, and with which weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mdcsrn.kspace.fourier import VOLUME_DIMS, fft, frequencies, ifft
from mdcsrn.kspace.windows import check_window, find_window

# '|k| < n / (2 r), strictly' must hold for factors as they are typed: 126 / (2 * 1.4) is 45, but 45 * 2.8 / 126 rounds
# to just below 1. What lies within 1e-9 of the edge counts as on it.
EDGE = 1 - 1e-9


class LowPass(Protocol):
    """What a low-pass needs to know; :class:`mdcsrn.kspace.DegradationSpec` has it."""

    @property
    def reduction(self) -> tuple[float, float, float]:
        """How many times fewer frequencies are kept per axis (D, H, W), >= 1; an axis of 1 is not touched at all."""

    @property
    def window(self) -> str:
        """Name of a registered window (:func:`mdcsrn.kspace.window_names`)."""

    @property
    def window_parameter(self) -> float | None:
        """Tukey: tapered share of the band, 0..1. Gaussian: standard deviation in units of the band edge."""


def reduced_dims(reduction: Sequence[float]) -> tuple[int, ...]:
    """Axes (-3, -2, -1) whose reduction is above 1: the only ones a low-pass transforms."""
    return tuple(d for d, r in zip(VOLUME_DIMS, reduction, strict=True) if r > 1)


def acquired_shape(shape: Sequence[int], reduction: Sequence[float]) -> tuple[int, int, int]:
    """Grid that a short scan would be reconstructed on: n / r rounded, and never less than the samples kept.

    Args:
        shape: (D, H, W) of the reference grid.
        reduction: per axis, >= 1.

    Returns:
        (D, H, W) of the acquired grid; an axis with reduction 1 keeps its size.

    >>> acquired_shape((256, 320, 320), (1, 2, 2))
    (256, 160, 160)
    """
    sizes = []
    for n, r in zip(shape, reduction, strict=True):
        kept = 2 * math.ceil(n / (2 * r) * EDGE) - 1
        sizes.append(int(n) if r == 1 else max(kept, round(n / r)))
    return sizes[0], sizes[1], sizes[2]


def passband(shape: Sequence[int], low: LowPass, device: torch.device | str | None = None) -> Tensor:
    """Frequencies that the scan measures: integer |k| < n / (2 r), strictly, on every axis with r > 1.

    Strictness drops the unpaired sample of an even n / r (320 at r = 2 keeps 159), so a real image stays real. The
    radial window asks for sum (k / (n / (2 r)))^2 < 1 over the reduced axes (an ellipsoid).

    Args:
        shape: (D, H, W) of the reference grid.
        low: reduction and window.
        device: where the mask is made.

    Returns:
        Boolean mask in centred order, broadcastable to (D, H, W) (axes with r = 1 have size 1).

    >>> from mdcsrn.kspace import DegradationSpec
    >>> passband((4, 4, 8), DegradationSpec((1, 1, 2))).flatten().int().tolist()  # |k| < 2
    [0, 0, 0, 1, 1, 1, 0, 0]
    """
    edges = _edge_distances(shape, low.reduction, device)
    if find_window(low.window).radial and edges:
        return _sum_of_squares(edges) < EDGE
    mask = torch.ones((1, 1, 1), dtype=torch.bool, device=device)
    for distance in edges:
        mask = mask & (distance < EDGE)
    return mask


def window(shape: Sequence[int], low: LowPass, device: torch.device | str | None = None) -> Tensor:
    """Weights of the low-pass: the passband times its apodisation, 1 at the zero frequency.

    With u = |k| / (n / (2 r)) on each reduced axis: Tukey is 1 up to u = 1 - p and falls as a cosine to 0 at u = 1;
    Hamming is 0.54 + 0.46 cos(pi u); Gaussian is exp(-u^2 / (2 p^2)). The product over the axes is taken; a radial
    window takes its profile at the radius, the root of the sum of u^2.

    Args:
        shape: (D, H, W) of the reference grid.
        low: reduction and window.
        device: where the weights are made.

    Returns:
        Weights in [0, 1], float64, centred order, broadcastable to (D, H, W).

    Raises:
        ConfigError: the window is unknown, or its parameter out of range.

    >>> from mdcsrn.kspace import DegradationSpec
    >>> weights = window((4, 4, 8), DegradationSpec((1, 1, 2), "hamming")).flatten()
    >>> [round(w, 2) for w in weights.tolist()]
    [0.0, 0.0, 0.0, 0.54, 1.0, 0.54, 0.0, 0.0]
    """
    parameter = check_window(low.window, low.window_parameter)
    weights = passband(shape, low, device).to(torch.float64)
    entry = find_window(low.window)
    edges = _edge_distances(shape, low.reduction, device)
    if entry.profile is None or not edges:
        return weights
    for distance in [_sum_of_squares(edges).sqrt()] if entry.radial else edges:
        weights = weights * entry.profile(distance.clamp(max=1), parameter)
    return weights


def low_pass(volume: Tensor, low: LowPass) -> Tensor:
    """Apply a low-pass: real stays real and signed (never its magnitude), nothing is clipped, the mean is kept.

    Args:
        volume: real or complex, shape (..., D, H, W).
        low: reduction and window.

    Returns:
        Same shape and dtype.

    >>> from mdcsrn.kspace import DegradationSpec
    >>> wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).expand(1, 1, 16)
    >>> passed = low_pass(wave, DegradationSpec((1, 1, 2)))  # 3 cycles lie below 16 / (2 * 2)
    >>> stopped = low_pass(wave, DegradationSpec((1, 1, 4)))  # and above 16 / (2 * 4)
    >>> torch.allclose(passed, wave, atol=1e-6), float(stopped.abs().max()) < 1e-6
    (True, True)
    """
    dims = reduced_dims(low.reduction)
    if not dims:
        return volume.clone()
    weights = window(volume.shape[-3:], low, volume.device).to(volume.real.dtype)
    # Only the reduced axes are transformed: along the others the operator is the identity.
    result = ifft(fft(volume, dims) * weights, dims)
    return result if volume.is_complex() else result.real.contiguous()


def _edge_distances(
    shape: Sequence[int], reduction: Sequence[float], device: torch.device | str | None
) -> list[Tensor]:
    """|k| in units of the band edge n / (2 r), one broadcastable float64 tensor for each reduced axis."""
    distances = []
    for dim in reduced_dims(reduction):
        n, r = shape[dim], reduction[dim]
        view = [1, 1, 1]
        view[dim] = n
        distances.append((frequencies(n, device).abs().to(torch.float64) * (2.0 * r) / n).view(view))
    return distances


def _sum_of_squares(edges: Sequence[Tensor]) -> Tensor:
    total = edges[0] ** 2
    for distance in edges[1:]:
        total = total + distance**2
    return total
