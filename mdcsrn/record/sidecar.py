"""Record beside a result: source, weights and processing, so that the result can be checked again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdcsrn
from mdcsrn.errors import DataError
from mdcsrn.files import read_text, sha256

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.io.scan import Scan
    from mdcsrn.notices import Notice

FORMAT = 1
SEAL = "record_sha256"
RESTORED = "super-resolved: outer k-space restored by a network, the measured part kept"
UNCHANGED = "unchanged: no empty outer band of k-space was found"


@dataclass(frozen=True)
class Written:
    """One file of a result.

    Attributes:
        path: where it is (or will be).
        sha256: of its content.
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class StoredVolume(Written):
    """The volume of a result.

    Attributes:
        dtype: stored voxel type.
        certificate: consistency of the voxels as stored; None where there is none.
    """

    dtype: str = "float32"
    certificate: Mapping[str, Any] | None = None


def sidecar_path(output: Path) -> Path:
    """The record's file: ``scan_sr.json`` of ``scan_sr.nii.gz``."""
    from mdcsrn.io import image_stem

    return output.with_name(image_stem(output) + ".json")


def sidecar(
    prediction: Prediction,
    scan: Scan,
    output: StoredVolume,
    *,
    weights_sha256: str,
    settings: Mapping[str, Any],
    others: Mapping[str, Written] | None = None,
    notices: Sequence[Notice] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a result as plain JSON values, sealed with its own hash.

    Keys in CamelCase are those of BIDS derivatives. There is no time of day, no absolute path and nothing of a
    DICOM header, so the record holds no patient data that is not in the name of the source file itself.

    Args:
        prediction: what was computed.
        scan: what it was computed from.
        output: the volume, at its final place.
        weights_sha256: of the weights file.
        settings: what was asked for; equal settings, source and weights mean an equal result.
        others: further files by role (``spread``, ``invention``, ``mask``, ``report`` ...).
        notices: warnings of the writing, beyond those of the prediction.
        extra: further plain values, such as the DICOM series that was written, or fields of BIDS in the place of ours.

    Returns:
        The record; :func:`read_sidecar` takes it back.
    """
    folder = output.path.parent
    source = relative(scan.source, folder)
    spatial = prediction.volume
    certificate, raw = prediction.certificate, prediction.raw_certificate
    facts = scan.facts
    record: dict[str, Any] = {
        "software": f"mdcsrn {mdcsrn.__version__}",
        "format": FORMAT,
        "Description": UNCHANGED if prediction.plan.kind == "nothing" else RESTORED,
        "Sources": [source],
        "SpatialReference": "orig",
        **({} if facts.skull_stripped is None else {"SkullStripped": facts.skull_stripped}),
        "name": scan.name,
        "source": source,
        "source_kind": scan.kind,
        "source_sha256": scan.sha256,
        "output": output.path.name,
        "output_sha256": output.sha256,
        "files": {
            role: {"path": relative(file.path, folder), "sha256": file.sha256} for role, file in (others or {}).items()
        },
        "shape": list(spatial.shape),
        "spacing_mm": list(spatial.spacing),
        "affine": spatial.affine.tolist(),
        "dtype": output.dtype,
        "weights_sha256": weights_sha256,
        "settings": dict(settings),
        "plan": prediction.plan.to_dict(),
        "certificate": {
            "network_alone": None if raw is None else raw.to_dict(),
            "before_rounding": None if certificate is None else certificate.to_dict(),
            "after_rounding": None if output.certificate is None else dict(output.certificate),
        },
        "acquisition": {
            "contrast": facts.contrast,
            "contrast_origin": facts.origin,
            "acquisition": facts.acquisition,
            "slice_thickness_mm": facts.slice_thickness,
            "slice_axis": facts.slice_axis,
        },
        "warnings": [{"name": n.name, "text": n.text} for n in (*prediction.notices, *notices)],
        "inference": dict(prediction.facts),
        "timings_s": dict(prediction.timings),
        **(extra or {}),
    }
    record = plain(record)
    return {**record, SEAL: seal(record)}


def derivation(prediction: Prediction, weights_sha256: str) -> str:
    """What was done to a series, in the words of DICOM's DerivationDescription; nothing of a patient."""
    weights = f"weights {weights_sha256[:12]}; not for diagnosis"
    if prediction.plan.kind == "nothing":
        return f"unchanged: mdcsrn found no empty outer band of k-space; {weights}"
    return f"super-resolved with mdcsrn, {weights}"


def plain(value: Any) -> Any:
    """`value` with nothing but JSON's own types; a number that is not finite becomes None."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # NumPy and torch, scalars and arrays
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content without its seal: any number that is changed later shows."""
    content = {key: value for key, value in record.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def to_text(record: Mapping[str, Any]) -> str:
    """The record as a JSON file's content."""
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        DataError: missing, not JSON, or not a record of this software.
    """
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise DataError(f"no record {path}", remedy="keep the .json beside its volume") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read the record {path}", got=str(error).splitlines()[0]) from error
    if not isinstance(content, dict) or SEAL not in content or content.get("format") != FORMAT:
        raise DataError(f"{path} is no record of mdcsrn predict", allowed=f"a JSON file with format {FORMAT}")
    return content


def is_done(
    output: Path,
    source_sha256: str,
    settings: Mapping[str, Any],
    weights_sha256: str,
    page: Path | None = None,
    series: Path | None = None,
) -> bool:
    """True where a result of the same source, settings and weights is there, whole, with all the files wanted.

    Args:
        output: the volume's file.
        source_sha256: hash of the source now.
        settings: what is asked for now.
        weights_sha256: of the weights now.
        page: HTML report asked for now.
        series: folder of the DICOM series asked for now.
    """
    if not output.is_file():
        return False
    try:
        record = read_sidecar(sidecar_path(output))
    except DataError:
        return False
    same = (
        record[SEAL] == seal(record)
        and record.get("source_sha256") == source_sha256
        and record.get("settings") == plain(settings)
        and record.get("weights_sha256") == weights_sha256
        and (page is None or _report(record, output) == page.resolve())
        and (series is None or _place(record.get("dicom")) == relative(series, output.parent))
        and not set(record.get("not_made", ())) - {"report", "series"}  # seen to above
    )
    return same and not changed_files(record, output) and not series_change(record, output)


def further_files(record: Mapping[str, Any], output: Path) -> dict[str, tuple[Path, object]]:
    """Maps, labels and page by role: where each is, and the hash that it had."""
    files = record.get("files")
    entries = files.items() if isinstance(files, Mapping) else ()
    return {
        str(role): (output.parent / str(file.get("path")), file.get("sha256"))
        for role, file in entries
        if isinstance(file, Mapping)
    }


def series_sha256(folder: Path) -> str:
    """Hash of a folder's files: of their names and hashes, in the order of their names."""
    listed = [f"{path.name} {sha256(path)}" for path in sorted(folder.iterdir()) if path.is_file()]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def series_change(record: Mapping[str, Any], output: Path) -> str:
    """What is wrong with the DICOM series that belongs to a result; empty where nothing is, or there is none."""
    series = record.get("dicom")
    if not isinstance(series, Mapping):
        return ""
    folder = output.parent / str(series.get("path"))
    if not folder.is_dir():
        return f"the series {folder.name} is no longer there"
    return "" if series_sha256(folder) == series.get("sha256") else f"the series {folder.name} was changed"


def _report(record: Mapping[str, Any], output: Path) -> Path | None:
    found = further_files(record, output).get("report")
    return None if found is None else found[0].resolve()


def _place(entry: object) -> str | None:
    return str(entry.get("path")) if isinstance(entry, Mapping) else None


def changed_files(record: Mapping[str, Any], output: Path) -> list[str]:
    """What is missing or no longer as it was written: file names, the volume first."""
    listed = [(output, record.get("output_sha256")), *further_files(record, output).values()]
    return [path.name for path, expected in listed if not path.is_file() or sha256(path) != expected]


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, with forward slashes; neither need exist.

    Links in folders are followed, since `..` from a linked folder leads elsewhere; a file that is a link keeps its
    own name (stores such as git-annex link to names without a suffix).
    """
    absolute = Path(os.path.abspath(path))
    return Path(os.path.relpath(absolute.parent.resolve() / absolute.name, folder.resolve())).as_posix()
