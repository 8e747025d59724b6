"""Compare several candidates for one subject: every metric inside the head and over the whole volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mdcsrn.errors import MdcsrnError
from mdcsrn.kspace import DegradationSpec
from mdcsrn.metrics import (
    band_error,
    data_range,
    fastmri_metrics,
    head_mask,
    legacy_metrics,
    masked_mean,
    nrmse,
    psnr,
    ssim_map,
)

SR = "SR"
SR_RAW = "SR without consistency"

SETTING = {
    "data range": "99.9th percentile of the reference volume",
    "head": "reference > 2 % of the data range, holes filled",
    "volume": "every voxel",
    "PSNR": "10 log10(data range^2 / mean squared error), dB",
    "SSIM": "3D, Gaussian window 11x11x11 voxels, sigma 1.5, K1 0.01, K2 0.03, mirrored borders, mean of the map",
    "NRMSE": "root-mean-square error / data range",
    "band error": "relative L2 error outside the measured band; inside a region, of the masked volumes",
}
MASK_SETTING = {"mask": "voxels of the given mask that are not 0"}
LEGACY_SETTING = {
    "legacy": "volumes / maximum of the reference; PSNR peak 1; SSIM uniform window 7x7x7, data_range 2, sample "
    "covariance, border of 3 left out; NRMSE Euclidean; whole volume"
}
FASTMRI_SETTING = {
    "fastMRI": "data range maximum of the reference volume; SSIM uniform window 7x7 of each slice along axis 0, sample "
    "covariance, border of 3 left out, mean over slices; NMSE |error|^2 / |reference|^2; whole volume"
}


@dataclass(frozen=True)
class Row:
    """Figures of one method in one region of one subject.

    Attributes:
        subject: name of the volume.
        method: name of the candidate.
        region: ``head``, ``mask`` or ``volume``.
        degradation: :func:`degradation_label`, or an empty string where none is known.
        values: metric name to figure: ``psnr`` (dB), ``ssim``, ``nrmse``, ``band_error``, ``legacy_*``,
            ``fastmri_*``.
    """

    subject: str
    method: str
    region: str
    degradation: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


def degradation_label(spec: DegradationSpec) -> str:
    """Short name of what was done to the volume, as ``1x2x2 box`` or ``2x2x1 tukey 0.5, noise 0.01``."""
    parts = ["x".join(f"{r:g}" for r in spec.reduction), spec.window]
    if spec.window_parameter is not None:
        parts.append(f"{spec.window_parameter:g}")
    label = " ".join(parts)
    if spec.noise:
        label += f", noise {spec.noise:g}"
    if spec.has_partial_fourier:
        label += ", partial Fourier " + "x".join(f"{share:g}" for share in spec.partial_fourier)
    return label


def compare(
    reference: Tensor,
    candidates: Mapping[str, Tensor],
    spec: DegradationSpec | None = None,
    subject: str = "",
    mask: Tensor | None = None,
    legacy: bool = False,
    fastmri: bool = False,
) -> list[Row]:
    """Score candidates against one reference.

    Args:
        reference: (D, H, W) or (C, D, H, W), any unit.
        candidates: name to volume of the same shape and unit.
        spec: degradation, for the band error; None leaves that metric out.
        subject: name for the rows.
        mask: region ``mask`` instead of ``head``; same shape, counted where not 0.
        legacy: also the figures of :func:`mdcsrn.metrics.legacy_metrics`, in the rows of the whole volume.
        fastmri: also those of :func:`mdcsrn.metrics.fastmri_metrics`, likewise.

    Returns:
        Two rows for each candidate, in the candidates' order: head (or mask), then volume.

    Raises:
        GeometryError, DataError: a candidate does not fit (both names are given), or the reference has no signal.
    """
    peak = data_range(reference)
    label = "" if spec is None else degradation_label(spec)
    # Across a single plane every hole is open: there holes are filled in the plane.
    dims = 2 if reference.shape[-3] == 1 else 3
    regions = {"head": head_mask(reference, dims)} if mask is None else {"mask": mask}
    rows = []
    for method, candidate in candidates.items():
        try:
            similarity = ssim_map(candidate, reference, peak)  # one map serves both regions
            for region, inside in {**regions, "volume": None}.items():
                values = {
                    "psnr": psnr(candidate, reference, peak, inside),
                    "ssim": masked_mean(similarity, inside),
                    "nrmse": nrmse(candidate, reference, peak, inside),
                }
                if spec is not None:
                    values["band_error"] = band_error(candidate, reference, spec, inside)
                if legacy and inside is None:
                    values.update(legacy_metrics(candidate, reference))
                if fastmri and inside is None:
                    values.update(fastmri_metrics(candidate, reference))
                rows.append(Row(subject, method, region, label, values))
        except MdcsrnError as error:
            raise type(error)(
                f"{subject or 'a subject'}, {method}: {error.what}",
                got=error.got, allowed=error.allowed, remedy=error.remedy,
            ) from error  # fmt: skip
    return rows


def setting(regions: set[str], legacy: bool, fastmri: bool = False) -> dict[str, str]:
    """How the figures of these regions are defined, one line each: it stands above every table."""
    lines = {key: line for key, line in SETTING.items() if key not in ("head", "volume") or key in regions}
    further = [(MASK_SETTING, "mask" in regions), (LEGACY_SETTING, legacy), (FASTMRI_SETTING, fastmri)]
    return lines | {key: line for entries, shown in further if shown for key, line in entries.items()}
