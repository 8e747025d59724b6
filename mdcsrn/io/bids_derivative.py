"""Paths and JSON sidecars of the derivatives of a BIDS image (BIDS 1.11)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mdcsrn.errors import OutputError
from mdcsrn.io.bids import ORDER, SOURCE, BidsImage

LABEL = "sr"
# Labels of desc that say that the skull is gone.
STRIPPED = re.compile(r"^brain|brain$|skullstrip|synthstrip|^(hd)?bet$", re.IGNORECASE)
MAPS = {
    "spread": "standard deviation over the eight flips of the scan, in the unit of the image",
    "mean": "mean over the eight flips of the scan, the measured part kept",
    "invention": "root mean square of what the network added around each voxel, in the unit of the image",
    "mask": "label map carried to the grid of the super-resolved image, each voxel by its nearest neighbour",
}


def _text(value: object) -> bool:
    return isinstance(value, str)


def _words(value: object) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return real and least <= value <= most  # type: ignore[operator]


def _positive(value: object, most: float = math.inf) -> bool:
    return _number(value, math.ulp(0.0), most)


def _positives(value: object, most: float = math.inf) -> bool:
    """One number, or one for each file of a collection."""
    values = value if isinstance(value, list) and value else [value]
    return all(_positive(entry, most) for entry in values)


# What BIDS knows of how a magnitude image was acquired, and what each value must be. It holds for the derivative too.
# Names and numbers of places, devices and people stay in the source, and so does what describes the source's grid.
ACQUISITION: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(
        ("Manufacturer", "ManufacturersModelName", "SoftwareVersions", "ReceiveCoilName", "ReceiveCoilActiveElements",
         "GradientSetType", "MRTransmitCoilSequence", "MatrixCoilMode", "CoilCombinationMethod", "PulseSequenceType",
         "SequenceName", "PulseSequenceDetails", "ParallelAcquisitionTechnique", "WaterSuppressionTechnique",
         "B0ShimmingTechnique", "B1ShimmingTechnique", "ContrastBolusIngredient", "BodyPart"),
        _text,
    ),
    **dict.fromkeys(("ScanningSequence", "SequenceVariant", "ScanOptions"), _words),
    **dict.fromkeys(
        ("NonlinearGradientCorrection", "MTState", "SpoilingState", "WaterSuppression", "NegativeContrast"), _flag
    ),
    **dict.fromkeys(("MTOffsetFrequency", "SpoilingRFPhaseIncrement"), _number),
    **dict.fromkeys(
        ("MagneticFieldStrength", "ImagingFrequency", "RepetitionTime", "RepetitionTimeExcitation",
         "RepetitionTimePreparation", "InversionTime", "DwellTime", "MixingTime", "EffectiveEchoSpacing"),
        _positive,
    ),
    "EchoTime": _positives,
    "FlipAngle": partial(_positives, most=360),
    "MRAcquisitionType": lambda value: value in ("1D", "2D", "3D"),
    "PartialFourier": partial(_positive, most=1),
    **dict.fromkeys(("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"), partial(_number, least=1)),
}  # fmt: skip


def derivative_path(image: BidsImage, out_dir: str | os.PathLike[str], role: str = "") -> Path:
    """Where a derivative of an image belongs: same folders and entities, its own label of ``desc``, .nii.gz.

    No two images of a dataset share a derivative: the source's own ``desc`` begins the new label (``desc-preproc``
    becomes ``desc-preprocSr``), and labels, whose suffix says what they are, have the source's suffix in theirs.

    Args:
        image: from :func:`mdcsrn.io.bids.find_bids`.
        out_dir: root of the derived dataset.
        role: empty for the volume, ``mask`` for carried labels, else the name of a map: letters and digits.

    Returns:
        ``sub-01_desc-sr_T1w``, ``sub-01_desc-srspread_T1w``; of labels ``sub-01_desc-srT1w_dseg``.

    Raises:
        OutputError: a role with other characters.
    """
    description, suffix = description_of(image, role), "dseg" if role == "mask" else image.suffix
    entities = {**{key: label for key, label in image.entities.items() if key != "desc"}, "desc": description}
    name = "_".join([*(f"{key}-{label}" for key, label in entities.items()), suffix])
    return Path(out_dir) / image.path.parent.relative_to(image.root) / f"{name}.nii.gz"


def description_of(image: BidsImage, role: str = "") -> str:
    """The label of ``desc`` of a derivative; see :func:`derivative_path`.

    Raises:
        OutputError: a role with other characters than letters and digits.
    """
    if not re.fullmatch(r"[0-9A-Za-z]*", role):
        raise OutputError("a BIDS label holds letters and digits", got=role)
    own = image.entities.get("desc")
    return (LABEL if own is None else f"{own}{LABEL.capitalize()}") + (image.suffix if role == "mask" else role)


def page_path(image: BidsImage, folder: Path) -> Path:
    """Where the HTML page of an image belongs: not among the images, where BIDS has no place for it."""
    return folder / derivative_path(image, folder).name.replace(".nii.gz", ".html")


def describe(image: BidsImage, role: str, spacing: Sequence[float]) -> dict[str, Any]:
    """What BIDS wants to be said of a derivative, beyond what was done to it.

    Args:
        image: the source.
        role: as for :func:`derivative_path`.
        spacing: voxel edge lengths of the derivative, millimetres.

    Returns:
        Fields of its JSON sidecar; `Sources` and, for a map, a `Description` among them.
    """
    fields: dict[str, Any] = {"Sources": [image.uri], "SpatialReference": _space(image)}
    if role:
        fields["Description"] = MAPS[role]
    if role != "mask":
        fields |= {"SkullStripped": is_skull_stripped(image), **acquisition_of(image.metadata)}
    if "res" in image.entities:
        fields["Resolution"] = f"{' x '.join(f'{edge:.4g}' for edge in spacing)} mm; the label is the source's"
    return fields


def is_skull_stripped(image: BidsImage) -> bool:
    """What the source says; where it says nothing, the label of its ``desc`` tells. Raw images have their skull."""
    stated = image.facts.skull_stripped
    return bool(STRIPPED.search(image.entities.get("desc", ""))) if stated is None else stated


def acquisition_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a source's metadata that say how it was acquired; values that BIDS does not allow are left out."""
    return {key: metadata[key] for key, is_valid in ACQUISITION.items() if key in metadata and is_valid(metadata[key])}


def _space(image: BidsImage) -> Any:
    """The source's own reference, read from the derived dataset; without one, the space in its name."""
    stated = image.metadata.get("SpatialReference")
    if isinstance(stated, str) and stated:
        return _from_here(stated)
    if isinstance(stated, dict) and stated:
        return {str(key): _from_here(value) for key, value in stated.items() if isinstance(value, str)}
    return image.entities.get("space", "orig")


def _from_here(reference: str) -> str:
    """A BIDS URI without the name of a dataset means the dataset that it stands in: for us, the source."""
    return f"bids:{SOURCE}:{reference.removeprefix('bids::')}" if reference.startswith("bids::") else reference


# Entities and suffixes with which BIDS 1.11 knows derived anatomical images; for others it has no name yet.
DERIVED_ENTITIES = frozenset(
    ("sub", "ses", "task", "acq", "ce", "rec", "run", "echo", "part", "space", "chunk", "res", "desc")
)
DERIVED_SUFFIXES = frozenset(
    ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio", "T2star", "FLASH", "PD",
     "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "UNIT1", "T1rho",
     "MWFmap", "MTVmap", "Chimap", "S0map", "M0map")
)  # fmt: skip
UNNAMED_ENTITIES = tuple(key for key in ORDER if key not in DERIVED_ENTITIES and key != "tpl")
