"""Job: a scan to restore with the paths of its results, and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import MdcsrnError

if TYPE_CHECKING:
    from mdcsrn.io.dicom import SeriesLabel
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

FLOAT_MAPS = ("mean", "spread", "invention")  # of --uncertainty
Progress = Callable[[float], None]  # share of the case that is done, 0 to 1


@dataclass(frozen=True)
class Job:
    """A case with the places of its results.

    Attributes:
        name: unique in its run.
        source: what the user gave, for messages and hashes.
        output: file of the volume.
        load: reads the scan, or raises what is wrong with it.
        fingerprint: hash of the source without its voxels being decoded, or None where only loading tells.
        mask: label map, or None.
        dicom_out: folder of a derived series, or None.
        label: number and description of that series; None: those that its source suggests.
        report: HTML file, or None.
        further: place of the further files by role (spread, invention, mean, mask); None: beside `output`.
        inputs: files that are read beside `source` and `mask`: slices of a series, voxels of a pair, sidecars.
        chosen: ``volume`` and ``report``, as far as the user named the very file, which then may be replaced.
        error: why the case is refused before any work.
        describe: fields of BIDS for the JSON sidecar of a file, by its role (empty: the volume, whose sidecar is the
            record) and the volume; None: the record has its own, and further files have no sidecars.
    """

    name: str
    source: Path
    output: Path
    load: Callable[[], Scan]
    fingerprint: Callable[[], str] | None = None
    mask: Path | None = None
    dicom_out: Path | None = None
    label: SeriesLabel | None = None
    report: Path | None = None
    further: Callable[[str], Path] | None = None
    inputs: tuple[Path, ...] = ()
    chosen: tuple[str, ...] = ()
    error: MdcsrnError | None = None
    describe: Callable[[str, Volume], Mapping[str, Any]] | None = None

    def file(self, role: str) -> Path:
        """Place of a further file; maps of floats beside a PNG are NIfTI, for a picture holds whole numbers."""
        from mdcsrn.io import image_stem
        from mdcsrn.io.names import is_picture_name

        if self.further is not None:
            return self.further(role)
        stem = image_stem(self.output)
        picture = is_picture_name(self.output)
        ending = ".nii.gz" if picture and role in FLOAT_MAPS else self.output.name[len(stem) :]
        return self.output.with_name(f"{stem}_{role}{ending}")


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        job_name: of the case.
        status: ``done``, ``planned`` (dry run), ``skipped`` or ``failed``.
        source: of the case.
        output: file of the volume, None where there is none.
        seconds: wall time.
        error: why it failed; of a case that is done, what could not be made beside the volume.
        facts: plain values: the record of a result, or what a dry run found.
        lines: what to tell a person, one sentence each.
        suggestion: options that would do something, where nothing was done.
    """

    job_name: str
    status: str
    source: Path
    output: Path | None = None
    seconds: float = 0.0
    error: MdcsrnError | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    suggestion: str = ""
