"""Options of ``predict`` and ``bids`` as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.settings import RunSettings, setting, values_with_effect

if TYPE_CHECKING:
    from mdcsrn.inference.planning.task import Task
    from mdcsrn.io.dicom import SlopeChoice
    from mdcsrn.io.nonfinite import NonFinite


@dataclass(frozen=True)
class Options:
    """What a user may say about a prediction; every field is the option of its name and declares what it changes.

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

    same_grid: bool = setting(False, "voxels")
    factor: tuple[float, float, float] | None = setting(None, "voxels")
    to_spacing: tuple[float, float, float] | None = setting(None, "voxels")
    exact_field: bool = setting(False, "voxels")
    slice_profile: str = setting("auto", "voxels")
    no_consistency: bool = setting(False, "voxels")
    region: str = setting("head", "voxels")
    mask: Path | None = setting(None, "none")
    dtype: str = setting("float32", "voxels")
    fill_nonfinite: bool = setting(False, "voxels")
    uncertainty: bool = setting(False, "voxels")
    dicom_out: Path | None = setting(None, "none")
    dicom_slope: SlopeChoice = setting("exact", "series")
    series_description: str | None = setting(None, "series")
    series_number: int | None = setting(None, "series")
    report: Path | None = setting(None, "none")
    bundle: str | None = setting(None, "none")
    model: str | None = setting(None, "none")
    device: str = setting("auto", "voxels")
    backend: str = setting("auto", "voxels")
    precision: str = setting("auto", "voxels")
    max_memory: float | None = setting(None, "none")
    strict: bool = setting(False, "none")
    dry_run: bool = setting(False, "none")
    resume: bool = setting(False, "none")
    quiet: bool = setting(False, "none")
    json: bool = setting(False, "none")

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
        return values_with_effect(self, "series")

    def run_settings(self, maps: bool) -> RunSettings:
        """How the prediction is run.

        Args:
            maps: also make the invention map.
        """
        given = {f.name: getattr(self, f.name) for f in fields(RunSettings) if f.name != "maps"}
        return RunSettings(**given, maps=maps)

    def settings(self) -> dict[str, Any]:
        """Plain values of all that has a say in the voxels; results made under equal settings are interchangeable.

        Paths have none: the weights' hash and the mask's are kept elsewhere.
        """
        return values_with_effect(self, "voxels")
