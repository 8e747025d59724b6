"""Decode the stored pixel values of one image, whatever the compression.

Plain and run-length data are decoded by pydicom, JPEG 2000 and JPEG-LS by OpenJPEG and CharLS where their small
packages are installed; everything else, the JPEG family above all, goes to GDCM in SimpleITK.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.dicom.gdcm import Gdcm
from mdcsrn.io.dicom.header import FrameTags, damaged
from mdcsrn.io.dicom.padding import padded
from mdcsrn.io.dicom.series import Frame
from mdcsrn.optional import install_command

if TYPE_CHECKING:
    from pydicom import Dataset

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
RUN_LENGTH = "1.2.840.10008.1.2.5"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
HIGH_THROUGHPUT = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
# Decoders of pydicom in the order of preference; None stands for GDCM in SimpleITK.
PLUGINS: dict[str, tuple[str | None, ...]] = {RUN_LENGTH: ("pydicom",)}  # pylibjpeg-rle panics on damaged data
PLUGINS |= dict.fromkeys(JPEG_LS, ("pyjpegls", None))
PLUGINS |= dict.fromkeys(JPEG_2000, ("pylibjpeg", None))
PLUGINS |= dict.fromkeys(HIGH_THROUGHPUT, ("pylibjpeg",))
PLUGINS |= dict.fromkeys(JPEG, (None,))
ALL_BITS: Any = {"correct_unused_bits": False}  # padding may lie outside the stored ones


def check_pixels(dataset: Dataset, frame: Frame) -> None:
    """Refuse what is no plain greyscale image.

    Raises:
        DataError: colour, a look-up table, a bit depth that makes no sense, or an unsupported transfer syntax.
    """
    tags = FrameTags(dataset, -1, frame.file)
    samples, kind = tags.number("SamplesPerPixel"), tags.text("PhotometricInterpretation")
    if (samples or 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(
            f"{frame.file} is no greyscale image",
            got=f"{samples or 1:g} samples, {kind[:16] if kind.isalnum() else 'other'}",
            allowed="MONOCHROME1 or MONOCHROME2",
            remedy="give the original images, not a colour map or a screenshot",
        )
    allocated, stored = tags.number("BitsAllocated"), tags.number("BitsStored")
    sign, high = tags.number("PixelRepresentation"), tags.number("HighBit")
    sound = allocated in (8, 16, 32) and stored is not None and 1 <= stored <= allocated and sign in (0, 1)
    if not sound or high not in (None, (stored or 0) - 1):
        raise DataError(
            f"{frame.file} has an impossible pixel type",
            got=f"{_say(stored)} of {_say(allocated)} bits up to bit {_say(high)}, representation {_say(sign)}",
            allowed="integers of 8, 16 or 32 bits, HighBit one below BitsStored",
            remedy="copy or export it again",
        )
    if tags.get("ModalityLUTSequence") is not None:
        raise DataError(f"{frame.file} has a modality look-up table", allowed="RescaleSlope and RescaleIntercept")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in PLAIN and syntax not in PLUGINS:
        name = pydicom.uid.UID_dictionary.get(syntax, ("unknown",))[0]
        raise DataError(
            f"{frame.file} has an unsupported transfer syntax",
            got=name,
            allowed="uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000",
            remedy="convert it, for example with gdcmconv --raw",
        )


def _say(number: float | None) -> str:
    return "unknown" if number is None else f"{number:g}"


def decode(dataset: Dataset, frame: Frame, gdcm: Gdcm) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Stored values of one frame, and which of them are padding.

    Args:
        dataset: of the frame's file, with pixels; :func:`check_pixels` passed.
        frame: which one.
        gdcm: decodes what nothing else does.

    Returns:
        Integers, shape (rows, columns), not rescaled; True where PixelPaddingValue stands, None where it does not.

    Raises:
        DataError: the pixels are missing, truncated or damaged, or of another size than the header says.
    """
    try:
        if dataset.get("PixelData") is None:
            raise damaged(frame.file, "no PixelData: truncated, or never there")
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        if syntax in PLAIN:
            whole, _ = get_decoder(syntax).as_array(dataset, index=frame.index, raw=True, **ALL_BITS)
        else:
            whole = _compressed(dataset, frame, syntax, gdcm)
        stored = int(dataset.BitsStored)
        array = _used_bits(whole, stored) if syntax in (*PLAIN, RUN_LENGTH) else whole
        mask = padded(whole, array, frame.padding, stored)
    except MdcsrnError:
        raise
    except Exception as error:  # decoders raise whatever the bytes provoke
        raise damaged(frame.file, f"its pixels cannot be decoded ({type(error).__name__})") from error
    if array.shape != frame.shape:
        raise damaged(frame.file, f"pixels of {array.shape}, header of {frame.shape}")
    return array, mask


def _used_bits(whole: NDArray[Any], stored: int) -> NDArray[Any]:
    """Pixels without what overlays leave in their unused bits, and with their sign extended."""
    unused = 8 * whole.dtype.itemsize - stored
    return whole if unused <= 0 else (whole << unused) >> unused


def _compressed(dataset: Dataset, frame: Frame, syntax: str, gdcm: Gdcm) -> NDArray[Any]:
    count = int(dataset.get("NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, frame.index, number_of_frames=count)
    if syntax != RUN_LENGTH:
        size = _codestream_size(stream)
        if size != frame.shape:  # before a decoder allocates what the stream asks for
            raise damaged(frame.file, f"compressed image of {size}, header of {frame.shape}")
    decoder = get_decoder(syntax)
    for plugin in PLUGINS[syntax]:
        if plugin is None:
            array = gdcm.decode(dataset, stream)
            if array is None:
                raise damaged(frame.file, "its pixels cannot be decoded (GDCM)")
            return array
        if decoder.is_available and plugin in decoder.available_plugins:
            options = ALL_BITS if syntax == RUN_LENGTH else {}
            return decoder.as_array(dataset, index=frame.index, raw=True, decoding_plugin=plugin, **options)[0]
    raise DataError(
        f"{frame.file} is compressed in a way that needs another package",
        got=pydicom.uid.UID_dictionary[syntax][0],
        remedy=f"{install_command('dicom')}, or convert it with gdcmconv --raw",
    )


def _codestream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream declares, None where it declares none."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start >= 0 and not stream.startswith(b"\xff\xd8"):
        x1, y1, x0, y0 = struct.unpack_from(">4I", stream, start + 8)
        return y1 - y0, x1 - x0
    place = 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], struct.unpack_from(">H", stream, place + 2)[0]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">2H", stream, place + 5)
            return rows, columns
        place += 1 if marker == 0xFF else 2 + length
    return None
