"""Decode compressed images through GDCM (in SimpleITK), in a process that may crash without harm."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate

if TYPE_CHECKING:
    from pydicom import Dataset

PATIENCE = 60.0  # seconds for one image


class Gdcm:
    """The process; it starts with the first image and ends with the ``with`` block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gdcm:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def decode(self, dataset: Dataset, stream: bytes) -> NDArray[Any] | None:
        """Decode one compressed frame.

        Args:
            dataset: says rows, columns, bits and transfer syntax.
            stream: the frame.

        Returns:
            Stored values, shape (rows, columns), or None where GDCM refused, crashed or took too long.
        """
        content = _alone(dataset, stream)
        process = self._process if self._process is not None and self._process.poll() is None else self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            process.stdin.write(struct.pack("<Q", len(content)) + content)
            process.stdin.flush()
            head = process.stdout.read(8)
            answer = process.stdout.read(struct.unpack("<Q", head)[0]) if len(head) == 8 else b""
        except BrokenPipeError:
            answer = b""
        finally:
            watchdog.cancel()
        if not answer:
            return None
        array: NDArray[Any] = np.load(io.BytesIO(answer), allow_pickle=False)
        return array[0] if array.ndim == 3 else array

    def _start(self) -> subprocess.Popen[bytes]:
        self._stop()
        script = Path(__file__).with_name("gdcm_child.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._process

    def _stop(self) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass  # what was not sent is not needed
        self._process.kill()
        self._process.wait()
        self._process = None


def _alone(dataset: Dataset, stream: bytes) -> bytes:
    """A DICOM file that holds one frame's pixels and nothing else."""
    single = pydicom.Dataset()
    single.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    single.SOPInstanceUID = pydicom.uid.generate_uid()
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if keyword in dataset:
            setattr(single, keyword, dataset[keyword].value)
    single.SamplesPerPixel, single.PhotometricInterpretation = 1, "MONOCHROME2"
    single.PixelData = encapsulate([stream])
    single["PixelData"].VR = "OB"
    single.file_meta = pydicom.dataset.FileMetaDataset()
    single.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    content = io.BytesIO()
    pydicom.dcmwrite(content, single, enforce_file_format=True)
    return content.getvalue()
