"""Recognise images that are no scans: masks, segmentations, label maps and derivatives, by name or by voxels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdcsrn.io.formats import image_stem
from mdcsrn.io.sidecar import CONTRASTS, parse_name

# Folders and words of file names, in lower case.
_FOLDERS = re.compile(
    r"derivatives|labels?|labels(?:tr|ts|va|val)|masks?|segs?|segmentations?|lesions?|rois?|parcellations?|"
    r"brain_?masks?|(?:ground|gold)_?(?:truth|standard)|gt"
)
_WORDS = re.compile(
    r"(?:brain|lesion|tumou?r|head|skull|roi|defacing|deface|gm|wm|csf)?_?masks?|segs?|segm|segmented|segmentations?|dseg|"
    r"probseg|labels?|labelmaps?|lbls?|aseg|aparc|wmparc|lesions?|rois?|parc|parcellations?|atlas|ground_?truth|gold_?standard|gt|pve|"
    r"pveseg|mixeltype|ribbon|tissues?|annotations?|contours?|prob|probs|probmaps?|tpm|priors?|jacobian|xfm|warpfield|deformation|biasfield"
)
_PAIRS = re.compile(r"nonlin_(?:field|coeff|jac)|warp_field|fast_bias")  # of FSL
_ALONE = {"wm", "gm", "csf", "wmh", "filled"}  # whole names: white matter and lesions, of FreeSurfer and others
MIN_SCAN_VALUES = 16  # distinct whole numbers that no scan has so few of
MAX_LABELS = 4096  # parcellations have some hundreds; above, it is no map
PLATEAU = 0.75  # share of neighbours, both above 0, that are equal: label maps above 0.9, scans in 8 bits below 0.3


def label_by_name(path: Path) -> str | None:
    """Why the name of a file is that of a mask, a segmentation or a derivative; None where it is not.

    Args:
        path: relative to the searched folder.
    """
    folder = next((part for part in path.parts[:-1] if _FOLDERS.fullmatch(part.casefold())), None)
    if folder is not None:
        return f"in a folder {folder}"
    name = parse_name(path)
    if name.entities and name.suffix in CONTRASTS:  # `sub-01_label-x_T1w` is a scan: its suffix says so
        return None
    words = re.split(r"[^0-9a-z]+", image_stem(path).casefold())
    pairs = [f"{one}_{other}" for one, other in zip(words, words[1:], strict=False)]
    word = next((word for word in [*words, *pairs] if _WORDS.fullmatch(word)), None)
    word = word or next((pair for pair in pairs if _PAIRS.fullmatch(pair)), None)
    if len(words) == 1 and words[0] in _ALONE:
        word = words[0]
    return None if word is None else f"{word.replace('_', ' ')} in its name"


def label_by_content(array: NDArray[np.floating]) -> str | None:
    """Why voxels are those of a mask or a label map; None where they may be a scan's.

    Args:
        array: voxels, any shape, finite.
    """
    sample = array.reshape(-1)[:: max(1, array.size // 100_000)]
    # A scan, as most are, is told at once.
    if len(np.unique(sample)) > MAX_LABELS or not np.array_equal(array, np.rint(array)):
        return None
    count = len(np.unique(array))
    if count <= MIN_SCAN_VALUES:
        return f"{count} different whole numbers"
    if count > MAX_LABELS:
        return None
    equal = both = 0
    for axis in range(array.ndim):
        one, other = (np.take(array, range(i, array.shape[axis] - 1 + i), axis) for i in (0, 1))
        inside = (one > 0) & (other > 0)
        both += int(inside.sum())
        equal += int((inside & (one == other)).sum())
    return f"areas of {count} whole numbers" if both and equal > PLATEAU * both else None
