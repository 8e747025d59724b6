"""The cohort that the benchmarks train and judge on: a folder of T1w scans with INDEX.tsv, as a datalist.

    python benchmarks/cohort.py FOLDER_WITH_INDEX_TSV -o runs/cohort

The split is the table's. Training volumes that their scanner interpolated are brought to their acquired matrix (written
beside the datalist), since an empty outer band teaches blur; validation and test stay as they are. A volume of a
scanner with few volumes is drawn more often, up to three times in a pass.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from mdcsrn.data.datalist import SplitRule, build_datalist, find_images, write_datalist
from mdcsrn.data.scan_report import inspect_image
from mdcsrn.data.split import read_subjects_table

MOST_REPEATS = 3


def main() -> None:
    """Make the datalist and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with INDEX.tsv and t1w/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for datalist.json and cropped volumes")
    options = parser.parse_args()
    print(make_datalist(options.folder.resolve(), options.output.resolve()))


def make_datalist(folder: Path, output: Path) -> Path:
    """The datalist of the T1w scans; what is there already is not made again."""
    target = output / "datalist.json"
    if target.is_file():
        return target
    output.mkdir(parents=True, exist_ok=True)
    table = read_subjects_table(folder / "INDEX.tsv")
    images = [path for path in find_images(folder) if "t1w" in path.relative_to(folder).parts]
    rule = SplitRule({}, table=table)
    content, _ = build_datalist(images, folder, output, rule, "T1w")
    training = {Path(entry["image"]).name for entry in content["training"]}
    replaced: dict[Path, Path] = {}
    for image in images:
        if image.name in training:
            cropped = inspect_image(image, crop=output / "cropped" / image.name).cropped
            replaced |= {} if cropped is None else {image: cropped}
    content, _ = build_datalist(images, folder, output, rule, "T1w", replaced)
    balance(content["training"])
    return write_datalist(content, target)


def series_of(entry: dict[str, Any]) -> str:
    """The series that a subject belongs to: ds002748-01 is one of ds002748; a single scan is a series of its own."""
    name, _, number = str(entry["subject"]).rpartition("-")
    return name if name and number.isdigit() else str(entry["subject"])


def balance(entries: list[dict[str, Any]]) -> None:
    """Set ``repeat`` so that small series come closer to the largest one."""
    counts = Counter(map(series_of, entries))
    for entry in entries:
        entry["repeat"] = min(MOST_REPEATS, max(counts.values()) // counts[series_of(entry)])


if __name__ == "__main__":
    main()
