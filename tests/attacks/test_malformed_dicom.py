"""Damaged DICOM files: a sound volume, or an error of the project's own. Nothing else, whatever the bytes.

Decoders of compressed pixels are among what is attacked; the ones in other languages can crash, so GDCM runs apart.
"""

from __future__ import annotations

import io
import resource
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.dicom import find_series, read_series

MUTANTS = 2000
MEMORY = 400 << 20  # bytes that reading a file of 6 kB may add to the peak; the largest image allowed takes 130 MiB
SECRET = "Quuxington^Zebediah"
NUMBERS = (b"nan", b"-inf", b"1e999", b"0", b"-1", b"1e-300", b"\\", b"9" * 12, b"abc", b" ")


def _image(rows: int = 6, columns: int = 7) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.MRImageStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.3.1", "1.2.3.2", 3
    ds.PatientName, ds.PatientID, ds.Modality, ds.InstanceNumber = SECRET, SECRET, "MR", 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ScanningSequence, ds.MRAcquisitionType, ds.RepetitionTime, ds.EchoTime = "GR", "3D", "8", "3"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -20, 30], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = ["1.5", "1.25"], "2", "2"
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-3"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.random.default_rng(1).integers(0, 4096, rows * columns).astype("<u2").tobytes()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return ds


def _enhanced() -> pydicom.Dataset:
    ds = _image()
    ds.SOPClassUID = pydicom.uid.EnhancedMRImageStorage
    shared, frames = pydicom.Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = ds.PixelSpacing
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = ds.ImageOrientationPatient
    for k in range(3):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10, -20, 30 + 2 * k]
        frames.append(frame)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames = 3
    ds.PixelData = ds.PixelData * 3
    return ds


def _bytes(ds: pydicom.Dataset) -> bytes:
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, enforce_file_format=True)
    return content.getvalue()


def _in_syntax(name: str) -> bytes:
    ds = _image(40, 48) if "JPEG" in name or "RLE" in name else _image()
    syntax = getattr(pydicom.uid, name)
    if syntax.is_compressed and not syntax.is_deflated:
        ds.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    return _bytes(ds)


SYNTAXES = (
    "ExplicitVRLittleEndian",
    "ImplicitVRLittleEndian",
    "ExplicitVRBigEndian",
    "DeflatedExplicitVRLittleEndian",
    "RLELossless",
    "JPEGLSLossless",
    "JPEG2000Lossless",
)


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    return [*map(_in_syntax, SYNTAXES), _bytes(_enhanced())]


def _mutate(seed: int, originals: list[bytes]) -> bytes:
    """One damaged file: bytes, pixels, truncation, lengths, swapped pieces, lost pieces, or numbers that are none."""
    rng = np.random.default_rng(seed)
    data = bytearray(originals[seed % len(originals)])
    way = rng.integers(7)
    pixels = data.rfind(b"\xe0\x7f\x10\x00")
    if way == 0:
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(len(data))] = rng.integers(256)
    elif way == 1:
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(max(pixels, 132), len(data))] = rng.integers(256)
    elif way == 2:
        del data[int(rng.integers(len(data))) :]
    elif way == 3:  # most often where an explicit file has its lengths and sizes
        place = int(rng.integers(132, len(data) - 4))
        struct.pack_into("<H", data, place, int(rng.choice([0, 1, 3, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF])))
    elif way == 4:
        first, second = sorted(int(v) for v in rng.integers(132, len(data), 2))
        size = int(rng.integers(1, 64))
        piece = bytes(data[first : first + size])
        data[first : first + size] = data[second : second + size]
        data[second : second + size] = piece
    elif way == 5:
        place = int(rng.integers(132, len(data)))
        del data[place : place + int(rng.integers(1, 64))]
    else:
        digits = [i for i in range(132, len(data)) if chr(data[i]).isdigit()]
        place, text = int(rng.choice(digits)), NUMBERS[rng.integers(len(NUMBERS))]
        data[place : place + len(text)] = text
    return bytes(data)


def test_mutants_are_read_soundly_or_refused_by_name(tmp_path: Path, originals: list[bytes]) -> None:
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "mutant.dcm"
    for seed in range(MUTANTS):
        path.write_bytes(_mutate(seed, originals))
        try:
            all_series = [read_series(found) for found in find_series(path)]
        except MdcsrnError as error:
            refused += 1
            assert "mutant.dcm" in str(error), seed
            assert "Quux" not in str(error), seed
            assert "Zebe" not in str(error), seed
            continue
        for series in all_series:
            assert np.isfinite(series.volume.array).all(), seed
            assert np.isfinite(series.volume.affine).all(), seed
            assert np.linalg.matrix_rank(series.volume.affine) == 4, seed
            assert "Quux" not in f"{series.description} {series.warnings} {series.facts}", seed
    # The seeds are fixed: most damage matters, and some (a voxel, a name) does not.
    assert 0.3 * MUTANTS < refused < 0.95 * MUTANTS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_the_originals_are_sound(tmp_path: Path, originals: list[bytes]) -> None:
    for content in originals:
        (tmp_path / "good.dcm").write_bytes(content)
        (found,) = find_series(tmp_path / "good.dcm")
        assert np.ptp(read_series(found).volume.array) > 1000


def _read_all(path: Path) -> None:
    for found in find_series(path):
        read_series(found)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.99])
def test_every_truncation_is_refused(tmp_path: Path, originals: list[bytes], share: float) -> None:
    for k, whole in enumerate(originals):
        path = tmp_path / f"short{k}.dcm"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=f"short{k}"):
            _read_all(path)


def test_absurd_sizes_are_refused_without_allocating(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k, (rows, columns, frames) in enumerate([(65535, 65535, 1), (4096, 4096, 1), (6, 7, 2**31 - 1)]):
        ds = _enhanced() if frames > 1 else _image()
        ds.Rows, ds.Columns = rows, columns
        if frames > 1:
            ds.NumberOfFrames = frames
        (tmp_path / f"huge{k}").write_bytes(_bytes(ds))
        with pytest.raises(DataError, match=f"huge{k}"):
            read_series(find_series(tmp_path / f"huge{k}")[0])
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_damaged_jpeg_cannot_crash_the_program(tmp_path: Path) -> None:
    """GDCM is killed by some of these (a segmentation fault); its process dies alone."""
    values = np.random.default_rng(0).integers(0, 4096, (6, 7)).astype(np.uint16)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "jpeg.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(values))
    encoded = pydicom.dcmread(tmp_path / "jpeg.dcm")
    ds = _image()
    ds.PixelData, ds.file_meta = encoded.PixelData, encoded.file_meta
    ds["PixelData"].is_undefined_length = True
    whole = _bytes(ds)
    (tmp_path / "whole.dcm").write_bytes(whole)
    read = read_series(find_series(tmp_path / "whole.dcm")[0]).volume.array
    np.testing.assert_array_equal(read[:, :, 0], (values * 0.5 - 3).T)
    start = whole.rfind(b"\xff\xd8\xff")
    refused = 0
    for seed in range(10):
        data = bytearray(whole)
        rng = np.random.default_rng(seed)
        for _ in range(3):
            data[rng.integers(start, len(data) - 8)] = rng.integers(256)
        if seed == 0:  # a precision of 160 bits
            data[:] = whole
            data[whole.find(b"\xff\xc3", start) + 4] = 160
        (tmp_path / "mutant.dcm").write_bytes(bytes(data))
        try:
            volume = read_series(find_series(tmp_path / "mutant.dcm")[0]).volume
        except MdcsrnError as error:
            assert "mutant.dcm" in str(error)
            refused += 1
        else:
            assert volume.shape == (7, 6, 1)
    assert refused >= 2
