"""Training range of a set of weights, and named warnings for a scan outside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mdcsrn.errors import ConfigError
from mdcsrn.files import read_mapping
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.notices import Notice

RANGE_TOLERANCE = 0.02  # relative; headers round a spacing, and a millimetre of field of view is no other kind of scan
NEAR_REDUCTION = 0.05  # relative; an acquired matrix is a whole number
KEY = "trained_range"


@dataclass(frozen=True)
class TrainedRange:
    """The training of a set of weights as far as it limits their use.

    Attributes:
        spacing: smallest and largest voxel edge of the training volumes, millimetres, any axis.
        field_of_view: smallest and largest extent, millimetres, any axis.
        reductions: triples (samples of the result over measured ones per axis), each in any order of the axes.
        reduction: lowest and highest of an axis, any real between them, each axis by itself; an axis may be left
            whole. None: `reductions` alone. One of the two is there.
        windows: of the low-pass that made the inputs.
        noise: lowest and highest added in k-space, as a fraction of the 99.9th percentile.
        contrasts: BIDS suffixes.
        acquisitions: ``3D``, ``2D``, and ``simulated 2D`` for slices that were made of 3D scans.
    """

    spacing: tuple[float, float]
    field_of_view: tuple[float, float]
    reductions: tuple[tuple[float, ...], ...] = ()
    reduction: tuple[float, float] | None = None
    single_reduction: tuple[float, float] | None = None
    windows: tuple[str, ...] = ("box",)
    noise: tuple[float, float] = (0.0, 0.0)
    contrasts: tuple[str, ...] = ("T1w",)
    acquisitions: tuple[str, ...] = ("3D",)

    def __post_init__(self) -> None:
        if not self.reductions and self.reduction is None:
            raise ConfigError("a trained range says which reductions", allowed="reductions (triples), or reduction")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainedRange:
        """Read plain values; raises ConfigError for an unknown key, a missing one, or a value of the wrong kind."""
        known = {field.name for field in fields(cls)} | {"window"}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                "unknown key in a trained range", got=", ".join(unknown), allowed=", ".join(sorted(known))
            )
        try:
            return cls(
                spacing=_pair(values["spacing"]),
                field_of_view=_pair(values["field_of_view"]),
                reductions=tuple(_triple(triple) for triple in values.get("reductions", ())),
                reduction=_pair_or_none(values.get("reduction")),
                single_reduction=_pair_or_none(values.get("single_reduction")),
                windows=_words(values.get("windows", values.get("window", ("box",)))),
                noise=_noise(values.get("noise", 0.0)),
                contrasts=_words(values.get("contrasts", ("T1w",))),
                acquisitions=_words(values.get("acquisitions", ("3D",))),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError("these are not the values of a trained range", got=f"{error!r}") from error


def load_trained_range(path: str | os.PathLike[str], model: str = "model") -> TrainedRange | None:
    """Read the range of one model from a YAML or JSON file, ``configs/trained_range.yaml`` of a bundle.

    Args:
        path: a file with the key ``trained_range:``, under it one key for each model, or the values of all of them.
        model: name of the model, the stem of its file.

    Returns:
        The range; None where the file has ranges of other models alone.

    Raises:
        ConfigError: the file is missing or unreadable, has no such key, or a value is wrong.
    """
    content = read_mapping(path).get(KEY)
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path} has no key '{KEY}:' with plain values under it")
    if not all(isinstance(values, dict) for values in content.values()):
        return TrainedRange.from_dict(content)
    return TrainedRange.from_dict(content[model]) if model in content else None


def outside(
    plan: Plan, facts: ScanFacts, trained: TrainedRange | None, window: str = "box", noise: float | None = None
) -> tuple[Notice, ...]:
    """Name what lies outside the trained range.

    Args:
        plan: of the prediction; where it does nothing, no network runs and there is nothing to warn of.
        facts: what is known of the acquisition.
        trained: of the weights; None: they come without one.
        window: of the low-pass that the scan went through: a scan says nothing of it, so a box unless given.
        noise: added in k-space, as a fraction of the 99.9th percentile; None: not known, and not warned of.

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
            ("window-outside-trained-range", _window(window, trained)),
            ("noise-outside-trained-range", _noise_words(noise, trained)),
            ("contrast-unknown", _unknown_contrast(facts, trained)),
            ("contrast-outside-trained-range", _contrast(facts, trained)),
            ("thick-slices", _slices(plan, trained)),
        )
        if text
    )


def _interval(what: str, unit: str, values: Sequence[float], allowed: tuple[float, float]) -> str:
    low, high = allowed
    bad = [(i, v) for i, v in enumerate(values) if not low * (1 - RANGE_TOLERANCE) <= v <= high * (1 + RANGE_TOLERANCE)]
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

    reduced = [r for r in plan.reduction if r > 1 + NEAR_REDUCTION]

    def within(low: float, high: float) -> bool:
        return all(low * (1 - NEAR_REDUCTION) <= r <= high * (1 + NEAR_REDUCTION) for r in reduced)

    if any(near(triple) for triple in trained.reductions):
        return ""
    if trained.reduction is not None and within(*trained.reduction):
        return ""
    if trained.single_reduction is not None and len(reduced) == 1 and within(*trained.single_reduction):
        return ""
    ours = " x ".join(f"{r:.3g}" for r in plan.reduction)
    theirs = [" x ".join(f"{r:g}" for r in triple) + ", on any axes" for triple in trained.reductions]
    if trained.reduction is not None:
        theirs.append("{:g} to {:g} on each of any axes".format(*trained.reduction))
    if trained.single_reduction is not None:
        theirs.append("{:g} to {:g} on one axis".format(*trained.single_reduction))
    return f"samples to restore over measured ones: {ours}; trained: {' or '.join(theirs)}"


def _window(window: str, trained: TrainedRange) -> str:
    if window in trained.windows:
        return ""
    return f"k-space window of the scan: {window}; trained: {', '.join(trained.windows)}"


def _noise_words(noise: float | None, trained: TrainedRange) -> str:
    low, high = trained.noise
    if noise is None or low * (1 - RANGE_TOLERANCE) <= noise <= high * (1 + RANGE_TOLERANCE):
        return ""
    return f"noise in k-space: {noise:.3g} of the 99.9th percentile; trained: {low:g} to {high:g}"


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
    return f"2D slices {distance:.3g} mm apart on axis {plan.slice_axis}; trained: {', '.join(trained.acquisitions)}"


def _pair(values: Any) -> tuple[float, float]:
    low, high = (float(value) for value in values)
    if not low <= high:
        raise ValueError(f"{low:g} to {high:g} is no range")
    return low, high


def _pair_or_none(values: Any) -> tuple[float, float] | None:
    return None if values is None else _pair(values)


def _triple(values: Any) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _noise(value: Any) -> tuple[float, float]:
    return (float(value), float(value)) if isinstance(value, (int, float)) else _pair(value)


def _words(values: Any) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(map(str, values))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
