"""Read the files of a foreign bundle, folder or zip, without trusting a name, a link or a stated size."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mdcsrn.bundle.finding import Finding
from mdcsrn.errors import DataError
from mdcsrn.ziplayout import layout_problem

MAX_FILES = 2000
MAX_UNPACKED_BYTES = 4 * 2**30  # of all files, unpacked
MAX_PACKING_RATIO = 200  # unpacked over packed, of a file above a megabyte: what deflate gives for zeros is 1000
CONFIGS = (".yaml", ".yml", ".json")
SUFFIXES = {
    *(*CONFIGS, ".conf", ".txt", ".md", ".csv", ".tsv", ".png", ".jpg", ".jpeg", ".gif"),
    *(".pt", ".pth", ".safetensors", ".onnx"),
}
BARE = {"LICENSE", "NOTICE", "README", "CITATION.cff", ".gitignore", ".gitattributes", ".keep", ".gitkeep"}
LEFTOVERS = {"runs", "eval", "__pycache__"}  # what runs leave in a shipped bundle's folder is no part of it
# Suffix -> the rule that refuses it and why.
PROGRAMS = {
    **dict.fromkeys((".py", ".pyc", ".pyo", ".pyw", ".pyi", ".ipynb"), "Python code: an expression could import it"),
    **dict.fromkeys((".so", ".pyd", ".dll", ".dylib"), "a compiled module: an expression could import it"),
    **dict.fromkeys((".sh", ".bat", ".exe", ".cmd", ".ps1"), "a program"),
    **dict.fromkeys((".ts", ".pt2", ".torchscript"), "a compiled network: a program, not tensors"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".npy", ".npz"), "may hold pickled objects"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".egg", ".whl", ".7z", ".bz2", ".xz"), "an archive in the bundle"),
}


@dataclass
class Contents:
    """What :func:`open_contents` found.

    Attributes:
        files: relative name with ``/`` -> size in bytes; those that were refused are not among them.
        findings: what is wrong with names, kinds and sizes.
    """

    source: Path
    files: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    prefix: str = ""  # of the names in the zip: a bundle may be the one folder of it

    def read(self, name: str, most: int | None = None) -> bytes:
        """Content of one of `files`, of at most `most` bytes (the size that a zip states is not believed).

        Raises:
            DataError: it is larger, damaged, or cannot be read.
        """
        limit = self.files[name] if most is None else most
        try:
            if self.source.is_dir():
                with open(self.source / name, "rb") as stream:
                    content = stream.read(limit + 1)
            else:
                with zipfile.ZipFile(self.source) as archive, archive.open(self.prefix + name) as packed:
                    content = packed.read(limit + 1)
        except Exception as error:  # zipfile and zlib raise many kinds
            raise DataError(f"cannot read {name} of {self.source}", got=str(error)) from error
        if len(content) > limit:
            raise DataError(f"{name} of {self.source} is too large", allowed=f"{limit} bytes")
        return content


def open_contents(source: str | os.PathLike[str], leave_out: frozenset[str] = frozenset()) -> Contents:
    """List a bundle's files and judge their names, kinds and sizes; nothing is unpacked.

    Args:
        source: folder, or zip file whose top or only folder is the bundle.
        leave_out: folders at the top that do not count.

    Raises:
        DataError: neither a folder nor a zip file.
    """
    found = Contents(Path(source))
    if found.source.is_dir():
        entries = _of_folder(found, leave_out)
    elif zipfile.is_zipfile(found.source):
        entries = _of_zip(found)
    else:
        raise DataError(f"{source} is no bundle", allowed="a folder, or a zip file of one")
    total = 0
    seen: set[str] = set()
    for name, size in entries:
        problem = name_problem(name)
        total += size
        if problem is not None:
            found.findings.append(Finding(problem[0], name, problem[1]))
        elif name.casefold() in seen:
            found.findings.append(Finding("duplicate", name, "the name of another file, but for case at most"))
        elif len(seen) >= MAX_FILES or total > MAX_UNPACKED_BYTES:
            found.findings.append(
                Finding("bomb", name, f"more than {MAX_FILES} files or {MAX_UNPACKED_BYTES // 2**30} GiB")
            )
            break
        else:
            found.files[name] = size
        seen.add(name.casefold())
    if found.source.is_file() and not any(finding.rule == "bomb" for finding in found.findings):
        with open(found.source, "rb") as stream:
            layout = layout_problem(stream)  # it unpacks, to the stated sizes
        found.findings += [] if layout is None else [Finding("archive", found.source.name, layout)]
    return found


def _of_folder(found: Contents, leave_out: frozenset[str]) -> Iterator[tuple[str, int]]:
    for root, folders, names in os.walk(found.source):
        inside = Path(root).relative_to(found.source)
        if root == str(found.source):
            folders[:] = [name for name in folders if name not in leave_out]
        for name in sorted([*folders, *names]):
            path = (inside / name).as_posix()
            kind = (Path(root) / name).lstat()
            if stat.S_ISLNK(kind.st_mode):
                found.findings.append(Finding("symlink", path, "a link: it may point out of the bundle"))
                if name in folders:
                    folders.remove(name)
            elif stat.S_ISREG(kind.st_mode):
                yield path, kind.st_size
            elif not stat.S_ISDIR(kind.st_mode):
                found.findings.append(Finding("special-file", path, "a device, pipe or socket"))


def _of_zip(found: Contents) -> Iterator[tuple[str, int]]:
    try:
        archive = zipfile.ZipFile(found.source)
    except Exception as error:  # damaged directories fail in many ways
        raise DataError(f"cannot read {found.source}", got=str(error)) from error
    with archive:
        yield from _of_entries(found, archive)


def _of_entries(found: Contents, archive: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    entries = archive.infolist()
    tops = {entry.filename.split("/")[0] for entry in entries}
    if len(tops) == 1 and all("/" in entry.filename for entry in entries):
        (top,) = tops
        if name_problem(f"{top}/LICENSE") is None:
            found.prefix = f"{top}/"
    for entry in entries[: MAX_FILES + 1]:
        name = entry.filename.removeprefix(found.prefix)
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode):
            found.findings.append(Finding("symlink", name, "a link: it may point out of the bundle"))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            found.findings.append(Finding("special-file", name, "a device, pipe or socket"))
        elif entry.file_size > 2**20 and entry.file_size > MAX_PACKING_RATIO * max(entry.compress_size, 1):
            found.findings.append(Finding("bomb", name, f"{entry.file_size} bytes from {entry.compress_size}"))
        elif entry.is_dir():
            problem = name_problem(name.rstrip("/") + "/LICENSE") if name else None
            if problem is not None:
                found.findings.append(Finding(problem[0], name, problem[1]))
        else:
            yield name, entry.file_size


def name_problem(name: str) -> tuple[str, str] | None:
    """Rule and reason why a file of that name may not be in a bundle."""
    path = PurePosixPath(name)
    if name.startswith(("/", "~")) or re.match(r"[A-Za-z]:", name):
        return "absolute-name", "a name that is not relative to the bundle"
    if ".." in path.parts:
        return "zip-slip", "a name that leads out of the bundle"
    if "\\" in name or not name.isprintable() or len(name) > 200 or name != path.as_posix():
        return "name", "a name that systems read in different ways"
    suffix = path.suffix.lower()
    if suffix in PROGRAMS:
        return "program", PROGRAMS[suffix]
    if suffix not in SUFFIXES and path.name not in BARE:
        return "file-kind", "a kind of file that a bundle does not need"
    return None
