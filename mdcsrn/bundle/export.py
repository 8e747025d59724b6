"""Export a bundle's model in another form, and compare it with the network on a real scan before it is released."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdcsrn.bundle.export_formats import MIN_AXIS_VOXELS, Run, form
from mdcsrn.errors import ConfigError, DataError, OutputError
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.networks import MDCSRN, traits_of
from mdcsrn.networks.weights import read_weights
from mdcsrn.scratch import scratch, sweep
from mdcsrn.stopping import held
from mdcsrn.targets import check_record_place, check_target, foreign

EDGE = 64  # voxels: of the piece of the scan that is looked at
SHAPES = ((40, 44, 36), (31, 37, 29), (MIN_AXIS_VOXELS, 23, 5))  # even, odd, and the smallest
LIMIT = 1e-5  # largest |difference| over largest |value|, in float32
REDUCTION = (1.0, 2.0, 2.0)


def export(
    bundle: str | os.PathLike[str] | None,
    name: str,
    output: str | os.PathLike[str],
    model: str | None = None,
    precision: str | None = None,
    volume: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write a model in another form, load it by the documented path, and compare it with the network on a scan.

    Args:
        bundle: as for :func:`mdcsrn.inference.planning.models.find_model`, as is `model`.
        name: one of :data:`mdcsrn.bundle.export_formats.FORMS`.
        output: file to write; ``<output>.json`` beside it says what it is and how close it came.
        model: of the bundle; None: its default.
        precision: one of the form's; None: float32.
        volume: scan to compare on; None: the MNI152 template that nilearn ships.

    Returns:
        What ``<output>.json`` holds.

    Raises:
        ConfigError: no such form or precision, a wrong suffix, or in float32 the result differs by more than 1e-5.
        DataError: the scan is too small or empty.
        MissingDependencyError: a package is not installed.
        OutputError: the file cannot be written, or would replace an input or a file of someone else.
    """
    chosen, precision = form(name, precision)
    target = Path(output)
    if target.suffix != chosen.suffix:
        raise ConfigError(f"a file of the format {name} ends in {chosen.suffix}", got=target.name)
    found = find_model(bundle, model)
    _check_places(target, found, volume)
    piece, scan = _piece(volume)
    description = describe(found, precision)
    record_path = Path(f"{target}.json")
    try:
        sweep(target.parent)
        with scratch(target.parent) as hidden:
            place = hidden / "form"
            place.mkdir()
            chosen.write(found.network, place / target.name, precision, description, lambda: _calibration(found, piece))
            check = compare(found.network, chosen.load(place / target.name), piece)
            if precision == "float32" and not check["relative_error"] <= LIMIT:
                raise ConfigError(
                    f"{name} differs from the network", got=check["relative_error"], allowed=f"<= {LIMIT:g}"
                )
            files = sorted(place.iterdir())
            record = {
                "format": name,
                **description,
                "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files},
                "check": {"scan": scan, "reduction": list(REDUCTION), **check},
                "load": chosen.loading.replace("FILE", repr(target.name)),
            }
            with held():
                record_path.unlink(missing_ok=True)  # an old one does not fit the files that follow
                for path in files:
                    os.replace(path, target.parent / path.name)
                atomic_write_text(record_path, json.dumps(record, indent=2, sort_keys=False) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {target}", got=error.strerror or str(error), remedy="make room") from error
    return record


def _check_places(target: Path, model: Model, volume: str | os.PathLike[str] | None) -> None:
    """Refuse to replace the weights themselves or the scan, and by-products of the export that others have made."""
    record = Path(f"{target}.json")
    beside = [record, *([target.with_suffix(".bin")] if target.suffix == ".xml" else [])]
    inputs = [*model.path.parent.glob(f"{model.path.stem}.*"), model.path, volume]
    for place in (target, *beside):
        check_target(place, inputs)
    check_record_place(record)
    if not record.exists():
        for place in beside:
            if place.exists():
                raise foreign(place)


def describe(model: Model, precision: str) -> dict[str, Any]:
    """What goes along with the network in every form, as plain values."""
    trained, factors = model.trained, traits_of(model.network).scale
    shape = "the same shape" if factors == (1, 1, 1) else f"shape times {factors}, the same intensity"
    return {
        "model": model.path.stem,
        "bundle": model.bundle,
        "bundle_version": model.version,
        "weights_sha256": model.sha256,
        "architecture": model.network.architecture,
        "precision": precision,
        "training": dict(read_weights(model.path).facts),
        "trained_range": None if trained is None else trained.to_dict(),
        "input": f"image: (1, 1, D, H, W) float32, sizes >= {MIN_AXIS_VOXELS}; divided by its 99.9th percentile, "
        "not clipped",
        "output": f"pred: {shape} and scale; before data consistency",
        "use": "research only: not a medical device",
    }


@torch.no_grad()
def compare(
    network: torch.nn.Module, run: Run, piece: Tensor, shapes: Sequence[Sequence[int]] = SHAPES
) -> dict[str, Any]:
    """How far an export is from its network.

    Args:
        network: in evaluation mode.
        run: the export.
        piece: image to look at, shape (D, H, W), 99.9th percentile 1.
        shapes: sizes to cut from its middle; one that is larger than the image is cut to it.

    Returns:
        ``relative_error``: largest |difference| over largest |value|; ``psnr_db``: least, for a peak of 1, None where
        nothing differs; ``shapes``.
    """
    worst, psnr, looked = 0.0, math.inf, []
    for shape in shapes:
        cut = _middle(piece, shape)[None, None]
        expected, got = network(cut), run(cut)
        if got.shape != expected.shape:
            raise ConfigError("the export changes the shape", got=tuple(got.shape), allowed=tuple(expected.shape))
        difference = got.float() - expected
        worst = max(worst, float(difference.abs().max() / expected.abs().max().clamp_min(1e-6)))
        error = float((difference.double() ** 2).mean())
        psnr = min(psnr, -10 * math.log10(error) if error > 0 else math.inf)
        looked.append(list(cut.shape[2:]))
    return {"relative_error": worst, "psnr_db": None if math.isinf(psnr) else round(psnr, 2), "shapes": looked}


def _middle(volume: Tensor, shape: Sequence[int]) -> Tensor:
    for axis, size in enumerate(shape):
        length = min(size, volume.shape[axis])
        volume = volume.narrow(axis, (volume.shape[axis] - length) // 2, length)
    return volume.contiguous()


def _piece(volume: str | os.PathLike[str] | None) -> tuple[Tensor, str]:
    """The middle of a scan, as a 2 x 2 shorter scan would show it, and its name."""
    if volume is None:
        from mdcsrn.data.sample import load_template

        whole, name = load_template(), "MNI152 2009a T1w template"
    else:
        from mdcsrn.io import read_volume

        whole, name = read_volume(volume), Path(volume).name
    image = torch.from_numpy(whole.array.astype("float32"))
    if image.ndim != 3 or min(image.shape) < MIN_AXIS_VOXELS:
        raise DataError(
            f"{name} is too small to compare on", got=tuple(image.shape), allowed=f"3D, >= {MIN_AXIS_VOXELS} each"
        )
    low = degrade(_middle(image, (EDGE,) * 3), DegradationSpec(reduction=REDUCTION))
    scale = intensity_scale(low)
    if not float(scale) > 0:
        raise DataError(f"the middle of {name} is empty", remedy="give another scan with --volume")
    return low / scale, name


def _calibration(model: Model, piece: Tensor) -> Sequence[tuple[Tensor, ...]]:
    from mdcsrn.inference.running.calibration import sample_columns

    network = model.network
    if not isinstance(network, MDCSRN):
        raise ConfigError(
            "eight bits are calibrated for mDCSRN alone", got=type(network).__name__, remedy="export another precision"
        )
    return sample_columns(network, piece[None])
