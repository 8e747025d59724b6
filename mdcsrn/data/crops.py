"""Output folder of `mdcsrn data folder --crop-kspace`: a list in it names the files that may be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mdcsrn
from mdcsrn.files import atomic_write_text
from mdcsrn.io.names import is_writable_name
from mdcsrn.targets import check_target, foreign, read_own_record

LIST = "mdcsrn_crops.json"


def plan_crops(images: Sequence[Path], folder: Path, crops: Path) -> dict[Path, Path]:
    """Give each scan the place of its crop, and list the places, so that a run that is killed can be repeated.

    Args:
        images: below `folder`.
        folder: that was searched.
        crops: folder of the crops.

    Returns:
        Scan to the place of its crop, the same path below `crops`, with .nii.gz added where its format is not written.

    Raises:
        OutputError: a place is an input, holds a file that is not a crop of an earlier run, or has too long a name.
    """
    places = {image: crops / _written(image.relative_to(folder)) for image in images}
    record = crops / LIST
    content = read_own_record(record)
    if record.exists() and content is None:
        raise foreign(record)
    listed = (content or {}).get("crops")
    ours = set(map(str, listed)) if isinstance(listed, list) else set()
    for place in places.values():
        check_target(place, images, "crop")
        if place.exists() and place.relative_to(crops).as_posix() not in ours:
            raise foreign(place, "choose another folder with --crop-kspace")
    list_crops(crops, places.values())
    return places


def list_crops(crops: Path, places: Iterable[Path]) -> None:
    """Write the list of the crops in a folder; those of earlier runs stay listed while they are there.

    Raises:
        OutputError: it cannot be written.
    """
    content: Mapping[str, object] = read_own_record(crops / LIST) or {}
    listed = content.get("crops")
    earlier = [str(name) for name in listed if (crops / str(name)).is_file()] if isinstance(listed, list) else []
    names = sorted({*earlier, *(place.relative_to(crops).as_posix() for place in places)})
    record = {"software": f"mdcsrn {mdcsrn.__version__}", "crops": names}
    atomic_write_text(crops / LIST, json.dumps(record, indent=2) + "\n")


def _written(path: Path) -> Path:
    return path if is_writable_name(path) else path.with_name(f"{path.name}.nii.gz")
