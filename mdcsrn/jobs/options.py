"""Options of ``predict`` and ``bids`` as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import ConfigError

if TYPE_CHECKING:
    from mdcsrn.inference.planning.task import Task
    from mdcsrn.io.dicom import SlopeChoice
    from mdcsrn.io.nonfinite import NonFinite


@dataclass(frozen=True)
class Options:
    """What a user may say about a prediction; every field is the option of its name.

    Attributes:
        same_grid: fill the empty outer band of k-space, grid unchanged.
        factor: finer by these factors per array axis, >= 1.
        to_spacing: voxel edges to reach per array axis, millimetres.
        exact_field: pad the field of view until the spacing is exact.
        slice_profile: ``auto``, ``none``, ``box`` or ``gaussian``.
        no_consistency: leave the measured part as the network gives it.
        region: ``head`` or ``all``.
        mask: label map to carry to the new grid, or a folder of them.
        dtype: ``float32`` or ``keep`` (the source's integer type, rounded).
        fill_nonfinite: fill NaN and infinite voxels instead of refusing the file.
        uncertainty: also the spread of eight flips, and the invention map.
        dicom_out: folder for a derived DICOM series.
        dicom_slope: ``exact``, or ``one`` for viewers that ignore slope and intercept.
        series_description: SeriesDescription of the derived series; None: the source's with ``_SR``.
        series_number: SeriesNumber of the derived series; None: 100 times the source's, plus 1.
        report: HTML file (a folder, where there are several cases).
        bundle: folder or name of a bundle.
        model: file with weights, or the name of one in the bundle.
        device: ``auto``, ``cpu``, ``cuda`` ...
        backend: ``auto`` or the name of a backend.
        precision: ``auto``, ``float32``, ``bfloat16`` ...
        max_memory: GiB, or None for what is free.
        strict: warnings are errors.
        dry_run: say what would be done.
        resume: skip what is done.
        quiet: print errors alone.
        json: print one JSON document.
    """

    same_grid: bool = False
    factor: tuple[float, float, float] | None = None
    to_spacing: tuple[float, float, float] | None = None
    exact_field: bool = False
    slice_profile: str = "auto"
    no_consistency: bool = False
    region: str = "head"
    mask: Path | None = None
    dtype: str = "float32"
    fill_nonfinite: bool = False
    uncertainty: bool = False
    dicom_out: Path | None = None
    dicom_slope: SlopeChoice = "exact"
    series_description: str | None = None
    series_number: int | None = None
    report: Path | None = None
    bundle: str | None = None
    model: str | None = None
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    max_memory: float | None = None
    strict: bool = False
    dry_run: bool = False
    resume: bool = False
    quiet: bool = False
    json: bool = False

    @property
    def nonfinite(self) -> NonFinite:
        """What is done about NaN and infinite voxels, in the words of the readers."""
        return "fill" if self.fill_nonfinite else "refuse"

    def task(self) -> Task:
        """The task that the options name.

        Raises:
            ConfigError: more than one of --same-grid, --factor and --to-spacing, a value out of range, or words for a
                DICOM series that is not asked for.
        """
        from mdcsrn.inference.planning.task import Task

        if self.dicom_out is None and self.series() != Options().series():
            given = ", ".join(f"--{name.replace('_', '-')}" for name in self.series())
            raise ConfigError("no DICOM series is asked for", got=f"one of {given}", remedy="give --dicom-out DIR")

        chosen = [
            word
            for word, given in (
                ("--same-grid", self.same_grid), ("--factor", self.factor), ("--to-spacing", self.to_spacing),
            )
            if given
        ]  # fmt: skip
        if len(chosen) > 1:
            raise ConfigError("one task at a time", got=" and ".join(chosen), remedy="give one of them")
        kind = chosen[0].removeprefix("--") if chosen else "detect"
        return Task(
            kind=kind,
            factor=self.factor,
            spacing=self.to_spacing,
            exact_field=self.exact_field,
            slice_profile=self.slice_profile,
            consistency=not self.no_consistency,
        )

    def series(self) -> dict[str, Any]:
        """Plain values of what has a say in the derived DICOM series alone."""
        names = ("dicom_slope", "series_description", "series_number")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, Any]:
        """Plain values of all that has a say in the voxels; results made under equal settings are interchangeable.

        Memory has none (tiles are exact), and paths have none (the weights' hash and the mask's are kept elsewhere).
        """
        names = (
            "same_grid", "factor", "to_spacing", "exact_field", "slice_profile", "no_consistency", "region", "dtype",
            "fill_nonfinite", "uncertainty", "device", "backend", "precision",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
