"""The cohort that the networks of planes are trained on: that of benchmarks/cohort.py, with T2w and FLAIR added.

    python benchmarks/planes_cohort.py DATA DATA_MORE -o runs/planes_cohort

DATA and DATA_MORE are folders with INDEX.tsv. Each added volume keeps to the side of the split on which its person is.
Training volumes that were interpolated are brought to their acquired matrix; the few T2w and FLAIR volumes are drawn
more often.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cohort import make_datalist

from mdcsrn.data.datalist import write_datalist
from mdcsrn.data.scan_report import inspect_image
from mdcsrn.data.split import read_subjects_table

# Folder (0: DATA, 1: DATA_MORE), file, section, draws in a pass.
ADDED = (
    (1, "t1w/dcmqa-asl-prisma_T1w.nii.gz", "training", 3),
    (0, "t2w/M2265_T2w.nii.gz", "training", 4),
    (0, "paired/oms-cs-07_T2w.nii.gz", "training", 4),
    (1, "paired/oms-cs-07_FLAIR.nii.gz", "training", 3),
    (1, "flair/pysynthsr_FLAIR.nii.gz", "training", 3),
    (1, "t1w/dcmqa-uih-134434_T1w.nii.gz", "validation", 1),
    (1, "paired/oms-cs-19_T2w.nii.gz", "validation", 1),
)
VALIDATION = ("ds000011-05", "ds002748-16")  # of the cohort: validation takes as long as four volumes do


def main() -> None:
    """Make the datalist and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with INDEX.tsv and t1w/")
    parser.add_argument("more", type=Path, help="folder with INDEX.tsv and other contrasts")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for datalist.json and cropped volumes")
    options = parser.parse_args()
    print(planes_datalist((options.data.resolve(), options.more.resolve()), options.output.resolve()))


def planes_datalist(folders: tuple[Path, Path], output: Path) -> Path:
    """The datalist; its paths are absolute."""
    first = make_datalist(folders[0], output / "t1w")
    content = json.loads(first.read_text(encoding="utf-8"))
    for section in ("training", "validation", "test"):
        for entry in content[section]:
            entry["image"] = str((first.parent / entry["image"]).resolve())
    content["validation"] = [entry for entry in content["validation"] if entry["subject"] in VALIDATION]
    content["test"] = []  # benchmarks/planes.py names its own
    tables = [read_subjects_table(folder / "INDEX.tsv") for folder in folders]
    for number, name, section, repeat in ADDED:
        path = folders[number] / name
        row = tables[number].by_file[Path(name).parts]
        if section == "training":
            path = inspect_image(path, crop=output / "cropped" / path.name).cropped or path
        content[section].append(
            {"image": str(path), "subject": row.subject, "person": row.person or row.subject, "repeat": repeat}
        )
    content.pop("sha256", None)
    return write_datalist(content, output / "datalist.json")


if __name__ == "__main__":
    main()
