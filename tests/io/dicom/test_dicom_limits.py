"""What a file may cost: memory by its size, time in proportion to it, and bombs are refused before they unpack."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from mdcsrn.errors import DataError
from mdcsrn.io.dicom import find_series, read_series

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]
ITEM = b"\xfe\xff\x00\xe0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"
# In a process that may have little more memory than it has after its imports.
READ = """
import re, resource, sys
from mdcsrn.io.sources import find_cases, load_case
import mdcsrn.io.dicom.find, mdcsrn.io.dicom.read, mdcsrn.io.dicom.pixels
load_case(find_cases(sys.argv[1])[0])  # what is imported or made on first use
size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
limit = size + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
(case,) = find_cases(sys.argv[1])
print(load_case(case).volume.shape)
"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_small_series_needs_little_memory(tmp_path: Path, make_slices: Make, save: Save, packed: bool) -> None:
    place = save(make_slices(), tmp_path / "scan")
    if packed:
        place = _zip({file.name: file.read_bytes() for file in place.iterdir()}, tmp_path / "scan.zip")
    done = subprocess.run([sys.executable, "-c", READ, place, "32"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(7, 6, 5)", done.stderr


def test_compressed_images_too(tmp_path: Path, shared_data: Path) -> None:
    """GDCM's own process respects a limit that is lower than its own."""
    with zipfile.ZipFile(shared_data / "dicom" / "dicom2nifti_fixtures_multivendor.zip") as archive:
        for name in archive.namelist():
            if "compressed_jpeg/" in name and name.endswith(".dcm"):
                (tmp_path / Path(name).name).write_bytes(archive.read(name))
    code = READ.replace("limit = size +", "limit = size + (5 << 30) +")
    done = subprocess.run([sys.executable, "-c", code, tmp_path, "0"], capture_output=True, text=True, check=False)
    assert re.fullmatch(r"\(\d+, \d+, \d+\)", done.stdout.strip()), done.stderr


def _with_sequence(ds: pydicom.Dataset, sequence: bytes) -> bytes:
    """A file with a ReferencedImageSequence of these bytes, undefined in length."""
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, enforce_file_format=True)
    whole = content.getvalue()
    place = whole.index(struct.pack("<HH", 0x0010, 0x0010))  # PatientName comes after it
    head = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + UNDEFINED
    return whole[:place] + head + sequence + END + whole[place:]


@pytest.mark.parametrize("mebibytes", [1, 4])
def test_a_file_of_nothing_but_items_is_refused_at_once(tmp_path: Path, make_slices: Make, mebibytes: int) -> None:
    count = mebibytes << 17
    (tmp_path / "long").write_bytes(_with_sequence(make_slices()[0], (ITEM + bytes(4)) * count))
    start = time.process_time()
    with pytest.raises(DataError, match="long has too many items of sequences"):
        find_series(tmp_path / "long")
    assert time.process_time() - start < 0.25 * mebibytes  # pydicom alone: 2 to 8 s each


def test_as_many_items_as_are_allowed_cost_little(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    element = struct.pack("<HH", 0x0008, 0x1155) + b"UI" + struct.pack("<H", 54) + b"1.2".ljust(54, b"\0")
    item = ITEM + struct.pack("<I", len(element)) + element
    count = (1 << 20) // len(item)
    (tmp_path / "legal").write_bytes(_with_sequence(slices[0], item * count))
    start = time.process_time()
    (found,) = find_series(tmp_path / "legal")
    assert time.process_time() - start < 2
    assert len(found.frames) == 1


@pytest.mark.parametrize("depth", [100, 5000])
def test_deep_sequences_end_in_an_error_or_not_at_all(tmp_path: Path, make_slices: Make, depth: int) -> None:
    inner = (ITEM + UNDEFINED + struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + UNDEFINED) * depth
    (tmp_path / "deep").write_bytes(_with_sequence(make_slices()[0], inner))
    start = time.process_time()
    with pytest.raises(DataError, match="deep"):
        read_series(find_series(tmp_path / "deep")[0])
    assert time.process_time() - start < 1


def test_many_frames_cost_in_proportion(tmp_path: Path, make_enhanced, save: Save) -> None:
    def seconds(times: int) -> float:
        folder = save([make_enhanced(times=times)], tmp_path / str(times))
        taken = []
        for _ in range(3):  # the least of them: what other processes do to caches only adds
            start = time.process_time()
            find_series(folder)
            taken.append(time.process_time() - start)
        return min(taken)

    seconds(1)
    assert seconds(160) < 4 * 2.5 * max(seconds(40), 0.02)


def _zip(members: dict[str, bytes], place: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place


def _bomb(ds: pydicom.Dataset) -> bytes:
    ds.PixelData = bytes(168 << 20)
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, enforce_file_format=True)
    return content.getvalue()


def test_a_member_that_is_a_bomb_is_refused_before_it_unpacks(tmp_path: Path, make_slices: Make) -> None:
    bomb = _zip({"a.dcm": _bomb(make_slices()[0])}, tmp_path / "bomb.zip")
    assert bomb.stat().st_size < 180_000
    hidden = tmp_path / "hidden.zip"  # beside something that hardly packs, so that the archive as a whole looks sound
    _zip({"a.dcm": _bomb(make_slices()[0])}, hidden)
    with zipfile.ZipFile(hidden, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("noise", bytes(4 << 20))
    for place in (bomb, hidden):
        tracemalloc.start()
        with pytest.raises(DataError, match="unpack to far more"):
            find_series(place)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()


def test_a_deflated_bomb_is_refused_before_it_unpacks(tmp_path: Path, make_slices: Make) -> None:
    ds = make_slices()[0]
    ds.PixelData = bytes(168 << 20)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "bomb", ds, enforce_file_format=True)
    assert (tmp_path / "bomb").stat().st_size < 180_000
    tracemalloc.start()
    with pytest.raises(DataError, match="bomb is too large"):
        find_series(tmp_path / "bomb")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_methods_that_ask_for_memory_are_refused(tmp_path: Path, make_slices: Make, save: Save) -> None:
    members = {f.name: f.read_bytes() for f in save(make_slices(), tmp_path / "scan").iterdir()}
    with pytest.raises(DataError, match="packed in a way that is not read here"):
        find_series(_zip(members, tmp_path / "lzma.zip", zipfile.ZIP_LZMA))
    (found,) = find_series(_zip(members, tmp_path / "bzip2.zip", zipfile.ZIP_BZIP2))
    assert len(found.frames) == 5


def test_a_header_alone_claims_no_memory(tmp_path: Path, make_enhanced, save: Save) -> None:
    ds = make_enhanced(times=1)
    ds.Rows, ds.Columns = 4096, 4096  # 320 MiB as float32, and the file has 200 voxels
    place = save([ds], tmp_path)
    tracemalloc.start()
    with pytest.raises(DataError, match="cannot be decoded"):
        read_series(find_series(place)[0])
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
