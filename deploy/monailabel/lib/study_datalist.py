"""Make a training datalist of the study folder, by the checks and the split of ``mdcsrn data folder``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from mdcsrn.data.datalist import SplitRule, build_datalist, write_datalist
from mdcsrn.data.scan_report import inspect_image
from mdcsrn.errors import DataError

logger = logging.getLogger(__name__)


def write_study(datastore: Datastore, folder: Path, val_split: float, crop_kspace: bool) -> Path:
    """List the images of a study folder for training and validation, split by person.

    Results of inference lie among MONAI Label's labels and are no scans.

    Args:
        datastore: the study folder.
        folder: where to write ``datalist.json``, and scans at their acquired matrix.
        val_split: share of the people in the validation.
        crop_kspace: bring scans with an empty outer band to the matrix that was measured, and list those.

    Returns:
        The datalist.

    Raises:
        DataError: no scan can be used, or nobody is left for training or for the validation.
    """
    images = sorted(Path(datastore.get_image_uri(name)) for name in datastore.list_images())
    if not images:
        raise DataError("the study folder holds no image", remedy="put scans into it")
    root = Path(os.path.commonpath([image.parent for image in images]))
    good: list[Path] = []
    replaced: dict[Path, Path] = {}
    for image in images:
        inside = image.relative_to(root)
        try:
            facts = inspect_image(image, crop=folder / "cropped" / inside if crop_kspace else None)
        except DataError as error:
            logger.warning("left out: %s", error)
            continue
        good.append(image)
        if facts.cropped is not None:
            replaced[image] = facts.cropped
        logger.info("%s", facts.row(inside.as_posix()))
    if not good:
        raise DataError("no image of the study folder can be used", got=f"{len(images)} images", remedy="see the log")
    rule = SplitRule({"training": 1 - val_split, "validation": val_split})
    content, _ = build_datalist(good, root, folder, rule, "study folder", replaced)
    if not content["validation"]:
        raise DataError(
            "nobody is left for the validation", got=f"{len(good)} scans, val_split {val_split:g}",
            remedy="add scans of another person, or raise val_split",
        )  # fmt: skip
    logger.info("%d scans for training, %d for validation", len(content["training"]), len(content["validation"]))
    return write_datalist(content, folder / "datalist.json")
