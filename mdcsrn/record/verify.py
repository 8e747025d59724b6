"""Verify a result from its files alone: hashes, geometry, and consistency with the source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, DataError, MdcsrnError
from mdcsrn.fetched import check_fetched, unfetched
from mdcsrn.files import sha256
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.io.formats import read_image
from mdcsrn.io.geometry import CORNER_TOLERANCE_VOXELS, corners_apart
from mdcsrn.io.names import is_picture_name
from mdcsrn.io.pictures import pixel_size_kept
from mdcsrn.io.volume import voxel_spacing
from mdcsrn.kspace.fourier import grid_affine
from mdcsrn.record.sidecar import SEAL, further_files, read_sidecar, seal, series_change, sidecar_path

if TYPE_CHECKING:
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

FLOAT_BOUND = 1e-5  # consistency of a float result
REPEAT = 1e-6  # two computations of a relative error (float32 sums) agree to this, or to a hundredth of it


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: fixed, lower case with hyphens.
        passed: None where it could not be made.
        text: what was found, one sentence.
    """

    name: str
    passed: bool | None
    text: str


@dataclass(frozen=True)
class Verification:
    """All checks of a result.

    Attributes:
        output: the volume's file.
        checks: in the order in which they were made.
    """

    output: Path
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True where nothing is wrong; what could not be checked does not count."""
        return all(check.passed is not False for check in self.checks)

    @property
    def complete(self) -> bool:
        """True where every check could be made."""
        return all(check.passed is not None for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        checks = [{"name": c.name, "passed": c.passed, "text": c.text} for c in self.checks]
        return {"output": str(self.output), "passed": self.passed, "complete": self.complete, "checks": checks}


def verify(output: Path, source: Path | None = None) -> Verification:
    """Check a result of ``mdcsrn predict``.

    Nothing is taken from the record that the files can say: hashes are computed anew, the grid is derived from the
    source's own header, and the consistency from the source's and the result's voxels.

    Args:
        output: the volume; its record lies beside it.
        source: what it was made from; None: where the record says, relative to the output.

    Returns:
        The checks, failed ones included.

    Raises:
        DataError: the output or its record is missing or unreadable, or `source` is missing.
    """
    check_fetched(output)
    if not output.is_file():
        raise DataError(f"no such file: {output}", remedy="check the path")
    record = read_sidecar(sidecar_path(output))
    checks = [_sealed(record), _unchanged(output, record), *_further_files(output, record)]
    volume: Volume | None = None
    try:
        volume = read_image(output, allow_constant=True)
        checks.append(_header(volume, record))
    except MdcsrnError as error:
        checks.append(Check("header", False, f"the volume cannot be read: {error}"))
    scan, found = _source(output, record, source)
    checks.append(found)
    try:
        plan = Plan.from_dict(record["plan"])
    except (ConfigError, KeyError) as error:
        checks.append(Check("geometry", False, f"the record holds no plan: {error}"))
        return Verification(output, tuple(checks))
    checks.append(_geometry(volume, scan, plan))
    try:
        checks.append(_consistency(volume, scan, plan, record))
    except MdcsrnError as error:
        checks.append(Check("consistency", False, f"the plan contradicts itself: {error}"))
    return Verification(output, tuple(checks))


def _sealed(record: Mapping[str, Any]) -> Check:
    intact = record[SEAL] == seal(record)
    return Check("record", intact, "the record is as it was written" if intact else "the record was changed")


def _unchanged(output: Path, record: Mapping[str, Any]) -> Check:
    intact = record.get("output_sha256") == sha256(output)
    return Check("output", intact, f"{output.name} is {'as it was written' if intact else 'not the file written'}")


def _further_files(output: Path, record: Mapping[str, Any]) -> list[Check]:
    """Maps, labels and page, where they are still there; they may be deleted without harm to the result."""
    checks = []
    for role, (path, expected) in further_files(record, output).items():
        if not path.is_file():
            checks.append(Check(f"file-{role}", None, f"{path.name} is no longer there"))
        else:
            intact = sha256(path) == expected
            checks.append(Check(f"file-{role}", intact, f"{path.name} is {'' if intact else 'not '}as it was"))
    if isinstance(record.get("dicom"), Mapping):
        problem = series_change(record, output)
        gone = problem.endswith("no longer there")
        checks.append(Check("dicom", None if gone else not problem, problem or "the DICOM series is as it was"))
    return checks


def _header(volume: Volume, record: Mapping[str, Any]) -> Check:
    """Shape, type and affine of the file are those of the record; of a picture's place, the pixel size alone."""
    wrong = []
    if list(volume.shape) != record.get("shape"):
        wrong.append(f"shape {volume.shape}, recorded {record.get('shape')}")
    if str(volume.dtype.newbyteorder("=")) != record.get("dtype"):
        wrong.append(f"type {volume.dtype}, recorded {record.get('dtype')}")
    picture = _is_picture(volume)
    try:
        affine = np.array(record.get("affine"), dtype=np.float64)
        misplaced = _pixels_off(volume, affine) if picture else _corners_off(volume, affine)
    except (TypeError, ValueError, IndexError):
        misplaced = "the record holds no affine"
    if misplaced:
        wrong.append(misplaced)
    place = "pixel size" if picture else "affine"
    more = "; a PNG states no position, which the record keeps" if picture else ""
    return Check("header", not wrong, "; ".join(wrong) or f"shape, type and {place} are those of the record{more}")


def _source(output: Path, record: Mapping[str, Any], given: Path | None) -> tuple[Scan | None, Check]:
    """The scan that the result was made from, where it can be found, and whether it is that one."""
    from mdcsrn.io.sources import find_cases, load_case

    path = output.parent / str(record.get("source", "")) if given is None else given
    absent = unfetched(path)
    if absent is not None and given is None:
        return None, Check("source", None, str(absent))
    if absent is not None:
        raise absent
    if not path.exists():
        if given is not None:
            raise DataError(f"no such file or folder: {given}", remedy="check the path")
        return None, Check("source", None, "the source is no longer where the record says: give it with --input")
    fill = "fill" if _inner(record, "settings", "fill_nonfinite") else "refuse"
    problem = "it holds no image"
    try:
        cases = find_cases(path)
    except MdcsrnError as error:
        return None, Check("source", False, f"{path.name} is not the source that was used: {error}")
    for case in cases:
        if case.error is not None:
            problem = str(case.error)
            continue
        try:
            scan = load_case(case, nonfinite=fill)  # type: ignore[arg-type]
        except MdcsrnError as error:
            problem = str(error)
            continue
        if scan.sha256 == record.get("source_sha256"):
            return scan, Check("source", True, "the source is the one that was used")
        problem = "its content differs"
    return None, Check("source", False, f"{path.name} is not the source that was used: {problem}")


def _geometry(volume: Volume | None, scan: Scan | None, plan: Plan) -> Check:
    """The grid follows from the source's own header and the plan's padding and sizes."""
    if volume is None or scan is None:
        return Check("geometry", None, "not checked without the source" if scan is None else "not checked")
    if scan.volume.shape != plan.input_shape:
        return Check("geometry", False, f"the source has shape {scan.volume.shape}, the plan {plan.input_shape}")
    padded = [n + sum(pair) for n, pair in zip(plan.input_shape, plan.padding, strict=True)]
    start = scan.volume.affine.copy()
    start[:3, 3] -= start[:3, :3] @ np.array([before for before, _ in plan.padding], dtype=np.float64)
    expected = grid_affine(torch.from_numpy(start), padded, volume.shape).numpy()
    if _is_picture(volume):
        off = _pixels_off(volume, expected)
        fine = not off and volume.shape == plan.shape
        text = "pixels have the size that the source gives them; a PNG states no position"
        return Check("geometry", fine, text if fine else off or f"the plan has shape {plan.shape}")
    apart = _apart(volume, expected)
    fine = apart <= CORNER_TOLERANCE_VOXELS and volume.shape == plan.shape
    return Check("geometry", fine, f"corners lie within {apart:.1g} voxels of where the source puts them")


def _consistency(volume: Volume | None, scan: Scan | None, plan: Plan, record: Mapping[str, Any]) -> Check:
    """A(result) = measured, computed from both files; the figure must be the recorded one."""
    if plan.measurement is None or plan.kind == "nothing":
        same = plan.kind == "nothing"
        if same and volume is not None and scan is not None and volume.shape == scan.volume.shape:
            equal = bool(np.array_equal(_as_stored(scan.volume.array, volume.dtype), volume.array))
            return Check("consistency", equal, f"the output is {'' if equal else 'not '}the input, voxel by voxel")
        why = "not checked" if same else "consistency was off for this result"
        return Check("consistency", None, why)
    if volume is None or scan is None:
        return Check("consistency", None, "not checked without the source")
    fits = volume.shape == plan.shape == plan.measurement.result_shape == plan.band.result_shape
    if not fits or scan.volume.shape != plan.input_shape or plan.measurement.measured_shape != plan.acquired_shape:
        return Check("consistency", False, "the shapes are not those of the plan")
    measured = plan.measured(torch.from_numpy(scan.volume.array))
    error = plan.measurement.certify(torch.from_numpy(volume.array), measured).relative_error
    claimed = _inner(record, "certificate", "after_rounding", "relative_error")
    text = f"relative error {error:.3g} in what was measured"
    if not isinstance(claimed, int | float):
        return Check("consistency", False, f"{text}, and the record states none")
    fine = math.isclose(error, claimed, rel_tol=1e-2, abs_tol=REPEAT)
    if volume.dtype.kind == "f" and not error <= FLOAT_BOUND:
        return Check("consistency", False, f"{text}, allowed {FLOAT_BOUND:g}")
    return Check("consistency", fine, text if fine else f"{text}, recorded {claimed:.3g}")


def _inner(record: Mapping[str, Any], *keys: str) -> Any:
    """A value of nested mappings, or None where a key is missing."""
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _as_stored(array: NDArray[np.float32], dtype: np.dtype) -> NDArray[np.float32]:
    return np.rint(array) if dtype.kind in "iu" else array


def _is_picture(volume: Volume) -> bool:
    return volume.path is not None and is_picture_name(volume.path)


def _pixels_off(volume: Volume, expected: NDArray[np.float64]) -> str:
    """How a picture's pixel size differs from that of an affine; empty where it is the same, as a PNG can say it."""
    wanted = voxel_spacing(expected)
    if pixel_size_kept(volume.spacing, wanted):
        return ""
    sizes = [" x ".join(f"{edge:.4g}" for edge in spacing[1:]) for spacing in (volume.spacing, wanted)]
    return f"pixels of {sizes[0]} mm, not {sizes[1]} mm"


def _corners_off(volume: Volume, expected: NDArray[np.float64]) -> str:
    apart = _apart(volume, expected)
    return "" if apart <= CORNER_TOLERANCE_VOXELS else f"affine off by {apart:.2g} voxels"


def _apart(volume: Volume, expected: NDArray[np.float64]) -> float:
    """Largest distance between corners, in voxels; the axes alone count where the file states no position."""
    if not volume.placed:
        expected = expected.copy()
        expected[:3, 3] = volume.affine[:3, 3]
    return corners_apart(volume.affine, expected, volume.shape)
