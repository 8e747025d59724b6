"""Plan of one prediction: the measured part of k-space, the grid of the result, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.io.volume import voxel_spacing
from mdcsrn.kspace.band import AxisBand
from mdcsrn.kspace.measurement import AxisMeasurement, Measurement
from mdcsrn.notices import Notice

Triple = tuple[int, int, int]
Pairs = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be done to a volume, decided from its voxels, its header and the task.

    Attributes:
        kind: ``same-grid``, ``factor``, ``to-spacing``, or ``nothing`` (output = input).
        input_shape: (D, H, W) of the volume.
        bands: what each axis's spectrum says.
        padding: voxels appended per axis (before, after), so that a spacing is met exactly.
        shape: (D, H, W) of the result.
        affine: of the result, voxel index to millimetres, float64, shape (4, 4).
        reduction: samples of the result over acquired samples, per axis, >= 1.
        band: k-space crop and zero-filling between the result's grid and the acquired matrix, on every axis.
        measurement: what consistency binds; None: consistency is off. It differs from `band` on a slice axis alone.
        decision: one sentence.
        reasons: one sentence each, first those of the three axes.
        notices: warnings by name.
        task: plain values of the task.
        slice_axis: array axis across 2D slices; None: a 3D scan, or not known.
    """

    kind: str
    input_shape: Triple
    bands: tuple[AxisBand, AxisBand, AxisBand]
    padding: Pairs
    shape: Triple
    affine: NDArray[np.float64]
    reduction: tuple[float, float, float]
    band: Measurement
    measurement: Measurement | None
    decision: str
    reasons: tuple[str, ...]
    notices: tuple[Notice, ...]
    task: Mapping[str, Any]
    slice_axis: int | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths of the result, millimetres."""
        return voxel_spacing(self.affine)

    @property
    def acquired_shape(self) -> Triple:
        """The matrix that was measured, (D, H, W), over the field of view of the result."""
        return self.band.measured_shape

    def measured(self, array: Tensor) -> Tensor:
        """Y: the volume cropped in k-space to the acquired matrix.

        Args:
            array: voxels of the volume, shape (..., *input_shape), real, any unit.

        Returns:
            Shape (..., *acquired_shape), same dtype and unit; its mean is kept.
        """
        if tuple(array.shape[-3:]) != self.input_shape:
            raise GeometryError("the plan is of another volume", got=tuple(array.shape), allowed=self.input_shape)
        return crop(pad_periodic(array, self.padding), self.acquired_shape)

    def low(self, array: Tensor) -> Tensor:
        """The network's input: the acquired matrix zero-filled to the result's grid.

        What the input holds beyond its measured band (rounding, the magnitude) is not measured and is left out.

        Args:
            array: see :meth:`measured`.

        Returns:
            Shape (..., *shape), same dtype and unit, signed.
        """
        return self.band.pseudo_inverse(self.measured(array))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; :meth:`from_dict` makes the plan of them again."""
        return {
            "kind": self.kind,
            "task": dict(self.task),
            "decision": self.decision,
            "reasons": list(self.reasons),
            "notices": [asdict(notice) for notice in self.notices],
            "input_shape": list(self.input_shape),
            "bands": [asdict(band) for band in self.bands],
            "padding": [list(pair) for pair in self.padding],
            "acquired_shape": list(self.acquired_shape),
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing),
            "affine": self.affine.tolist(),
            "reduction": list(self.reduction),
            "band": self.band.to_dict(),
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "slice_axis": self.slice_axis,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Make a plan of its plain values, as a sidecar holds them.

        Raises:
            ConfigError: a value is missing or of the wrong kind.
        """
        try:
            bands = [AxisBand(**band) for band in values["bands"]]
            pairs = [(int(before), int(after)) for before, after in values["padding"]]
            measurement = values["measurement"]
            return cls(
                kind=str(values["kind"]),
                input_shape=_triple(values["input_shape"]),
                bands=(bands[0], bands[1], bands[2]),
                padding=(pairs[0], pairs[1], pairs[2]),
                shape=_triple(values["shape"]),
                affine=np.array(values["affine"], dtype=np.float64).reshape(4, 4),
                reduction=(float(values["reduction"][0]), float(values["reduction"][1]), float(values["reduction"][2])),
                band=Measurement.from_dict(values["band"]),
                measurement=None if measurement is None else Measurement.from_dict(measurement),
                decision=str(values["decision"]),
                reasons=tuple(map(str, values["reasons"])),
                notices=tuple(Notice(**notice) for notice in values["notices"]),
                task=dict(values["task"]),
                slice_axis=None if values["slice_axis"] is None else int(values["slice_axis"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError("these are not the values of a plan", got=f"{type(error).__name__}: {error}") from error


def pad_periodic(array: Tensor, padding: Pairs) -> Tensor:
    """Append voxels that go linearly from each line's last value to its first.

    The Fourier transform takes the field of view as periodic: zeros or a repeated edge would put a jump between two
    faces, whose ringing spreads over the volume.

    Args:
        array: shape (..., D, H, W).
        padding: voxels (before, after) per axis.

    Returns:
        The larger volume; the same object where nothing is appended.
    """
    for dim, (before, after) in zip((-3, -2, -1), padding, strict=True):
        count = before + after
        if not count:
            continue
        view = [1] * array.ndim
        view[dim] = count
        weight = (torch.arange(1, count + 1, device=array.device, dtype=array.dtype) / (count + 1)).view(view)
        n = array.shape[dim]
        ramp = array.narrow(dim, n - 1, 1) * (1 - weight) + array.narrow(dim, 0, 1) * weight
        array = torch.cat([ramp.narrow(dim, after, before), array, ramp.narrow(dim, 0, after)], dim=dim)
    return array


def crop(array: Tensor, shape: Triple) -> Tensor:
    """Centred k-space crop to a smaller grid, as products of real matrices (see :class:`Measurement`)."""
    d, h, w = (AxisMeasurement(int(n), s) for n, s in zip(array.shape[-3:], shape, strict=True))
    return Measurement((d, h, w)).forward(array)


def _triple(values: Any) -> Triple:
    d, h, w = (int(value) for value in values)
    return d, h, w
