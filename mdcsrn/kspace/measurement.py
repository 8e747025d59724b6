"""Model what a scan measured of a finer image, axis by axis: the centre of k-space, or thick slices.

The operator A is separable: one small matrix per axis, so that A, its pseudo-inverse and the projection are products
of real matrices. On a "fourier" axis A is the centred k-space crop of :func:`mdcsrn.kspace.resample_grid` and its
pseudo-inverse is zero-filling; the sum of the two Nyquist samples of an even measured axis is bound, not each. On a
slice axis a row of A is the profile of one slice over the fine planes. Consistency says A(result) = measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace.fourier import resample_grid
from mdcsrn.kspace.operator import Certificate

SLICE_PROFILES = ("box", "gaussian")
KINDS = ("fourier", *SLICE_PROFILES)
FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations
RCOND = 1e-6  # singular values below this share of the largest count as zero: nothing was measured there
SLAB = 32  # planes that are held in float64 at a time

MeasurementCertificate = Certificate  # its name before the operators shared one


@dataclass(frozen=True)
class AxisMeasurement:
    """One axis of the operator.

    Attributes:
        result: samples of the image that is looked for.
        measured: samples that were measured over the same field of view, at most `result`.
        kind: ``fourier`` (k-space crop), or the slice profile ``box`` or ``gaussian``.
        thickness: of a slice, in distances between slice centres: below 1 with gaps, above 1 with overlap. Full width
            of a box, full width at half maximum of a Gaussian. Not used on a Fourier axis.

    Raises:
        ConfigError: a size, the kind or the thickness is out of range.

    >>> AxisMeasurement(result=128, measured=64).condition
    1.0
    """

    result: int
    measured: int
    kind: str = "fourier"
    thickness: float = 1.0

    def __post_init__(self) -> None:
        for name in ("result", "measured"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} samples of a measurement are a whole number", got=value)
        if not 1 <= self.measured <= self.result:
            raise ConfigError(
                "a measurement has no more samples than its result",
                got=f"{self.measured} of {self.result}",
                allowed=f"1 to {self.result}",
            )
        if self.kind not in KINDS:
            raise ConfigError("unknown kind of measurement", got=self.kind, allowed=", ".join(KINDS))
        if not (isinstance(self.thickness, (int, float)) and 0 < self.thickness < math.inf):
            raise ConfigError("a slice's thickness is positive", got=self.thickness, allowed="> 0, finite")

    @property
    def is_identity(self) -> bool:
        """True where every sample was measured as it is."""
        return self.kind == "fourier" and self.measured == self.result

    @property
    def condition(self) -> float:
        """Largest over smallest singular value: by how much noise of the measurement can grow in the projection."""
        if self.kind == "fourier":
            return 1.0
        values = torch.linalg.svdvals(axis_matrix(self))
        return float(values[0] / values[-1]) if values[-1] > 0 else math.inf


@dataclass(frozen=True)
class Measurement:
    """The operator A over the axes (D, H, W). Volumes have shape (..., D, H, W), are real, in any unit.

    Attributes:
        axes: one per array axis.

    >>> operator = Measurement((AxisMeasurement(4, 4), AxisMeasurement(8, 4), AxisMeasurement(6, 3, "box")))
    >>> operator.result_shape, operator.measured_shape
    ((4, 8, 6), (4, 4, 3))
    >>> truth = torch.rand(4, 8, 6, dtype=torch.float64)
    >>> torch.allclose(operator.project(truth, operator.forward(truth)), truth)  # the truth agrees already
    True
    """

    axes: tuple[AxisMeasurement, AxisMeasurement, AxisMeasurement]

    def __post_init__(self) -> None:
        if len(self.axes) != 3:
            raise ConfigError("a measurement has three axes", got=len(self.axes))

    @property
    def result_shape(self) -> tuple[int, int, int]:
        """(D, H, W) of the image that is looked for."""
        d, h, w = (axis.result for axis in self.axes)
        return d, h, w

    @property
    def measured_shape(self) -> tuple[int, int, int]:
        """(D, H, W) of the measurement."""
        d, h, w = (axis.measured for axis in self.axes)
        return d, h, w

    @property
    def kinds(self) -> tuple[str, str, str]:
        """Kinds of the three axes."""
        d, h, w = (axis.kind for axis in self.axes)
        return d, h, w

    def forward(self, result: Tensor) -> Tensor:
        """A x: what would have been measured of a result, shape (..., *measured_shape), same dtype; means are kept."""
        _require(result, self.result_shape, "result")
        return apply_matrices(result, [None if axis.is_identity else axis_matrix(axis) for axis in self.axes])

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """A⁺ y: the smallest image with this measurement (zero-filling on Fourier axes), shape (..., *result_shape)."""
        _require(measured, self.measured_shape, "measurement")
        return apply_matrices(measured, [None if axis.is_identity else axis_inverse(axis) for axis in self.axes])

    def outside(self, result: Tensor) -> Tensor:
        """X - A⁺A x: the part of a result that the measurement says nothing about, same shape and dtype."""
        return result - self.pseudo_inverse(self.forward(result))

    def project(self, result: Tensor, measured: Tensor) -> Tensor:
        """X + A⁺(y - A x): the nearest image that agrees with the measurement.

        An orthogonal projection, so the L2 error to any image with this measurement never grows. Nothing is clipped.

        Args:
            result: network output, shape (..., *result_shape).
            measured: y, shape (..., *measured_shape), same unit.

        Returns:
            Consistent image, shape and dtype of `result`.

        Raises:
            GeometryError: a shape does not fit.
        """
        _require(measured, self.measured_shape, "measurement")
        missing = measured.to(result.dtype) - self.forward(result)
        return self.pseudo_inverse(missing).add_(result)

    def certify(self, result: Tensor, measured: Tensor) -> Certificate:
        """Measure the agreement in float64, a few planes at a time; arguments and errors as for :meth:`project`."""
        _require(result, self.result_shape, "result")
        _require(measured, self.measured_shape, "measurement")
        if result.shape[:-3] != measured.shape[:-3]:
            raise GeometryError(
                "result and measurement differ in batch or channels", got=(result.shape, measured.shape)
            )
        depth, *plane = (None if axis.is_identity else axis_matrix(axis) for axis in self.axes)
        slabs = (apply_matrices(slab.double(), [None, *plane]) for slab in result.split(SLAB, dim=-3))
        simulated = torch.cat(list(slabs), dim=-3)
        if depth is not None:
            simulated = apply_matrices(simulated, [depth, None, None])
        norm = squared = 0.0
        for ours, theirs in zip(simulated.split(SLAB, dim=-3), measured.split(SLAB, dim=-3), strict=True):
            y = theirs.double()
            squared += float((ours - y).square().sum())
            norm += float(y.square().sum())
        error = math.sqrt(squared / norm) if norm > 0 else math.sqrt(squared)
        share = math.prod(self.measured_shape) / math.prod(self.result_shape)
        return Certificate(
            error, share, result_shape=self.result_shape, measured_shape=self.measured_shape, kinds=self.kinds
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"axes": [asdict(axis) for axis in self.axes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Read plain values; raises ConfigError where they are not those of a measurement."""
        try:
            d, h, w = (AxisMeasurement(**axis) for axis in values["axes"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError("these are not the values of a measurement", got=dict(values)) from error
        return cls((d, h, w))


@lru_cache(maxsize=64)
def axis_matrix(axis: AxisMeasurement) -> Tensor:
    """A of one axis.

    Returns:
        Real matrix, shape (measured, result), float64; its rows sum to 1.

    >>> [round(w, 3) for w in axis_matrix(AxisMeasurement(4, 2, "box"))[1].tolist()]
    [0.0, 0.25, 0.5, 0.25]
    """
    if axis.kind == "fourier":
        return _grid_matrix(axis.result, axis.measured)
    return _profile_matrix(axis)


@lru_cache(maxsize=64)
def axis_inverse(axis: AxisMeasurement) -> Tensor:
    """Moore-Penrose inverse of :func:`axis_matrix`, shape (result, measured), float64.

    >>> axis = AxisMeasurement(9, 5)
    >>> torch.allclose(axis_matrix(axis) @ axis_inverse(axis), torch.eye(5, dtype=torch.float64))
    True
    """
    if axis.kind == "fourier":
        return _grid_matrix(axis.measured, axis.result)
    return torch.linalg.pinv(axis_matrix(axis), rtol=RCOND)


def _grid_matrix(n: int, m: int) -> Tensor:
    """Matrix of :func:`mdcsrn.kspace.resample_grid` for n -> m samples: what it makes of each unit vector."""
    units = torch.eye(n, dtype=torch.float64).view(n, 1, 1, n)
    return resample_grid(units, (1, 1, m)).view(n, m).T.contiguous()


def _profile_matrix(axis: AxisMeasurement) -> Tensor:
    """Integral of each slice's profile over each fine plane's own width.

    Slice i lies at i, fine plane j at (j - m//2) n/m + n//2, in distances between slices (the rule of
    :func:`mdcsrn.kspace.grid_affine`). A slab that reaches beyond the first or last plane is cut there: nothing is
    known outside the field of view, and the opposite end is no neighbour. Rows sum to 1.
    """
    n, m = axis.measured, axis.result
    slices = torch.arange(n, dtype=torch.float64).view(n, 1)
    planes = (torch.arange(m, dtype=torch.float64) - m // 2) * (n / m) + n // 2
    start, end = planes - n / (2 * m) - slices, planes + n / (2 * m) - slices
    if axis.kind == "box":
        half = axis.thickness / 2
        weights = (end.clamp(-half, half) - start.clamp(-half, half)).clamp(min=0)
    else:
        sigma = axis.thickness / FWHM
        weights = torch.special.ndtr(end / sigma) - torch.special.ndtr(start / sigma)
    return weights / weights.sum(dim=1, keepdim=True)


def apply_matrices(volume: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Multiply each axis by its matrix, in the volume's dtype; the axis that shrinks most comes first.

    Args:
        volume: shape (..., D, H, W), real.
        matrices: (new size, old size) per axis; None leaves an axis alone.

    Returns:
        A new volume, never the input itself.

    Raises:
        ConfigError: the volume is of whole numbers.

    >>> mean = torch.ones(1, 3) / 3
    >>> apply_matrices(torch.arange(6.0).view(1, 3, 2), [None, mean, None]).tolist()
    [[[2.0, 3.0]]]
    """
    if not volume.is_floating_point():
        raise ConfigError("a measurement needs a real floating-point volume", got=volume.dtype, remedy="use float32")
    work = [(m.shape[0] / m.shape[1], dim) for dim, m in zip((-3, -2, -1), matrices, strict=True) if m is not None]
    result = volume
    for _, dim in sorted(work):
        matrix = matrices[dim]
        assert matrix is not None  # only those are in the list
        matrix = matrix.to(result.device, result.dtype)
        if dim == -1:
            result = result @ matrix.T
        elif dim == -2:
            result = matrix @ result
        else:
            flat = matrix @ result.flatten(-2)
            result = flat.unflatten(-1, result.shape[-2:])
    return volume.clone() if result is volume else result


def _require(volume: Tensor, shape: tuple[int, int, int], what: str) -> None:
    if tuple(volume.shape[-3:]) != shape or volume.ndim < 3:
        raise GeometryError(f"the {what} is on another grid", got=tuple(volume.shape), allowed=f"(..., {shape})")
