"""Read facts of an acquisition from a DICOM header: contrast, 2D or 3D, slice thickness."""

from __future__ import annotations

import re

from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.dicom.header import FrameTags
from mdcsrn.io.dicom.kind import kind_of_image
from mdcsrn.io.image_type import MAGNITUDE, SINGLE_INVERSION, UNIFORM

SLICE_AXIS = 2  # arrays are (column, row, slice)
STATED = {  # AcquisitionContrast (0008,9209) of enhanced images
    "T1": "T1w",
    "T2": "T2w",
    "T2_STAR": "T2starw",
    "FLUID_ATTENUATED": "FLAIR",
    "PROTON_DENSITY": "PDw",
}
# BIDS has suffixes of their own for these; a map or a phase has no contrast that sequence and times could tell.
CONTRASTS = {SINGLE_INVERSION: "MP2RAGE", UNIFORM: "UNIT1"}
# Names that sequences go by; the first that fits wins. They are looked for, never repeated.
NAMES = (
    (r"T1.?FLAIR", "T1w"),
    (r"FLAIR|DARK.?FLUID", "FLAIR"),
    (r"MP2?.?RAGE|T1W?(?![0-9R])|BRAVO|SPGR|TFL(?![A-Z])|TFE(?![A-Z])", "T1w"),
    (r"T2.?(\*|STAR)|SWI|SWAN|VENBOLD", "T2starw"),
    (r"T2W?(?![0-9*])", "T2w"),
    (r"(?<![A-Z])PDW?(?![A-Z])|PROTON", "PDw"),
)


def facts_of(tags: FrameTags) -> ScanFacts:
    """Facts of a scan.

    Args:
        tags: of one of its images.

    Returns:
        The facts; ``origin`` is ``dicom`` where a contrast was found.
    """
    image_type = kind_of_image(tags)
    contrast = guess_contrast(tags) if image_type in (None, MAGNITUDE) else CONTRASTS.get(image_type)
    kind = tags.text("MRAcquisitionType")
    thickness = tags.number("SliceThickness")
    return ScanFacts(
        contrast=contrast,
        acquisition=kind if kind in ("2D", "3D") else None,
        slice_thickness=thickness if thickness and thickness > 0 else None,
        slice_axis=SLICE_AXIS,
        origin="dicom" if contrast else "unknown",
        image_type=image_type,
    )


def guess_contrast(tags: FrameTags) -> str | None:
    """BIDS suffix of the contrast, or None where the header does not decide it.

    What the scanner states comes first, then repetition, echo and inversion time (ms) where they are unmistakable, then
    the names of sequence and protocol.
    """
    stated = STATED.get(tags.text("AcquisitionContrast"))
    return stated or _by_times(tags) or _by_names(tags)


def _by_times(tags: FrameTags) -> str | None:
    """Contrast from the sequence's times; the bounds leave out what could be two things."""
    sequence = {*tags.words("ScanningSequence"), *tags.words("EchoPulseSequence")}
    if "EP" in sequence or tags.number("DiffusionBValue"):
        return None  # echo planar: diffusion, perfusion, BOLD
    repetition = tags.number("RepetitionTime")
    echo = tags.number("EchoTime") or tags.number("EffectiveEchoTime")
    inversion = tags.number("InversionTime") or tags.number("InversionTimes")
    if not repetition or not echo:
        return None
    gradient = bool(sequence & {"GR", "GRADIENT"})
    spin = bool(sequence & {"SE", "SPIN", "BOTH"}) and not gradient
    if inversion and repetition >= 3500 and inversion >= 1200 and echo >= 60:
        return "FLAIR"
    if gradient:
        prepared = "MP" in tags.words("SequenceVariant") or (inversion is not None and 300 <= inversion <= 1400)
        flip = tags.number("FlipAngle") or 0.0
        if echo <= 10 and (prepared or (repetition <= 50 and flip >= 8)):
            return "T1w"
        return "T2starw" if echo >= 15 and repetition >= 25 else None
    if spin:
        if echo <= 35 and (repetition <= 1000 or (inversion is not None and inversion <= 1200 and repetition <= 3000)):
            return "T1w"
        if repetition >= 1800 and not inversion:
            return "T2w" if echo >= 65 else "PDw" if echo <= 40 else None
    return None


def _by_names(tags: FrameTags) -> str | None:
    keywords = ("PulseSequenceName", "SequenceName", "ProtocolName", "SeriesDescription")
    names = " ".join(tags.text(keyword) for keyword in keywords)
    for pattern, contrast in NAMES:
        if re.search(pattern, names):
            return contrast
    return None
