"""Read a file's name and the JSON beside it: BIDS entities, contrast, slices, skull stripping."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import read_text
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.formats import image_stem
from mdcsrn.io.image_type import kind_of_file

# Suffixes of BIDS 1.10 for anatomical images; a name that ends in one of them states its contrast.
CONTRASTS = (
    "T1w", "T2w", "FLAIR", "PDw", "T2starw", "PDT2", "inplaneT1", "inplaneT2", "UNIT1", "MP2RAGE", "T1map", "T2map",
    "T2starmap", "PDmap", "T1rho", "T2star", "angio", "MEGRE", "VFA", "MESE",
)  # fmt: skip
DESCRIPTION = "dataset_description.json"
MAX_FOLDERS_UP = 6  # folders above a file in which a dataset's root is looked for
MAX_SIDECAR_BYTES = 16 << 20  # bytes of a JSON sidecar; real ones have some thousand
AXES = {"i": 0, "j": 1, "k": 2}


@dataclass(frozen=True)
class BidsName:
    """A file name taken apart.

    Attributes:
        entities: key to label in the order of the name, such as ``{"sub": "01", "run": "2"}``; empty where the name is
            not made of ``key-label`` parts.
        suffix: last part, such as ``T1w``.
    """

    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


def parse_name(path: str | os.PathLike[str]) -> BidsName:
    """Take a file name apart at its underscores; a name that is not in BIDS form keeps its last part alone."""
    stem = Path(path).name.removesuffix(".json") if Path(path).suffix == ".json" else image_stem(path)
    *parts, suffix = stem.split("_")
    matches = [re.fullmatch(r"([a-z]+)-([0-9A-Za-z+]+)", part) for part in parts]
    pairs = [(match[1], match[2]) for match in matches if match]
    if len(pairs) < len(parts) or len(dict(pairs)) < len(pairs):
        return BidsName({}, suffix)
    return BidsName(dict(pairs), suffix)


def dataset_root(path: str | os.PathLike[str]) -> Path | None:
    """The nearest folder at or above a file's that holds a ``dataset_description.json``, or None."""
    folder = Path(os.path.abspath(path)).parent
    for place in [folder, *folder.parents][:MAX_FOLDERS_UP]:
        if (place / DESCRIPTION).is_file():
            return place
    return None


def read_metadata(path: str | os.PathLike[str], root: Path | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """JSON metadata that belongs to an image, by the inheritance principle of BIDS.

    A sidecar belongs to the image if it has the same suffix and no entity that the image has not, and lies in the
    image's folder or above it, up to the dataset's root. What is nearer and more specific wins. Outside a dataset the
    file of the same stem counts.

    Args:
        path: image file.
        root: of the dataset; None: looked for.

    Returns:
        Metadata, and one sentence for each sidecar that cannot be read.
    """
    source = Path(os.path.abspath(path))
    root = Path(os.path.abspath(root)) if root is not None else dataset_root(source)
    own = source.with_name(f"{image_stem(source)}.json")
    if root is None or not source.is_relative_to(root):
        candidates = [own] if own.is_file() or own.is_symlink() else []
    else:
        inside = source.parent.relative_to(root).parts
        folders = [root.joinpath(*inside[:depth]) for depth in range(len(inside) + 1)]
        candidates = [file for folder in folders for file in _applicable(folder, parse_name(source), own)]
    metadata: dict[str, Any] = {}
    problems = []
    for file in candidates:
        try:
            check_fetched(file)
            if file.stat().st_size > MAX_SIDECAR_BYTES:
                raise ValueError("too large")
            content = json.loads(read_text(file))
            if not isinstance(content, dict):
                raise ValueError("no mapping of keys to values")
        except (OSError, ValueError, RecursionError) as error:  # JSONDecodeError is a ValueError
            problems.append(f"the sidecar {file.name} cannot be read and is left out: {type(error).__name__}")
            continue
        except DataError as error:  # not fetched
            problems.append(f"a sidecar is left out: {error}")
            continue
        metadata |= content
    return metadata, tuple(problems)


def _applicable(folder: Path, image: BidsName, own: Path) -> list[Path]:
    found = []
    for file in sorted(folder.glob("*.json")):
        name = parse_name(file)
        subset = name.suffix == image.suffix and name.entities.items() <= image.entities.items()
        bids = bool(image.entities) and (bool(name.entities) or file.name == f"{image.suffix}.json")
        if file == own or (bids and subset):
            found.append((len(name.entities), file))
    return [file for _, file in sorted(found, key=lambda entry: entry[0])]


def scan_facts(path: str | os.PathLike[str], root: Path | None = None) -> tuple[ScanFacts, tuple[str, ...]]:
    """What is known of an acquisition from the name of its file and its JSON sidecars.

    Args:
        path: image file.
        root: of the BIDS dataset; None: looked for.

    Returns:
        The facts (a value of the wrong kind counts as not known), and one sentence for each unreadable sidecar.
    """
    metadata, problems = read_metadata(path, root)
    return facts_of(path, metadata), problems


def facts_of(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> ScanFacts:
    """What an image's name and metadata say of its acquisition; a value of the wrong kind counts as not known."""
    name = parse_name(path)
    suffix = name.suffix
    contrast, origin = (suffix, "name") if suffix in CONTRASTS else (None, "unknown")
    guess = metadata.get("BidsGuess")  # dcm2niix: ["anat", "_acq-mprage_T1w"]
    if contrast is None and isinstance(guess, list) and guess and isinstance(guess[-1], str):
        guessed = guess[-1].split("_")[-1]
        contrast, origin = (guessed, "sidecar") if guessed in CONTRASTS else (None, "unknown")
    acquisition = metadata.get("MRAcquisitionType")
    thickness = metadata.get("SliceThickness")
    stripped = metadata.get("SkullStripped")
    direction = str(metadata.get("SliceEncodingDirection", "")).rstrip("-")
    return ScanFacts(
        contrast=contrast,
        acquisition=acquisition if acquisition in ("2D", "3D") else None,
        slice_thickness=float(thickness) if _is_number(thickness) and 0 < thickness < 1000 else None,
        slice_axis=AXES.get(direction),
        skull_stripped=stripped if isinstance(stripped, bool) else None,
        origin=origin,
        image_type=kind_of_file(name.entities, suffix, metadata),
        **_matrix(metadata),
    )


def _matrix(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The acquired matrix as dcm2niix gives it; what it does not give, or gives wrongly, is None."""
    lines, matrix = _count(metadata.get("AcquisitionMatrixPE")), _count(metadata.get("ReconMatrixPE"))
    interpolated = metadata.get("Interpolation2D")
    percent = metadata.get("PercentSampling")
    if lines is None and matrix is not None and _is_number(percent) and 0 < percent <= 100:
        lines = round(matrix * percent / 100 / (2 if interpolated is True else 1))
    named = metadata.get("PhaseEncodingDirection", metadata.get("PhaseEncodingAxis"))
    axis = AXES.get(str(named).rstrip("-"))
    if axis is None and metadata.get("MRAcquisitionType") == "2D":  # 3D volumes are often turned to another orientation
        axis = {"ROW": 0, "COL": 1}.get(str(metadata.get("InPlanePhaseEncodingDirectionDICOM")))
    return {
        "phase_axis": axis,
        "phase_lines": lines,
        "phase_matrix": matrix,
        "read_samples": _count(metadata.get("BaseResolution")),
        "interpolated": interpolated if isinstance(interpolated, bool) else None,
    }


def _count(value: object) -> int | None:
    return round(value) if _is_number(value) and 1 <= value < 1 << 16 else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
