"""Classify an image's values (a magnitude, a phase, a map ...) by DICOM ImageType, BIDS entity or sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAGNITUDE = "magnitude"
SINGLE_INVERSION = "one inversion of an MP2RAGE, uncombined"
UNIFORM = "uniform image of an MP2RAGE, a ratio of two"
CORRECTED_REAL = "real part, phase-corrected"
QUANTITATIVE = "quantitative map"
# By what a DICOM ImageType says in its third and later values; blanks stand for underscores too.
WORDS = {
    "phase": ("PHASE", "PHASE MAP", "PHASEMAP", "PHASE SUBTRACT", "PHASE DIFFERENCE", "PHASEDIFF"),
    "real part": ("REAL",),
    "imaginary part": ("IMAGINARY", "IMAG"),
    "velocity map": ("VELOCITY", "VELOCITY MAP", "FLOW MAP"),
    "field map": ("B0", "B0 MAP", "B0MAP", "FIELD MAP", "FIELDMAP", "B1", "B1 MAP", "B1MAP"),
    UNIFORM: ("UNI", "UNI-DEN", "UNIDEN", "T1 UNI"),
    CORRECTED_REAL: ("CR", "PSIR", "PS", "PHASE SENSITIVE", "CORRECTED REAL"),
    QUANTITATIVE: (
        "ADC", "EADC", "FA", "FRACTIONAL ANISOTROPY", "CBF", "CBV", "RELCBF", "RELCBV", "RELMTT", "RCBF", "RCBV", "MTT",
        "TTP", "TMAX", "PBP", "KTRANS", "VE", "MTR", "QSM", "R2", "R2STAR", "R2*", "T2STAR", "T2*", "TENSOR", "FF",
        "FAT FRACTION", "T1MAP", "T2MAP", "PDMAP", "STIFFNESS", "ELASTOGRAM",
    ),
    "projection": ("MIP", "MINIP", "MNIP", "PROJECTION", "MAX IP", "MIN IP"),
    "subtraction": ("SUB", "SUBTRACTION", "MODULUS SUBTRACT"),
}  # fmt: skip
KIND_OF_WORD = {word: kind for kind, words in WORDS.items() for word in words}
LETTERS = {"M": MAGNITUDE, "P": "phase", "R": "real part", "I": "imaginary part"}  # third or fourth value alone
COMPONENTS = {  # ComplexImageComponent (0008,9208)
    "MAGNITUDE": MAGNITUDE,
    "PHASE": "phase",
    "REAL": "real part",
    "IMAGINARY": "imaginary part",
    "MIXED": "complex parts, mixed",
}
PARTS = {"mag": MAGNITUDE, "phase": "phase", "real": "real part", "imag": "imaginary part"}  # BIDS entity part-
SUFFIXES = {
    **dict.fromkeys(("phase", "phase1", "phase2", "phasediff"), "phase"),
    **dict.fromkeys(("fieldmap", "TB0map", "TB1map", "RB1map", "B0map", "B1map"), "field map"),
    **dict.fromkeys(("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "M0map"), QUANTITATIVE),
    **dict.fromkeys(("MTRmap", "MTsat", "MTVmap", "MWFmap", "S0map", "Chimap"), QUANTITATIVE),
    "MP2RAGE": SINGLE_INVERSION,
}
UNITS = {"rad": "phase", "Hz": "field map"}  # of a BIDS sidecar
# RescaleType of a DICOM image, upper case: what only phases, velocities and field maps are measured in.
RESCALE_TYPES = {
    **dict.fromkeys(("RAD", "RADIAN", "RADIANS", "MRAD", "MILLIRADIAN", "MILLIRADIALS", "MILLIRADIANS"), "phase"),
    **dict.fromkeys(("CM/S", "CM/SEC", "MM/S"), "velocity map"),
    "HZ": "field map",
}
NOUN = re.compile(r" (?:IMAGE|PART|COMPONENT)$")  # Bruker writes PHASE_IMAGE, MAGNITUDE_IMAGE, others REAL PART
# The network knows magnitudes; k-space of a wrapped phase, or of one part of a complex image, is that of no scan.
REFUSED = (
    "phase", "real part", "imaginary part", "complex parts, mixed", "velocity map", "field map",
)  # fmt: skip
INVERSION = re.compile(r"(?<![A-Z0-9])INV[-_ ]?[12](?![0-9])")


def kind_of_words(words: Sequence[str]) -> str | None:
    """Kind of image by its ImageType.

    Args:
        words: values of ImageType or FrameType, upper case.

    Returns:
        One of the kinds named above, or None where the words do not say.

    Example:
        >>> kind_of_words(["ORIGINAL", "PRIMARY", "P", "ND"])
        'phase'
    """
    said = [NOUN.sub("", word.strip().replace("_", " ")) for word in words[2:]]
    kinds = [KIND_OF_WORD.get(word) or (QUANTITATIVE if word.endswith(" MAP") else None) for word in said]
    # Philips writes R_IR, CR_IR, M_FFE: the part, then the sequence.
    heads = [word.split(" ")[0] for word in said[:2]]
    letters = [LETTERS.get(head) or (CORRECTED_REAL if head == "CR" else None) for head in heads]
    found = [kind for kind in (*kinds, *letters) if kind is not None]
    if CORRECTED_REAL in found:
        return CORRECTED_REAL
    others = [kind for kind in found if kind != MAGNITUDE]
    return others[0] if others else MAGNITUDE if found else None


def kind_of_name(text: str) -> str | None:
    """Kind of image by a series' name: an uncombined inversion alone, which nothing else in a header tells."""
    return SINGLE_INVERSION if INVERSION.search(text.upper()) else None


def kind_of_file(entities: Mapping[str, str], suffix: str, metadata: Mapping[str, Any]) -> str | None:
    """Kind of image by a BIDS name and its sidecar.

    Args:
        entities: of the file's name, such as ``{"part": "phase"}``.
        suffix: of the file's name.
        metadata: of its sidecars; values of a wrong kind count as not there.
    """
    component = metadata.get("ComplexImageComponent")
    words = metadata.get("ImageType")
    said = [str(word).upper() for word in words] if isinstance(words, list) else []
    description = metadata.get("SeriesDescription")
    units = metadata.get("Units")
    kinds = (
        PARTS.get(entities.get("part", "")),
        SUFFIXES.get(suffix),
        COMPONENTS.get(component.upper()) if isinstance(component, str) else None,
        kind_of_words(said),
        UNITS.get(units) if isinstance(units, str) else None,
        kind_of_name(description) if isinstance(description, str) else None,
    )
    found = [kind for kind in kinds if kind is not None]
    return next((kind for kind in found if kind != MAGNITUDE), MAGNITUDE if found else None)
