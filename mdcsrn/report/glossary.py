"""Words of a report in plain language."""

from __future__ import annotations

GLOSSARY = {
    "k-space": (
        "What an MRI scanner measures: the image as a sum of waves. Its centre holds contrast and coarse "
        "shape, its outer part holds edges and fine detail."
    ),
    "Passband, measured band": (
        "The part of k-space that the scan sampled. It ends at the scan's true resolution, however fine the "
        "voxels of the file are."
    ),
    "Zero-filling": (
        "Bringing an image to a finer grid by adding empty outer k-space. Nothing is invented: the picture "
        "has more voxels and no more detail."
    ),
    "Super-resolution": (
        "Filling the outer part of k-space with detail that a network has learnt from sharp scans. It is an "
        "estimate, not a measurement."
    ),
    "Data consistency": (
        "After the network, the measured part of k-space is put back, so that the network can only add where "
        "nothing was measured. On magnitude images “measured” means the k-space of the magnitude image."
    ),
    "Certificate": (
        "The relative error between the result and the scan inside the measured band; near 0 the scan is "
        "kept. It can be checked again from the files with “mdcsrn verify”."
    ),
    "Invention map": (
        "Local strength of what was added outside the measured band. Bright places rest on the network's "
        "experience more than on the scan."
    ),
    "Spread map": (
        "How far the results differ when the same scan is shown to the network flipped along its axes. Bright "
        "places are uncertain; a dark place can still be wrong."
    ),
    "Head mask": (
        "Voxels above 2 % of the data range with holes filled; figures are taken in it where nothing else is said."
    ),
    "Data range": ("The 99.9th percentile of the volume's intensities: white in the pictures, 100 % in the curves."),
    "PSNR": (
        "Peak signal-to-noise ratio: 10 log10(data range² / mean squared error), in dB. Higher is closer to "
        "the reference."
    ),
    "SSIM": (
        "Structural similarity: luminance, contrast and structure compared in a window of 11³ voxels; 1 means equal."
    ),
}
"""Word to meaning, in the order shown."""

_EVALUATION_ONLY = ("PSNR", "SSIM")


def glossary(evaluation: bool, maps: tuple[str, ...]) -> dict[str, str]:
    """The words that a page uses."""
    left_out = set() if evaluation else set(_EVALUATION_ONLY)
    left_out |= {f"{name.capitalize()} map" for name in ("spread", "invention") if name not in maps}
    return {word: meaning for word, meaning in GLOSSARY.items() if word not in left_out}
