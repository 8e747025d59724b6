"""Task of a prediction (fill the scan's own grid, or refine it), and the plan that it gives for a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.evidence import agreement, expected_samples
from mdcsrn.inference.planning.plan import Pairs, Plan
from mdcsrn.inference.planning.slice_axis import SliceAxis, find_slice_axis
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.volume import Volume
from mdcsrn.kspace.band import MIN_AXIS_VOXELS, AxisBand, detect_band
from mdcsrn.kspace.fourier import grid_affine
from mdcsrn.kspace.measurement import SLICE_PROFILES, AxisMeasurement, Measurement
from mdcsrn.notices import Notice

KINDS = ("detect", "same-grid", "factor", "to-spacing")
PROFILES = ("auto", "none", *SLICE_PROFILES)
EXACT = 1e-4  # relative: a spacing this near to the target counts as met
MAX_RESULT_VOXELS = 2**31  # 8 GiB as float32; beyond, a typing error is likelier than a wish
WORST_CONDITION = 30.0  # of a slice profile; noise in the slices would grow by as much


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Attributes:
        kind: ``detect`` (fill an empty outer band where there is one), ``same-grid`` (the same, asked for),
            ``factor`` or ``to-spacing``.
        factor: finer by this much per axis (D, H, W), real, >= 1; the size is rounded.
        spacing: voxel edge lengths to reach, millimetres per array axis; a size is round(n Δ / target), and the
            spacing written is n Δ / size.
        exact_field: append voxels first, so that the spacing is met within 1e-4 (relative).
        slice_profile: of 2D slices, where their axis is refined: ``box`` or ``gaussian`` (full width at half maximum
            = slice thickness) puts the slices back through that profile; ``auto`` and ``none`` switch consistency off,
            since 2D slices alias and are measured one after another: putting them back through a profile sharpens the
            differences between neighbours into stripes (seen on interleaved slices: three times their power).
        consistency: put back what was measured.
    """

    kind: str = "detect"
    factor: tuple[float, float, float] | None = None
    spacing: tuple[float, float, float] | None = None
    exact_field: bool = False
    slice_profile: str = "auto"
    consistency: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError("unknown task", got=self.kind, allowed=", ".join(KINDS))
        if self.slice_profile not in PROFILES:
            raise ConfigError("unknown slice profile", got=self.slice_profile, allowed=", ".join(PROFILES))
        for name, of_kind, smallest in (("factor", "factor", 1.0), ("spacing", "to-spacing", 1e-3)):
            value = getattr(self, name)
            if (value is not None) != (self.kind == of_kind):
                raise ConfigError(f"{name} belongs to the task '{of_kind}'", got=f"task '{self.kind}', {name} {value}")
            if value is not None:
                object.__setattr__(self, name, _three(name, value, smallest))
        if self.exact_field and self.kind != "to-spacing":
            raise ConfigError("an exact field of view belongs to the task 'to-spacing'", got=self.kind)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _Axis:
    """One axis of a plan: samples of the input, appended ones, the acquired matrix, the result."""

    padding: tuple[int, int]
    padded: int
    acquired: int
    result: int
    reasons: tuple[str, ...]
    notices: tuple[Notice, ...] = ()


def make_plan(volume: Volume, facts: ScanFacts, task: Task) -> Plan:
    """Decide what is done to a volume.

    An axis's outer band counts as measured unless :func:`mdcsrn.kspace.detect_band` finds it empty; an empty one
    is left out of the measurement in every task. Slices of a 2D scan are not band-limited, so their axis is not
    judged.

    Args:
        volume: the scan.
        facts: what is known of its acquisition.
        task: what is asked for.

    Returns:
        The plan; nothing is computed on the result's grid yet.

    Raises:
        ConfigError: the result would be absurdly large, no padding meets a spacing, or a slice profile is asked for
            and the slice axis is not known.
    """
    slices = find_slice_axis(volume.spacing, facts, asked=task.slice_profile in SLICE_PROFILES)
    expected = expected_samples(facts, volume.shape)
    bands = detect_band(torch.from_numpy(volume.array), expected)
    if slices.axis is not None:
        n = volume.shape[slices.axis]
        listed = [AxisBand(1.0, n, 0, 0, 0, False) if i == slices.axis else b for i, b in enumerate(bands)]
        bands = listed[0], listed[1], listed[2]
    axes = [_plan_axis(i, volume.shape[i], volume.spacing[i], bands[i], task, slices) for i in range(3)]
    d, h, w = (axis.result for axis in axes)
    if d * h * w > MAX_RESULT_VOXELS:
        raise ConfigError(
            "the result would be absurdly large", got=f"{d}x{h}x{w}", allowed=f"{MAX_RESULT_VOXELS} voxels"
        )
    a, b, c = (AxisMeasurement(axis.result, axis.acquired) for axis in axes)
    band = Measurement((a, b, c))
    kind = _kind(task, axes)
    measurement, reasons, notices = _consistency(band, task, slices)
    notices = [*(note for axis in axes for note in axis.notices), *slices.notices, *notices, *_nothing(kind, task)]
    shape = d, h, w
    padding: Pairs = axes[0].padding, axes[1].padding, axes[2].padding
    affine = torch.from_numpy(volume.affine).clone()
    affine[:3, 3] -= affine[:3, :3] @ torch.tensor([float(before) for before, _ in padding], dtype=torch.float64)
    return Plan(
        kind=kind,
        input_shape=volume.shape,
        bands=bands,
        padding=padding,
        shape=shape,
        affine=grid_affine(affine, [axis.padded for axis in axes], shape).numpy(),
        reduction=(d / a.measured, h / b.measured, w / c.measured),
        band=band,
        measurement=measurement,
        decision=_decision(kind, volume.shape, band),
        reasons=(
            *(axis.reasons[0] for axis in axes),
            *(reason for axis in axes for reason in axis.reasons[1:]),
            *agreement(expected, bands, volume.shape),
            *slices.reasons,
            *reasons,
        ),
        notices=tuple(notices),
        task=task.to_dict(),
        slice_axis=slices.axis,
    )


def _plan_axis(index: int, n: int, spacing: float, band: AxisBand, task: Task, slices: SliceAxis) -> _Axis:
    name = f"axis {index}"
    reasons = [f"{name}: {_band_words(band, n, index == slices.axis)}"]
    padding, padded, result = (0, 0), n, n
    notices: list[Notice] = []
    if task.factor is not None:
        result = round(n * task.factor[index])
    if task.spacing is not None:
        target = task.spacing[index]
        result = round(n * spacing / target)
        if result < band.samples:
            text = f"{name} stays at {spacing:.4g} mm: {target:.4g} mm would give up samples that were measured"
            notices.append(Notice("coarser-than-scan", text))
            result = n
        elif task.exact_field:
            padded = _exact_field(name, n, spacing, target, band.fraction)
            padding = ((padded - n) // 2, (padded - n + 1) // 2)
            result = round(padded * spacing / target)
    if n == 1 and result > 1:
        notices.append(Notice("single-sample-axis", f"{name} has one sample, which cannot be refined: it stays"))
        padding, padded, result = (0, 0), 1, 1
    if padded > n:
        before, after = padding
        reasons.append(f"{name}: appended samples, {before} before and {after} after, so that the spacing is met")
    # Appended samples make frequencies finer: the band's last one moves out in proportion.
    acquired = min(result, padded, 2 * ((band.samples // 2) * padded // n) + 1) if band.empty else padded
    return _Axis(padding, padded, acquired, result, tuple(reasons), tuple(notices))


def _band_words(band: AxisBand, n: int, is_slice_axis: bool) -> str:
    if is_slice_axis:
        return "not assessed (slices of a 2D scan are not band-limited)"
    if not band.assessed:
        why = (
            f"{n} samples, an edge shows from {MIN_AXIS_VOXELS} on" if n < MIN_AXIS_VOXELS else "too few lines along it"
        )
        return f"not assessed ({why})"
    if band.empty:
        return f"acquired {band.samples} of {n} samples (step {band.step_db:.1f} dB, margin {band.margin:.2f})"
    return f"no empty band among {n} samples (largest step {band.step_db:.1f} dB, margin {band.margin:.2f})"


def _exact_field(name: str, n: int, spacing: float, target: float, share: float) -> int:
    """Fewest samples, n or more, whose field of view is a multiple of the target spacing within `EXACT`."""
    for padded in range(n, 2 * n + 64):
        result = max(1, round(padded * spacing / target))
        if abs(padded * spacing / (result * target) - 1) <= EXACT and result >= padded * share:
            return padded
    raise ConfigError(
        f"no padding of {name} meets the spacing",
        got=f"{n} samples of {spacing:g} mm, target {target:g} mm",
        remedy="let the spacing be rounded: leave the exact field of view out",
    )


def _kind(task: Task, axes: Sequence[_Axis]) -> str:
    if all(axis.result == axis.acquired for axis in axes):
        return "nothing"
    return "same-grid" if task.kind == "detect" else task.kind


def _consistency(
    band: Measurement, task: Task, slices: SliceAxis
) -> tuple[Measurement | None, list[str], list[Notice]]:
    """The measurement that is put back, or None with the reason."""
    if not task.consistency:
        return None, ["consistency is off, as asked for"], []
    axis = slices.axis
    if axis is None or band.axes[axis].is_identity:
        return band, [], []
    kind = task.slice_profile
    if kind in ("auto", "none"):
        why = "as asked for" if kind == "none" else "box or gaussian has to be asked for"
        return None, [f"consistency is off: slices along axis {axis} have no profile ({why})"], []
    grid = band.axes[axis]
    profile = AxisMeasurement(grid.result, grid.measured, kind, slices.thickness)
    if profile.condition > WORST_CONDITION:
        text = (
            f"slices along axis {axis} overlap: a {kind} profile of {slices.thickness:.3g} slice distances "
            f"would raise noise {profile.condition:.3g} times (at most {WORST_CONDITION:g}), so consistency is off"
        )
        return None, [], [Notice("slice-consistency-off", text)]
    axes = [profile if i == axis else one for i, one in enumerate(band.axes)]
    reason = f"axis {axis}: consistency binds {kind} slices of {slices.thickness:.3g} slice distances"
    return Measurement((axes[0], axes[1], axes[2])), [reason], []


def _nothing(kind: str, task: Task) -> list[Notice]:
    if kind != "nothing":
        return []
    if task.kind in ("detect", "same-grid"):
        return [Notice("no-empty-band", "no axis has an empty outer band, so the output is the input")]
    return [Notice("nothing-to-refine", "the grid asked for is the scan's own, so the output is the input")]


def _decision(kind: str, shape: Sequence[int], band: Measurement) -> str:
    def size(samples: Sequence[int]) -> str:
        return "x".join(map(str, samples))

    if kind == "nothing":
        return "output = input: there is nothing to fill"
    filled = ", ".join(str(i) for i, axis in enumerate(band.axes) if not axis.is_identity)
    word = "axis" if len(filled) == 1 else "axes"
    if kind == "same-grid":
        return f"fill the empty outer band of {word} {filled} on the same grid {size(shape)}"
    return (
        f"refine {size(shape)} to {size(band.result_shape)} and fill the outer band of {word} {filled} "
        f"(acquired {size(band.measured_shape)})"
    )


def _three(name: str, values: Sequence[float], smallest: float) -> tuple[float, float, float]:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != 3 or len(values) != 3 or not all(math.isfinite(v) and v >= smallest for v in numbers):
        raise ConfigError(f"{name} takes three numbers", got=tuple(values), allowed=f">= {smallest:g}, finite")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
