"""Naming conventions of well-known studies: how paths of scans name people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mdcsrn.data.words import GLUED

# How studies name people: the whole match, or its first group, is the person. What follows (visits, scans) is not.
CONVENTIONS: Mapping[str, re.Pattern[str]] = {
    "BIDS sub- labels": re.compile(r"(?:^|(?<=[/_]))sub-([A-Za-z0-9+]+)(?=[/_]|\.nii)"),
    "IXI names": re.compile(r"(?i)(?<![A-Za-z0-9])IXI\d{3}(?!\d)"),
    "ADNI names": re.compile(r"(?i)(?<!\d)\d{3}_S_\d{4,5}(?!\d)|(?<![A-Za-z0-9])ADNI\d{3}S\d{4,5}(?!\d)"),
    "OASIS names": re.compile(r"(?i)(?<![A-Za-z0-9])OAS(?:\d_\d{4}|\d{5})(?!\d)"),
    "BraTS names": re.compile(
        r"(?i)(?<![a-z0-9])BraTS-[A-Z]+-\d{4,5}(?!\d)"
        r"|(?<![a-z0-9])BraTS\d+_(?:(?:CBICA|TCIA\d*|TMC|2013|UAB|WashU)_[A-Z0-9]+?(?=_\d+(?!\d))|(?:Training_|Validation_|Testing_)?\d{3,5}(?!\d))"
    ),
    "HCP names": re.compile(
        r"(?<![A-Za-z0-9])(?:\d{6}(?=_(?:1\.5T|3T|7T)_|/(?:\w+/)?(?:T1w|T2w|MNINonLinear|unprocessed)/)|HC[ADPY]\d{7})"
    ),
    "names of the Cancer Imaging Archive": re.compile(
        r"(?i)(?<![a-z0-9])(?:TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}|UPENN-GBM-\d{5}|UCSF-PDGM-\d{3,4})(?![a-z0-9])"
    ),
    "OpenNeuro accession numbers": re.compile(r"(?:^|(?<=/))ds\d{6}[-_]\d+(?![0-9A-Za-z])"),
    "NDA names": re.compile(r"(?<![A-Za-z0-9])NDAR_?INV[A-Z0-9]{8}(?![A-Z0-9])"),
    "UK Biobank names": re.compile(r"(?<!\d)(\d{7})_2\d{4}_\d_\d(?!\d)"),
    "PPMI and AIBL names": re.compile(r"(?:^|/)(?:PPMI|AIBL)_(.+?)_(?:MR|PT)_"),
    "numbered subjects": re.compile(
        r"(?i)(?<![a-z0-9])(?:subject|subj|sub|patient|participant|volunteer|proband|person)"
        r"(?:[-_ ]?id)?[-_ ]?(?!\d+t(?![a-z0-9])|(?:19|20)\d{2}(?!\d)|(?:19|20)\d{6}(?!\d))\d+"
        rf"(?=(?:[a-z]|{GLUED})?(?![a-z0-9]))"
    ),
}


class Found(NamedTuple):
    """A person that a path names.

    Attributes:
        rule: the convention, in words.
        key: the same for all spellings of a name: `patient_007` and `Patient7` are one person.
        name: as it is written.
    """

    rule: str
    key: str
    name: str


def by_convention(path: Path) -> list[Found]:
    """The people that a path names by the first convention that it follows: one, or several that contradict each other.

    Args:
        path: relative to the searched folder.
    """
    for rule, pattern in CONVENTIONS.items():
        found: dict[str, Found] = {}
        for match in pattern.finditer(path.as_posix()):
            name = match.group(1) if match.re.groups else match.group(0)
            key = unicodedata.normalize("NFKC", name).casefold()
            if rule == "numbered subjects":
                key = re.sub(r"[-_ ]|(?<!\d)0+(?=\d)", "", key)
                key = re.sub(r"^(?:subject|subj|sub)(?:id)?", "sub", key)  # three spellings of one word
            found.setdefault(key, Found(rule, key, name))
        if found:
            return list(found.values())
    return []
