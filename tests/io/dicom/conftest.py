"""Small DICOM series, made with pydicom alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mdcsrn.io.dicom import DicomSeries, find_series, read_series, write_series
from mdcsrn.io.volume import Volume

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
SHAPE = (6, 7, 5)  # rows, columns, slices
PATIENT = ("Quuxington^Zebediah", "PID-48151623", "19010203")


def _common(uid: str) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = PATIENT
    ds.PatientSex = "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uid + ".1", uid + ".2", uid + ".3"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20010101", "120000", "ACC-777"
    ds.ReferringPhysicianName, ds.StudyID, ds.PositionReferenceIndicator = "Doctor^Who", "S1", ""
    ds.Modality, ds.Manufacturer, ds.SeriesNumber = "MR", "Nobody", 3
    ds.SeriesDescription = "Scan of Quuxington"
    ds.PatientPosition = "HFS"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = SHAPE[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return ds


def _stored(seed: int) -> np.ndarray:
    """Stored values, shape (slices, rows, columns)."""
    rows, columns, slices = SHAPE
    return np.random.default_rng(seed).integers(0, 4096, (slices, rows, columns)).astype(np.uint16)


@pytest.fixture
def stored() -> np.ndarray:
    """What :func:`make_slices` stores: shape (slices, rows, columns)."""
    return _stored(1)


@pytest.fixture
def make_slices() -> Callable[..., list[pydicom.Dataset]]:
    """Single-frame images: pixel spacing 1.5 (rows) x 1.25 (columns), slices 2 mm apart."""

    def make(
        uid: str = "1.2.3",
        seed: int = 1,
        row: tuple[float, ...] = (1, 0, 0),
        column: tuple[float, ...] = (0, 1, 0),
        step: tuple[float, ...] | None = None,
        origin: tuple[float, ...] = (-10.0, -20.0, 30.0),
    ) -> list[pydicom.Dataset]:
        move = 2 * np.cross(row, column) if step is None else np.array(step)
        slices = []
        for k, plane in enumerate(_stored(seed)):
            ds = _common(uid)
            ds.SOPClassUID, ds.SOPInstanceUID = MR, f"{uid}.4.{seed}.{k + 1}"
            ds.InstanceNumber = k + 1
            ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
            ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
            ds.MRAcquisitionType, ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "3D", "8", "3", "12"
            ds.EchoTrainLength = 1
            ds.ImageOrientationPatient = [pydicom.valuerep.format_number_as_ds(float(v)) for v in (*row, *column)]
            place = np.array(origin) + k * move
            ds.ImagePositionPatient = [pydicom.valuerep.format_number_as_ds(float(v)) for v in place]
            ds.PixelSpacing, ds.SliceThickness = ["1.5", "1.25"], "2"
            ds.PixelData = plane.tobytes()
            slices.append(ds)
        return slices

    return make


@pytest.fixture
def make_enhanced() -> Callable[..., pydicom.Dataset]:
    """One enhanced image; frame 0 is the lowest slice. `edit` sees the functional groups of each frame."""

    def make(edit: Callable[[int, pydicom.Dataset], None] | None = None, times: int = 1) -> pydicom.Dataset:
        ds = _common("1.2.9")
        ds.SOPClassUID, ds.SOPInstanceUID = ENHANCED, "1.2.9.4"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        shared = pydicom.Dataset()
        shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
        shared.PixelMeasuresSequence = [_item(PixelSpacing=[1.5, 1.25], SliceThickness=2)]
        ds.SharedFunctionalGroupsSequence = [shared]
        frames = []
        for k in range(SHAPE[2] * times):
            frame = pydicom.Dataset()
            frame.PlanePositionSequence = [_item(ImagePositionPatient=[-10, -20, 30 + 2 * (k % SHAPE[2])])]
            frame.FrameContentSequence = [
                _item(StackID="1", InStackPositionNumber=k % SHAPE[2] + 1, TemporalPositionIndex=k // SHAPE[2] + 1)
            ]
            frame.PixelValueTransformationSequence = [_item(RescaleSlope=0.5 + k, RescaleIntercept=-k)]
            if edit:
                edit(k, frame)
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = frames
        ds.NumberOfFrames = len(frames)
        ds.PixelData = b"".join(_stored(1 + t).tobytes() for t in range(times))
        return ds

    return make


def _item(**values: object) -> pydicom.Dataset:
    item = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.fixture
def save() -> Callable[..., Path]:
    """Write datasets to a folder, made where it is missing; the names say nothing of the order."""

    def write(datasets: list[pydicom.Dataset], folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for k, ds in enumerate(datasets):
            pydicom.dcmwrite(folder / f"im{(k * 7) % 31:02d}_{k}", ds, enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def mandatory() -> list[tuple[str, str]]:
    """(keyword, type) that the standard requires of an MR image, from the tables that highdicom ships."""
    highdicom = pytest.importorskip("highdicom", reason="its tables of the DICOM standard are the reference")
    folder = Path(highdicom.__file__).parent / "_standard"
    if not folder.is_dir():
        pytest.skip("this highdicom keeps its tables elsewhere")
    modules = json.loads((folder / "iod_module_map.json").read_text())["mr-image"]
    attributes = json.loads((folder / "module_attribute_map.json").read_text())
    return [
        (a["keyword"], a["type"])
        for m in modules
        if m["usage"] == "M"
        for a in attributes[m["key"]]
        if a["type"] in ("1", "2") and not a["path"]
    ]


@pytest.fixture
def finer() -> Callable[..., Volume]:
    """``finer(series, shape)``: a finer grid on the same field of view, as the network's output is."""

    def make(source: DicomSeries, shape: tuple[int, int, int] = (14, 12, 8)) -> Volume:
        affine = source.volume.affine.copy()
        affine[:3, :3] *= np.array(source.volume.shape) / shape
        values = np.random.default_rng(0).normal(100, 300, shape).astype(np.float32)  # negative ones too
        return Volume(values, affine)

    return make


@pytest.fixture
def derive(finer: Callable[..., Volume]) -> Callable[[Path, Path], list[Path]]:
    """``derive(folder, output)``: files of a series that is derived from the one in a folder."""

    def make(folder: Path, output: Path) -> list[Path]:
        (found,) = find_series(folder)
        source = read_series(found)
        return write_series(finer(source), source, output, "made for a test")

    return make
