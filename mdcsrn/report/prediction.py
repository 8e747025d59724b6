"""Page of a result: from a prediction in memory, or from its files and the record beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mdcsrn.errors import ConfigError, DataError, GeometryError, MdcsrnError
from mdcsrn.notices import Notice
from mdcsrn.report.page import Array, Page
from mdcsrn.report.views import upright

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.inference.planning.plan import Plan
    from mdcsrn.io.scan import Scan

MAPS = ("spread", "invention")


@dataclass(frozen=True)
class Stored:
    """What the files of a result give back of it.

    Attributes:
        array: voxels of the volume's file, (D, H, W), float32, rounded where its type is.
        certificate: plain values of the consistency of `array`; None: it is off.
        series: the same of the derived DICOM series; None: it is off, or there is no series.
        notices: warnings of the writing.
    """

    array: Array
    certificate: Mapping[str, Any] | None = None
    series: Mapping[str, Any] | None = None
    notices: tuple[Notice, ...] = ()


def page_of_prediction(prediction: Prediction, name: str, picture: bool = False, stored: Stored | None = None) -> Page:
    """The page of a prediction that was just made.

    Args:
        prediction: of :func:`mdcsrn.inference.predict`.
        name: title; no patient data.
        picture: the source is a picture, shown as it is stored.
        stored: what its files hold, which is then shown; None: nothing is written.
    """
    after = prediction.volume.array if stored is None else stored.array
    certificate = None if prediction.certificate is None else prediction.certificate.to_dict()
    if certificate is not None and stored is not None:
        certificate = _with_stored(certificate, stored.certificate, stored.series)
    return Page(
        title=name,
        before=prediction.low.array,
        after=after,
        affine=upright(prediction.volume.affine) if picture else prediction.volume.affine,
        picture=picture,
        shares=_shares(prediction.plan),
        maps=_complete(
            {role: prediction.maps[role].array for role in MAPS if role in prediction.maps},
            after,
            prediction.plan,
        ),
        facts=_facts(prediction.plan, prediction.facts, prediction.timings),
        certificate=certificate,
        notices=(*prediction.notices, *(() if stored is None else stored.notices)),
        unchanged=prediction.plan.kind == "nothing",
    )


def page_of_output(output: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> Page:
    """The page of a result that lies on disk: its volume, its record and the source are read.

    Args:
        output: volume of ``mdcsrn predict``; its ``.json`` lies beside it.
        source: what it was made from; None: where the record says.

    Raises:
        DataError: a file is missing or unreadable, or the source is not the one that was used.
        GeometryError: the volume does not have the plan's grid.
    """
    from mdcsrn.inference.planning.plan import Plan
    from mdcsrn.io.formats import read_image
    from mdcsrn.io.pictures import PICTURE_KINDS
    from mdcsrn.record.sidecar import changed_files, read_sidecar, sidecar_path

    path = Path(output)
    record = read_sidecar(sidecar_path(path))
    try:
        plan = Plan.from_dict(record["plan"])
    except (ConfigError, KeyError) as error:
        raise DataError(f"the record of {path} holds no plan", got=str(error)) from error
    volume = read_image(path, allow_constant=True)
    scan = _find_source(path, record, None if source is None else Path(source))
    if volume.shape != plan.shape or scan.volume.shape != plan.input_shape:
        raise GeometryError(
            f"{path} and its source do not fit their record", got=(volume.shape, scan.volume.shape),
            allowed=(plan.shape, plan.input_shape),
        )  # fmt: skip
    array = torch.from_numpy(scan.volume.array)
    low = array if plan.kind == "nothing" else plan.low(array)
    notices = [Notice(str(w["name"]), str(w["text"])) for w in record.get("warnings", [])]
    changed = changed_files(record, path)
    if changed:
        text = f"no longer as written: {', '.join(changed)}; “mdcsrn verify” says more"
        notices.insert(0, Notice("files-changed", text))
    facts = _facts(plan, record.get("inference", {}), record.get("timings_s", {}))
    picture = scan.kind in PICTURE_KINDS
    own = {
        "Source": Path(str(record.get("source"))).name,
        "File": path.name,
        "SHA-256 of the file": str(record.get("output_sha256")),
        "Stored as": str(record.get("dtype")),
    }
    return Page(
        title=str(record.get("name") or path.name),
        before=low.numpy(),
        after=volume.array,
        affine=upright(volume.affine) if picture else volume.affine,
        picture=picture,
        shares=_shares(plan),
        maps=_complete(_maps(path, record), volume.array, plan),
        facts={**own, **facts},
        certificate=_recomputed(plan, volume.array, array, record),
        notices=tuple(notices),
        unchanged=plan.kind == "nothing",
    )


def _recomputed(plan: Plan, result: Any, source: torch.Tensor, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The certificate before rounding and that of a series from the record, and that of the file, computed anew."""
    if plan.measurement is None or plan.kind == "nothing":
        return None
    stored = plan.measurement.certify(torch.from_numpy(result), plan.measured(source))
    before = (record.get("certificate") or {}).get("before_rounding") or stored.to_dict()
    return _with_stored(before, stored.to_dict(), (record.get("dicom") or {}).get("certificate"))


def _with_stored(
    before: Mapping[str, Any], stored: Mapping[str, Any] | None, series: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The certificate as :class:`~mdcsrn.report.page.Page` takes it: before rounding, and of each file by name."""
    files = {"relative_error_stored": stored, "relative_error_series": series}
    return {**before, **{key: of["relative_error"] for key, of in files.items() if of is not None}}


def _maps(output: Path, record: Mapping[str, Any]) -> dict[str, Array]:
    from mdcsrn.io.formats import read_image

    maps = {}
    for role in MAPS:
        file = record.get("files", {}).get(role)
        if file is not None and (output.parent / str(file["path"])).is_file():
            maps[role] = read_image(output.parent / str(file["path"]), allow_constant=True).array
    return maps


def _complete(maps: dict[str, Array], result: Array, plan: Plan) -> dict[str, Array]:
    """The maps, with the invention map made where it is not there: it follows from the result and the plan."""
    from mdcsrn.inference.uncertainty import invention

    if "invention" in maps or plan.kind == "nothing":
        return maps
    return {**maps, "invention": invention(torch.from_numpy(result), plan).numpy()}


def _find_source(output: Path, record: Mapping[str, Any], given: Path | None) -> Scan:
    """The scan with the hash that the record holds."""
    from mdcsrn.io.sources import find_cases, load_case

    path = output.parent / str(record.get("source", "")) if given is None else given
    if not path.exists():
        raise DataError(f"the source of {output} is not at {path}", remedy="say where it is: --input")
    fill = record.get("settings", {}).get("fill_nonfinite")
    problem = "it holds no image"
    for case in find_cases(path):
        try:
            scan = load_case(case, nonfinite="fill" if fill else "refuse")
        except MdcsrnError as error:
            problem = str(error)
            continue
        if scan.sha256 == record.get("source_sha256"):
            return scan
        problem = "its content differs"
    raise DataError(f"{path} is not the source of {output}", got=problem, remedy="give the one that was used: --input")


def _shares(plan: Plan) -> tuple[float, float, float]:
    """Measured share of each axis's frequencies on the result's grid."""
    d, h, w = (min(1.0, 1 / reduction) for reduction in plan.reduction)
    return d, h, w


def _facts(plan: Plan, inference: Mapping[str, Any], timings: Mapping[str, float]) -> dict[str, str]:
    """Label to text; what is not known is left out."""
    weights = inference.get("weights") or {}
    facts: dict[str, str | None] = {
        "Decision": _sentence(plan.decision),
        **{f"Reason {number}": reason for number, reason in enumerate(plan.reasons, 1)},
        "Scan": f"{_sizes(plan.input_shape)} voxels",
        "Acquired matrix": _sizes(plan.acquired_shape),
        "Result": f"{_sizes(plan.shape)} voxels of {_sizes([f'{edge:.3f}' for edge in plan.spacing])} mm",
        "Network": ", ".join(f"{k} {v}" for k, v in (weights.get("architecture") or {}).items() if v is not None),
        "Bundle": " ".join(str(weights[k]) for k in ("bundle", "bundle_version") if weights.get(k)) or None,
        "Weights": weights.get("file"),
        "SHA-256 of the weights": weights.get("sha256"),
        "Software": inference.get("software"),
        "PyTorch": inference.get("torch"),
        "Computed with": ", ".join(str(inference[k]) for k in ("backend", "precision", "device") if inference.get(k)),
        "Region": _region(inference),
        "Seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in timings.items()),
    }
    return {label: str(text) for label, text in facts.items() if text}


def _region(inference: Mapping[str, Any]) -> str | None:
    words = {"head": "the head and a margin; outside it the network adds nothing", "all": "the whole volume"}
    text = words.get(str(inference.get("region")))
    share = inference.get("region_share")
    return text if text is None or share is None else f"{text} ({100 * float(share):.0f} % of the voxels)"


def _sizes(values: Any) -> str:
    return " × ".join(map(str, values))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
