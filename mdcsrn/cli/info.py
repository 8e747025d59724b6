"""``mdcsrn info``: describe a scan, the measured part of its k-space, and what ``predict`` would do with it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.errors import ConfigError, DataError, MdcsrnError
from mdcsrn.notices import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mdcsrn.inference.planning.models import Model
    from mdcsrn.inference.planning.task import Task
    from mdcsrn.io.scan import Scan


@click.command("info")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--factor", nargs=3, type=float, metavar="A B C", help="As of predict: a finer grid.")
@click.option("--to-spacing", nargs=3, type=float, metavar="X Y Z", help="As of predict: voxel edges, mm.")
@click.option("--bundle", metavar="B", help="Bundle whose trained range and size count.",
              shell_complete=complete.bundles)  # fmt: skip
@click.option("--model", metavar="F", help="Weights whose trained range and size count.",
              shell_complete=complete.models)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    source: Path,
    factor: tuple[float, float, float] | None,
    to_spacing: tuple[float, float, float] | None,
    bundle: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Say what a scan is and what `mdcsrn predict` would do with it.

    Geometry, the acquired resolution of each axis, the empty outer band with its margin, and what would be done at
    which cost in time and memory. FILE is whatever predict takes: an image file, a folder, a DICOM series or a zip.
    """
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.inference.planning.task import Task
    from mdcsrn.io.sources import find_cases, load_case

    if factor is not None and to_spacing is not None:
        raise ConfigError("one task at a time", got="--factor and --to-spacing", remedy="give one of them")
    kind = "factor" if factor is not None else "to-spacing" if to_spacing is not None else "detect"
    task, weights = Task(kind, factor, to_spacing), find_model(bundle, model)
    cases = find_cases(source)
    found: list[dict[str, Any]] = []
    errors: list[MdcsrnError] = []
    for case in cases:
        try:
            scan = load_case(case)
            found.append({"name": case.name, "kind": case.kind, **describe_scan(scan, task, weights)})
        except MdcsrnError as error:
            errors.append(error)
            found.append({"name": case.name, "kind": case.kind, "error": str(error)})
        if not as_json and (len(cases) > 1 or not errors):
            for line in words(found[-1]):
                click.echo(printable(line))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    if errors and len(cases) == 1:
        raise errors[0]
    if errors:
        raise DataError(f"{len(errors)} of {len(cases)} scans cannot be read", remedy="see the list")


def describe_scan(scan: Scan, task: Task, model: Model) -> dict[str, Any]:
    """All that is known of a scan, as plain values; no patient data.

    Args:
        scan: the volume with its facts.
        task: what would be asked for.
        model: the weights.
    """
    import torch

    from mdcsrn.inference.planning.prepare import prepare, takes_pictures
    from mdcsrn.inference.planning.suggest import suggest
    from mdcsrn.inference.running.estimate import estimate
    from mdcsrn.io.pictures import PICTURE_KINDS

    volume, facts = scan.volume, scan.facts
    prepared = prepare(volume, task, facts=facts, model=model)
    plan = prepared.plan
    picture = scan.kind in PICTURE_KINDS
    fits = not picture or takes_pictures(model)
    further = suggest(plan, model.trained) if fits else None
    warnings = [{"name": notice.name, "text": notice.text} for notice in prepared.notices]
    if not fits:
        warnings.append({"name": "picture", "text": "predict refuses it: the network is 3D, and this is one plane"})
    with torch.inference_mode():
        cost = estimate(volume, prepared)
    axes = [
        {
            "samples": n,
            "spacing_mm": edge,
            "assessed": band.assessed,
            "acquired_samples": band.samples,
            "acquired_mm": edge * n / band.samples,
            "empty_band": band.empty,
            "step_db": band.step_db,
            "margin": band.margin,
            "text": reason,
        }
        for n, edge, band, reason in zip(volume.shape, volume.spacing, plan.bands, plan.reasons, strict=False)
    ]
    return {
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "field_of_view_mm": [n * edge for n, edge in zip(volume.shape, volume.spacing, strict=True)],
        "orientation": None if picture else orientation(volume.affine),
        "dtype": str(volume.dtype.newbyteorder("=")),
        "range": [float(volume.array.min()), float(volume.array.max())],
        "acquisition": {
            "contrast": facts.contrast,
            "contrast_origin": facts.origin,
            "acquisition": facts.acquisition,
            "slice_thickness_mm": facts.slice_thickness,
            "slice_axis": plan.slice_axis,
            "skull_stripped": facts.skull_stripped,
        },
        "axes": axes,
        "plan": plan.to_dict(),
        "estimate": None if cost is None else cost.to_dict(),
        "suggestion": None if further is None else further.option,
        "warnings": warnings,
    }


def orientation(affine: NDArray[np.float64]) -> str:
    """Letters of the world directions that the array axes point to most nearly, such as ``RAS`` or ``LIP``."""
    import numpy as np

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # One world axis for each array axis: the best assignment as a whole, also at 45 degrees.
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[w, a]) for a, w in enumerate(p)))
    return "".join(("LR", "PA", "IS")[w][int(cosines[w, a] > 0)] for a, w in enumerate(order))


def words(found: dict[str, Any]) -> list[str]:
    """A scan's values as lines for a person."""
    if "error" in found:
        return [f"{found['name']}: cannot be read: {found['error']}"]
    facts, plan, cost = found["acquisition"], found["plan"], found["estimate"]
    contrast = f"{facts['contrast']} (from the {facts['contrast_origin']})" if facts["contrast"] else "contrast unknown"
    lines = [
        f"{found['name']}: {found['kind']}, {_times(found['shape'])} voxels of {found['dtype']}, "
        f"values {found['range'][0]:g} to {found['range'][1]:g}",
        f"  voxel       {_times(found['spacing_mm'])} mm",
        f"  field       {_times(found['field_of_view_mm'])} mm, {_axes(found['orientation'])}",
        f"  acquisition {contrast}, {facts['acquisition'] or '2D or 3D unknown'}",
    ]
    for index, axis in enumerate(found["axes"]):
        text = axis["text"].removeprefix(f"axis {index}: ")
        lines.append(f"  axis {index}      {axis['acquired_mm']:.4g} mm: {text}")
    lines.append(f"  predict     {plan['decision']}")
    lines += [f"              {reason}" for reason in plan["reasons"][3:]]
    if cost is not None:
        time = "" if cost["seconds"] is None else f"about {cost['seconds']:.0f} s, "
        lines.append(
            f"  cost        {time}{cost['memory_gib']:.1f} GiB, {cost['backend']} {cost['precision']}, "
            f"head {100 * cost['region_share']:.0f} % of the voxels"
        )
    if found["suggestion"] is not None:
        lines.append(f"  try         mdcsrn predict with {found['suggestion']}")
    return lines + [f"  warning     {warning['name']}: {warning['text']}" for warning in found["warnings"]]


def _axes(letters: str | None) -> str:
    return "axes plane, rows down, columns across" if letters is None else f"axes to {letters}"


def _times(values: list[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
