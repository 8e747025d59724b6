"""Read fastMRI files (.h5): k-space, reconstructions, and what attributes and the ISMRMRD header say of them.

Layout: J. Zbontar et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", arXiv 1811.08839. h5py is used
here alone; links to other files, external and virtual data are not followed.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, MissingDependencyError
from mdcsrn.io.content import DEFLATE_LIMIT, check_claim, read_start, reading
from mdcsrn.optional import install_command

MAGIC = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5",)
RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc")
NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
HEADER_LIMIT = 1 << 20  # bytes of XML; a real header has some thousand
HDF5 = "HDF5"


@dataclass(frozen=True)
class Grid:
    """Matrix and field of view of one space of the header, as (readout, phase, slice).

    Attributes:
        matrix: samples, each at least 1.
        field: millimetres, each above 0; None where it is not stated.
    """

    matrix: tuple[int, int, int]
    field: tuple[float, float, float] | None


@dataclass(frozen=True)
class FastMRI:
    """What a file holds; no voxel is read for it.

    Attributes:
        path: the file.
        kspace: (slices, coils, H, W), H the readout; a single-coil file has one coil. None: there is none.
        reconstructions: name to (slices, H, W).
        masked: k-space is undersampled: the ``mask`` leaves columns out.
        patient: attribute ``patient_id``, a pseudonym; None: not stated.
        acquisition: attribute ``acquisition``, such as ``CORPD_FBK``; None: not stated.
        encoded: grid of k-space; None without header.
        reconstructed: grid of the reconstruction; None without header.
        columns: first measured column of k-space and the one behind the last; None: all, or not stated.
    """

    path: Path
    kspace: tuple[int, int, int, int] | None
    reconstructions: dict[str, tuple[int, int, int]]
    masked: bool = False
    patient: str | None = None
    acquisition: str | None = None
    encoded: Grid | None = None
    reconstructed: Grid | None = None
    columns: tuple[int, int] | None = None


def read_fastmri(path: Path) -> FastMRI:
    """Describe a file.

    Args:
        path: .h5 file, single coil or multi coil.

    Raises:
        DataError: no such file, no HDF5, truncated, no fastMRI, or a header that cannot be read.
    """
    if not read_start(path).startswith(MAGIC):
        raise DataError(f"{path} is no HDF5 file", allowed="fastMRI, .h5", remedy="copy it again, or leave it out")
    with reading(path, HDF5), _open(path) as file:
        shapes = {name: _dataset(file, name, path).shape for name in RECONSTRUCTIONS if name in file}
        kspace = _kspace_shape(_dataset(file, "kspace", path), path) if "kspace" in file else None
        if kspace is None and not shapes:
            found = ", ".join(sorted(map(str, file))[:6]) or "nothing"
            raise DataError(
                f"{path} is no fastMRI file: it has neither k-space nor a reconstruction", got=found,
                allowed=f"kspace, {', '.join(RECONSTRUCTIONS)}",
            )  # fmt: skip
        for name, shape in shapes.items():
            if len(shape) != 3 or min(shape) < 1:
                raise DataError(f"{path}: {name} is no volume", got=shape, allowed="(slices, H, W)")
        header = _header(file, path)
        return FastMRI(
            path=path,
            kspace=kspace,
            reconstructions=shapes,
            masked="mask" in file and not np.all(_dataset(file, "mask", path)[()]),
            patient=_text(file.attrs.get("patient_id")),
            acquisition=_text(file.attrs.get("acquisition")),
            encoded=_grid(header, "encodedSpace", path),
            reconstructed=_grid(header, "reconSpace", path),
            columns=None if header is None or kspace is None else _columns(header, kspace[-1], path),
        )


def kspace_slices(file: FastMRI) -> Iterator[NDArray[np.complex64]]:
    """K-space slice by slice, shape (coils, H, W), the zero frequency at index n // 2.

    Raises:
        DataError: it cannot be read to its end.
    """
    assert file.kspace is not None
    coils, height, width = file.kspace[1:]
    with reading(file.path, HDF5), _open(file.path) as opened:
        data = _dataset(opened, "kspace", file.path)
        for index in range(file.kspace[0]):
            yield np.asarray(data[index], dtype=np.complex64).reshape(coils, height, width)


def read_reconstruction(file: FastMRI, name: str) -> NDArray[np.float32]:
    """A reconstruction, shape (slices, H, W).

    Args:
        file: from :func:`read_fastmri`.
        name: one of :data:`RECONSTRUCTIONS`.

    Raises:
        DataError: the file has none of that name, or it cannot be read.
    """
    if name not in file.reconstructions:
        raise DataError(
            f"{file.path} has no {name}", got=", ".join(file.reconstructions) or "no reconstruction",
            remedy="take another source with --from",
        )  # fmt: skip
    with reading(file.path, HDF5), _open(file.path) as opened:
        return np.asarray(_dataset(opened, name, file.path)[()], dtype=np.float32)


def _open(path: Path) -> Any:
    try:
        import h5py  # imported late: most runs see no HDF5
    except ImportError as error:
        raise MissingDependencyError("fastMRI files need h5py", remedy=install_command("fastmri")) from error

    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "truncated" in str(error):
            raise DataError(f"{path} is truncated", got=str(error), remedy="copy or download it again") from error
        raise


def _dataset(file: Any, name: str, path: Path) -> Any:
    """A dataset whose values lie in this very file, and fit into it."""
    import h5py

    link, data = file.get(name, getlink=True), None
    if isinstance(link, h5py.HardLink):
        data = file[name]
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{path}: {name} does not lie in this file", remedy="copy the data into one file")
    if data.dtype.kind not in "fciub":
        raise DataError(f"{path}: {name} holds no numbers", got=data.dtype)
    check_claim(math.prod(data.shape) * data.dtype.itemsize, path, DEFLATE_LIMIT if data.compression else 1)
    return data


def _kspace_shape(data: Any, path: Path) -> tuple[int, int, int, int]:
    shape = tuple(map(int, data.shape))
    if data.dtype.kind != "c" or len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(
            f"{path}: kspace is none of fastMRI", got=f"{data.dtype}, shape {shape}",
            allowed="complex, (slices, H, W) or (slices, coils, H, W)",
        )  # fmt: skip
    return shape[0], 1 if len(shape) == 3 else shape[1], shape[-2], shape[-1]


def _text(value: Any) -> str | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text.strip() or None if isinstance(text, str) else None


def _header(file: Any, path: Path) -> ElementTree.Element | None:
    """Root of the ISMRMRD header, or None where the file has none."""
    import h5py

    if not isinstance(file.get("ismrmrd_header", getlink=True), h5py.HardLink):
        return None
    text = np.asarray(file["ismrmrd_header"][()]).ravel().tolist()
    content = text[0].encode() if text and isinstance(text[0], str) else text[0] if text else b""
    if not isinstance(content, bytes) or len(content) > HEADER_LIMIT or b"<!" in content.replace(b"<!--", b""):
        raise _bad_header(path, "no plain XML")  # a document type may hold entities that unpack without end
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise _bad_header(path, str(error)) from error


def _grid(header: ElementTree.Element | None, space: str, path: Path) -> Grid | None:
    if header is None:
        return None
    matrix = _three(header, space, "matrixSize", path)
    field = _three(header, space, "fieldOfView_mm", path)
    if matrix is None:
        return None
    x, y, z = map(int, matrix)
    if min(x, y, z) < 1:
        raise _bad_header(path, f"{space}/matrixSize {x} {y} {z}")
    sound = field is not None and all(math.isfinite(edge) and edge > 0 for edge in field)
    return Grid((x, y, z), field if sound else None)


def _three(header: ElementTree.Element, space: str, name: str, path: Path) -> tuple[float, float, float] | None:
    place = f"{NAMESPACE}encoding/{NAMESPACE}{space}/{NAMESPACE}{name}/{NAMESPACE}"
    texts = [header.findtext(f"{place}{axis}") for axis in "xyz"]
    if any(text is None for text in texts):
        return None
    try:
        x, y, z = (float(text or "") for text in texts)
    except ValueError as error:
        raise _bad_header(path, f"{space}/{name} {texts}") from error
    return x, y, z


def _columns(header: ElementTree.Element, width: int, path: Path) -> tuple[int, int] | None:
    """Measured columns: padding left = encoded y // 2 - center, right = left + maximum + 1."""
    limits = f"{NAMESPACE}encoding/{NAMESPACE}encodingLimits/{NAMESPACE}kspace_encoding_step_1/{NAMESPACE}"
    words = [header.findtext(f"{limits}{name}") for name in ("center", "maximum")]
    grid = _grid(header, "encodedSpace", path)
    if grid is None or any(word is None for word in words):
        return None
    try:
        center, maximum = (int(word or "") for word in words)
    except ValueError as error:
        raise _bad_header(path, f"encodingLimits {words}") from error
    left = grid.matrix[1] // 2 - center
    right = left + maximum + 1
    if not 0 <= left < right <= width:
        raise _bad_header(path, f"measured columns {left} to {right} of {width}")
    return left, right


def _bad_header(path: Path, got: str) -> DataError:
    return DataError(f"{path} has a damaged ismrmrd_header", got=got, remedy="copy or download it again")
