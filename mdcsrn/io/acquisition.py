"""Facts of a scan's acquisition, as its files state them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanFacts:
    """What is known of an acquisition from a BIDS name, a JSON sidecar or DICOM; None: not known.

    Attributes:
        contrast: BIDS suffix of its kind: ``T1w``, ``T2w``, ``FLAIR``, ``PDw``, ``T2starw``, ...
        acquisition: ``2D`` (multi-slice) or ``3D``.
        slice_thickness: millimetres.
        slice_axis: array axis of the volume that is perpendicular to the slices.
        skull_stripped: True where the file says so.
        phase_axis: array axis of phase encoding.
        phase_lines: lines along it that were acquired.
        phase_matrix: lines along it that were reconstructed; more where the scanner interpolated.
        read_samples: acquired samples along the readout, without oversampling.
        interpolated: True where the scanner interpolated in the plane.
        image_type: what the values are, see :mod:`mdcsrn.io.image_type`: ``magnitude``, ``phase`` ...
        origin: where the contrast came from: ``name``, ``sidecar``, ``dicom`` or ``unknown``.
    """

    contrast: str | None = None
    acquisition: str | None = None
    slice_thickness: float | None = None
    slice_axis: int | None = None
    skull_stripped: bool | None = None
    phase_axis: int | None = None
    phase_lines: int | None = None
    phase_matrix: int | None = None
    read_samples: int | None = None
    interpolated: bool | None = None
    origin: str = "unknown"
    image_type: str | None = None
