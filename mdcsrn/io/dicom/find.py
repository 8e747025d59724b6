"""Find the MR series in a path: files to images, images to stacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.dicom.frames import ENHANCED, SINGLE, frames_of
from mdcsrn.io.dicom.header import damaged as no_dicom
from mdcsrn.io.dicom.header import get, identity_of, parse, quiet
from mdcsrn.io.dicom.series import DicomFile, Frame, SeriesFiles, SeriesIdentity
from mdcsrn.io.dicom.source import list_files, read_bytes
from mdcsrn.io.dicom.stack import MIN_SLICES, OTHER_ORIENTATION, SAME_PLACE, arrange


class _Group:
    """Images that share a SeriesInstanceUID."""

    def __init__(self, identity: SeriesIdentity) -> None:
        self.identity = identity
        self.number = identity.number
        self.frames: list[Frame] = []
        self.files: list[DicomFile] = []
        self.error: MdcsrnError | None = None


DIRECTORY = "Media Storage Directory Storage"  # of a DICOMDIR


def find(path: Path) -> list[SeriesFiles]:
    """See :func:`mdcsrn.io.dicom.find_series`."""
    groups: dict[tuple[str, str], _Group] = {}
    left_out: Counter[str] = Counter()
    damaged: dict[str, list[MdcsrnError]] = {}
    with quiet():
        for file, content in read_bytes(list_files(path)):
            try:
                if isinstance(content, MdcsrnError):
                    raise content
                _add(file, content, groups, left_out)
            except MdcsrnError as error:
                damaged.setdefault(file.folder, []).append(error)
    if not groups:
        raise _nothing(path, left_out, [error for errors in damaged.values() for error in errors])
    found = []
    ordered = sorted(groups.values(), key=lambda g: (g.files[0].folder, g.number is None, g.number or 0, g.files[0]))
    names: Counter[str] = Counter()
    for group in ordered:
        errors = [error for folder in {f.folder for f in group.files} for error in damaged.get(folder, [])]
        warnings = tuple(f"left out: {error.what} ({error.got})" for error in errors[:5])
        name = "series" if group.number is None else f"series{group.number:03d}"
        folder = _relative(group.files[0], path)
        names[f"{folder}/{name}"] += 1
        if names[f"{folder}/{name}"] > 1:  # another series of the same number
            name += f"_{names[f'{folder}/{name}']}"
        parts = [group.frames] if group.error else split(group.frames)
        for k, part in enumerate(parts, 1):
            suffix = f"_part{k}" if len(parts) > 1 else ""
            frames = tuple(part) if not group.error else ()
            found.append(SeriesFiles(name + suffix, folder, path, frames, warnings, group.error, group.identity))
    return found


def _add(file: DicomFile, content: bytes, groups: dict[tuple[str, str], _Group], left_out: Counter[str]) -> None:
    dataset = parse(content, file, pixels=False)
    sop_class = str(get(dataset, "SOPClassUID", file) or "")
    if not sop_class:
        sop_class = str(get(dataset.file_meta, "MediaStorageSOPClassUID", file) or "")
        if sop_class in (SINGLE, *ENHANCED, ""):  # others, such as DICOMDIR, may do without
            raise no_dicom(file, "no SOPClassUID")
    if sop_class != SINGLE and sop_class not in ENHANCED:
        known = pydicom.uid.UID_dictionary.get(sop_class)
        left_out[known[0] if known else "unknown kind"] += 1
        return
    uid = str(get(dataset, "SeriesInstanceUID", file) or "")
    if not uid:
        raise no_dicom(file, "no SeriesInstanceUID")
    # Anonymisers may give one UID to the series of every patient: such images lie in different studies.
    key = uid, str(get(dataset, "StudyInstanceUID", file) or "")
    if key not in groups:
        groups[key] = _Group(identity_of(dataset, file))
    group = groups[key]
    group.files.append(file)
    try:
        group.frames += frames_of(dataset, file)
    except MdcsrnError as error:
        group.error = group.error or error


def split(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Part the images of one series into stacks, where that explains them.

    The first set of marks (size, kind, image type, echo, time point, ..., orientation) whose parts are all regular
    stacks of three or more images is taken; else the set of all of them, where at least one part is regular and none is
    smaller. Otherwise, and where the slices of one part lie between those of another, the series stays whole, and
    reading it says why it cannot be a volume.

    Args:
        frames: of one SeriesInstanceUID.

    Returns:
        The parts, in the order of their first InstanceNumber.
    """
    if _is_clean(frames):
        return [list(frames)]
    keys: list[list[str]] = [[] for _ in frames]
    directions: list[tuple[float, ...]] = []
    columns = [[str(f.shape) for f in frames]]
    columns += [[dict(f.marks)[name] for f in frames] for name, _ in frames[0].marks]
    columns.insert(-2, [_direction(f, directions) for f in frames])  # acquisition number and time come last
    parts: dict[tuple[str, ...], list[Frame]] = {}
    for column in columns:
        if len(set(column)) == 1:
            continue
        for key, value in zip(keys, column, strict=True):
            key.append(value)
        trial: dict[tuple[str, ...], list[Frame]] = {}
        for key, frame in zip(keys, frames, strict=True):
            trial.setdefault(tuple(key), []).append(frame)
        if min(map(len, trial.values())) < MIN_SLICES:  # too fine: this mark differs from slice to slice
            for key in keys:
                key.pop()
            continue
        parts = trial
        if all(map(_is_clean, parts.values())):
            break
    if not parts or not any(map(_is_clean, parts.values())) or _is_interleaved(list(parts.values())):
        return [list(frames)]
    return sorted(parts.values(), key=lambda part: min((f.instance, str(f.file)) for f in part))


def _is_clean(frames: Sequence[Frame]) -> bool:
    try:
        stack = arrange(frames, "")
    except MdcsrnError:
        return False
    return all(len(level) == 1 for level in stack.levels)


def _is_interleaved(parts: Sequence[Sequence[Frame]]) -> bool:
    """True where slices of one part fill the gaps of another: together they are one stack, which has some fault."""
    for k, part in enumerate(parts):
        for other in parts[:k]:
            normal, across = (np.cross(p[0].orientation[:3], p[0].orientation[3:]) for p in (part, other))
            # Planes count, not their rows: images that are turned or mirrored within their plane fill a gap as well.
            if part[0].shape != other[0].shape or np.linalg.norm(np.cross(normal, across)) > OTHER_ORIENTATION:
                continue
            ours, theirs = (np.unique(np.array([f.position for f in p]) @ normal) for p in (part, other))
            between = theirs[(theirs > ours[0] + SAME_PLACE) & (theirs < ours[-1] - SAME_PLACE)]
            if len(between) and np.median(np.abs(between[:, None] - ours).min(axis=1)) > np.diff(ours).min() / 4:
                return True
    return False


def _direction(frame: Frame, seen: list[tuple[float, ...]]) -> str:
    """Number of the first orientation met that this one is meant to equal: what jitters is not split."""
    for k, other in enumerate(seen):
        if max(abs(a - b) for a, b in zip(frame.orientation, other, strict=True)) <= OTHER_ORIENTATION:
            return str(k)
    seen.append(frame.orientation)
    return str(len(seen) - 1)


def _relative(file: DicomFile, path: Path) -> str:
    """Folder of a file below the searched path, with "/"."""
    if file.member is not None:
        folder = Path(file.member.replace("\\", "/")).parent.as_posix()
    elif file.path == path:
        return ""
    else:
        folder = file.path.parent.relative_to(path).as_posix()
    return "" if folder == "." else folder


def _nothing(path: Path, left_out: Counter[str], errors: list[MdcsrnError]) -> DataError:
    if errors and not left_out:
        more = f" ({len(errors) - 1} more files are damaged)" if len(errors) > 1 else ""
        return DataError(errors[0].what + more, got=errors[0].got, allowed=errors[0].allowed, remedy=errors[0].remedy)
    kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(4))
    index = "the folder that this DICOMDIR lies in" if DIRECTORY in left_out and path.is_file() else ""
    return DataError(
        f"{path} holds no MR images",
        got=kinds or "no DICOM file",
        allowed="MR Image Storage, Enhanced MR Image Storage",
        remedy=f"give {index or 'the folder, file or zip archive of an MR series'}",
    )
