"""Folders of fastMRI files: find them, name the patients, write the volumes, list them with a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mdcsrn
from mdcsrn.data.datalist import SplitRule, build_datalist
from mdcsrn.data.fastmri import Conversion, Converted
from mdcsrn.data.split import subject_of
from mdcsrn.data.subjects import Named, infer_subjects
from mdcsrn.errors import DataError, OutputError
from mdcsrn.fetched import check_fetched
from mdcsrn.io import write_volume
from mdcsrn.io.fastmri import SUFFIXES, FastMRI
from mdcsrn.targets import read_own_record

REFERENCE, LOW, DATALIST = "reference", "low", "datalist.json"


def find_fastmri(folder: Path) -> list[Path]:
    """Files that end in .h5 below a folder, sorted; hidden ones are left out.

    Raises:
        DataError: no such folder, or none in it.
    """
    check_fetched(folder)
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", remedy="check the path")
    inside = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    found = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not found:
        raise DataError(f"{folder} holds no HDF5 file", allowed="fastMRI, .h5, in any sub-folder")
    return found


def check_output(output: Path, folder: Path) -> None:
    """Refuse a folder of results that holds something else, or that lies among the files to be read.

    Raises:
        OutputError: see above.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"the output {output} lies in {folder}", remedy="choose another folder")
    taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if taken and read_own_record(output / DATALIST) is None:
        raise OutputError(f"{output} is not empty, and not of an earlier conversion", remedy="choose an empty folder")


def write_converted(made: Converted, output: Path, inside: Path) -> tuple[Path, Path | None]:
    """Write the volumes of one file as NIfTI, below ``reference`` and ``low``.

    Args:
        made: the volumes.
        output: folder of the results.
        inside: path of the file below the folder that is converted; sub-folders are kept.

    Returns:
        The files of the reference and of the low volume.
    """
    name = inside.with_suffix(".nii.gz")
    low = None if made.low is None else write_volume(made.low, output / LOW / name)
    return write_volume(made.reference, output / REFERENCE / name), low


def name_patients(files: Sequence[FastMRI], folder: Path, pattern: str | None = None) -> Named:
    """Say who is in each file: its ``patient_id``, else the expression, else inferred from the paths.

    Args:
        files: that were read, below `folder`.
        folder: that is converted.
        pattern: see :func:`mdcsrn.data.split.subject_of`; of no effect on files with a ``patient_id``.

    Raises:
        ConfigError: the expression is invalid.
        DataError: nothing says who it is.
    """
    names = {file.path: file.patient for file in files if file.patient is not None}
    rest = {file.path: file.path.relative_to(folder) for file in files if file.patient is None}
    ways = ["patient_id"] if names else []
    if rest and pattern is not None:
        names |= {path: subject_of(inside, pattern) for path, inside in rest.items()}
        ways.append(f"the expression {pattern}")
    elif rest:
        try:
            found = infer_subjects(list(rest.values()))
        except DataError as error:
            raise DataError(
                error.what, remedy="say it with --subject-pattern 'REGEX' (its first group names the person)"
            ) from error
        names |= {path: found.names[inside] for path, inside in rest.items()}
        ways.append(found.how)
    return Named(names, ", ".join(ways))


def fastmri_datalist(
    written: Mapping[Path, tuple[FastMRI, Path | None]], output: Path, named: Named, rule: SplitRule, how: Conversion
) -> dict[str, Any]:
    """Datalist of the volumes, split by patient: ``image`` is the reference, ``low`` its degraded partner.

    Args:
        written: reference file to what was read and the low file.
        output: folder of the results, where the datalist will be.
        named: who is in each file that was read.
        rule: fractions and seed.
        how: the conversion, for the record.
    """
    patients = Named({image: named.names[file.path] for image, (file, _) in written.items()}, named.how)
    content, _ = build_datalist(sorted(written), output / REFERENCE, output, rule, "fastMRI", named=patients)
    for entry in (entry for key in rule.fractions for entry in content[key]):
        file, low = written[output / entry["image"]]
        if low is not None:
            entry["low"] = low.relative_to(output).as_posix()
        if file.acquisition is not None:
            entry["acquisition"] = file.acquisition
    content["split"]["rule"] = f"subject: {named.how}; persons ordered by SHA-256 of seed and name"
    spec = None if how.spec is None else how.spec.to_dict()
    conversion = {"source": how.source, "scale": how.scale, "degradation": spec}
    return {"software": f"mdcsrn {mdcsrn.__version__}", **content, "conversion": conversion}
