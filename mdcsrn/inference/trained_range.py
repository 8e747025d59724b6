"""What a set of weights has seen in training, and by name what of a scan lies outside of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mdcsrn.errors import ConfigError
from mdcsrn.files import read_mapping
from mdcsrn.inference.plan import Plan
from mdcsrn.io.scan import ScanFacts
from mdcsrn.notices import Notice

NEAR = 0.02  # relative; headers round a spacing, and a millimetre of field of view is no other kind of scan
NEAR_REDUCTION = 0.05  # relative; an acquired matrix is a whole number


@dataclass(frozen=True)
class TrainedRange:
    """The training of a set of weights as far as it limits their use.

    Attributes:
        spacing: smallest and largest voxel edge of the training volumes, millimetres, any axis.
        field_of_view: smallest and largest extent, millimetres, any axis.
        reductions: triples (samples of the result over measured ones per axis), each in any order of the axes.
        window: of the low-pass that made the inputs.
        noise: added in k-space, as a fraction of the 99.9th percentile.
        contrasts: BIDS suffixes.
        acquisitions: ``3D``, ``2D`` or both.
    """

    spacing: tuple[float, float]
    field_of_view: tuple[float, float]
    reductions: tuple[tuple[float, ...], ...]
    window: str = "box"
    noise: float = 0.0
    contrasts: tuple[str, ...] = ("T1w",)
    acquisitions: tuple[str, ...] = ("3D",)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainedRange:
        """Read plain values; raises ConfigError for an unknown key, a missing one, or a value of the wrong kind."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                "unknown key in a trained range", got=", ".join(unknown), allowed=", ".join(sorted(known))
            )
        try:
            return cls(
                spacing=_pair(values["spacing"]),
                field_of_view=_pair(values["field_of_view"]),
                reductions=tuple(tuple(float(r) for r in triple) for triple in values["reductions"]),
                window=str(values.get("window", "box")),
                noise=float(values.get("noise", 0.0)),
                contrasts=tuple(map(str, values.get("contrasts", ("T1w",)))),
                acquisitions=tuple(map(str, values.get("acquisitions", ("3D",)))),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError("these are not the values of a trained range", got=f"{error!r}") from error


def load_trained_range(path: str | os.PathLike[str]) -> TrainedRange:
    """Read the one key ``trained_range:`` of a YAML or JSON file, ``configs/trained_range.yaml`` of a bundle.

    Raises:
        ConfigError: the file is missing or unreadable, has no such key, or a value is wrong.
    """
    content = read_mapping(path)
    if not isinstance(content.get("trained_range"), dict):
        raise ConfigError(f"{path} has no key 'trained_range:' with plain values under it")
    return TrainedRange.from_dict(content["trained_range"])


def outside(plan: Plan, facts: ScanFacts, trained: TrainedRange | None) -> tuple[Notice, ...]:
    """Name what lies outside the trained range.

    Args:
        plan: of the prediction; where it does nothing, no network runs and there is nothing to warn of.
        facts: what is known of the acquisition.
        trained: of the weights; None: they come without one.

    Returns:
        One notice for each kind, with the values and the range.
    """
    if plan.kind == "nothing":
        return ()
    if trained is None:
        return (Notice("trained-range-unknown", "the weights come without a record of what they were trained on"),)
    return tuple(
        Notice(name, text)
        for name, text in (
            ("spacing-outside-trained-range", _interval("voxel edge", "mm", plan.spacing, trained.spacing)),
            ("field-of-view-outside-trained-range", _field_of_view(plan, trained)),
            ("reduction-outside-trained-range", _reduction(plan, trained)),
            ("contrast-unknown", _unknown_contrast(facts, trained)),
            ("contrast-outside-trained-range", _contrast(facts, trained)),
            ("thick-slices", _slices(plan, trained)),
        )
        if text
    )


def _interval(what: str, unit: str, values: Sequence[float], allowed: tuple[float, float]) -> str:
    low, high = allowed
    bad = [(i, v) for i, v in enumerate(values) if not low * (1 - NEAR) <= v <= high * (1 + NEAR)]
    if not bad:
        return ""
    listed = ", ".join(f"{v:.4g} {unit} on axis {i}" for i, v in bad)
    return f"{what} of the result: {listed}; trained: {low:.4g} to {high:.4g} {unit}"


def _field_of_view(plan: Plan, trained: TrainedRange) -> str:
    extent = [n * edge for n, edge in zip(plan.shape, plan.spacing, strict=True)]
    return _interval("field of view", "mm", extent, trained.field_of_view)


def _reduction(plan: Plan, trained: TrainedRange) -> str:
    def near(triple: Sequence[float]) -> bool:
        pairs = zip(sorted(plan.reduction), sorted(triple), strict=True)
        return all(abs(ours / theirs - 1) <= NEAR_REDUCTION for ours, theirs in pairs)

    if any(near(triple) for triple in trained.reductions):
        return ""
    ours = " x ".join(f"{r:.3g}" for r in plan.reduction)
    theirs = " or ".join(" x ".join(f"{r:g}" for r in triple) for triple in trained.reductions)
    return f"samples to restore over measured ones: {ours}; trained: {theirs}, on any axes"


def _unknown_contrast(facts: ScanFacts, trained: TrainedRange) -> str:
    if facts.contrast is not None:
        return ""
    return f"neither name nor header says the contrast; trained: {', '.join(trained.contrasts)}"


def _contrast(facts: ScanFacts, trained: TrainedRange) -> str:
    if facts.contrast is None or facts.contrast in trained.contrasts:
        return ""
    return f"contrast {facts.contrast} (from the {facts.origin}); trained: {', '.join(trained.contrasts)}"


def _slices(plan: Plan, trained: TrainedRange) -> str:
    if plan.slice_axis is None or "2D" in trained.acquisitions:
        return ""
    distance = plan.spacing[plan.slice_axis] * plan.reduction[plan.slice_axis]
    return f"2D slices {distance:.3g} mm apart on axis {plan.slice_axis}; trained: 3D scans alone"


def _pair(values: Any) -> tuple[float, float]:
    low, high = (float(value) for value in values)
    return low, high


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
