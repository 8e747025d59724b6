"""Every format of docs/inputs.md against SimpleITK and nibabel, and that each row of its tables has a test."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.formats import files_of_image, image_kind, image_stem, is_image_name, read_image, read_image_header


def test_every_row_of_the_table_has_its_test() -> None:
    """Where a row names no file, its test is in one of those whose names begin as this one's does."""
    here = Path(__file__).parent
    own = "".join(path.read_text(encoding="utf-8") for path in sorted(here.glob("test_formats*.py")))
    table = (here.parents[1] / "docs/inputs.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|") and not line.startswith(("|---", "| input"))]
    assert len(rows) > 35
    for row in rows:
        named = re.findall(r"`(?:((?:\w+/)?test_\w+\.py)::)?(test_\w+)`", row.rsplit("|", 2)[1])
        assert named or "`tests/attacks/`" in row, row
        for file, test in named:
            place = here / file if (here / file).is_file() else here.parent / file
            assert f"def {test}(" in (place.read_text(encoding="utf-8") if file else own), test


ENDINGS = [".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_same_volume(
    tmp_path: Path, ending: str, dtype: type, array: np.ndarray, oblique: np.ndarray, write_as: Callable
) -> None:
    path = write_as(tmp_path, ending, array.astype(dtype))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, array.astype(dtype))
    assert volume.array.dtype == np.float32
    assert volume.dtype == np.dtype(dtype).newbyteorder(volume.dtype.byteorder)
    far = np.array([[0, 6, 3], [0, 5, 0], [0, 4, 2], [1, 1, 1]])
    assert np.abs(volume.affine @ far - oblique @ far).max() < 1e-4
    header = read_image_header(path)
    assert (header.shape, header.dtype) == (volume.shape, volume.dtype)
    np.testing.assert_array_equal(header.affine, volume.affine)
    assert all(file.is_file() for file in files_of_image(path, image_kind(path)))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_compressed_files(tmp_path: Path, ending: str, array: np.ndarray, itk_image: Callable) -> None:
    path = tmp_path / f"packed{ending}"
    sitk.WriteImage(itk_image(), str(path), useCompression=True)
    np.testing.assert_array_equal(read_image(path).array, array)


def test_content_decides_where_a_name_lies(tmp_path: Path, array: np.ndarray, save_nifti: Callable) -> None:
    path = save_nifti(tmp_path / "scan.nii").rename(tmp_path / "scan.mgz")
    assert image_kind(path) == "nifti"
    np.testing.assert_array_equal(read_image(path).array, array)


def test_nothing_of_itk_reaches_the_console(tmp_path: Path, itk_image: Callable) -> None:
    sitk.WriteImage(itk_image(), str(tmp_path / "cut.nrrd"))
    whole = (tmp_path / "cut.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole[:-100].replace(b"encoding: raw", b"encoding: gzip"))
    code = "import sys; from mdcsrn.io.formats import read_image\ntry: read_image(sys.argv[1])\n"
    code += "except Exception as error: print(type(error).__name__)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut.nrrd")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("DataError\n", "")


def test_nothing_of_nibabel_reaches_the_console(tmp_path: Path, save_nifti: Callable) -> None:
    data = bytearray(save_nifti(tmp_path / "a.nii").read_bytes())
    struct.pack_into("<i", data, 0, 12)  # sizeof_hdr
    (tmp_path / "a.nii").write_bytes(data)
    code = "import sys; from mdcsrn.io.formats import read_image; print(read_image(sys.argv[1]).warnings)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.nii")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("('sizeof_hdr should be 348',)\n", "")


def test_names() -> None:
    assert image_stem("a/sub-01_T1w.nii.gz") == "sub-01_T1w"
    assert image_stem("x.MGZ") == "x"
    assert image_stem("notes.txt") == "notes.txt"
    assert is_image_name("x.NRRD")
    assert not is_image_name(".x.nii")
    assert not is_image_name("x.json")


def test_nrrd_in_other_units_and_without_orientation(tmp_path: Path, itk_image: Callable) -> None:
    sitk.WriteImage(itk_image(affine=np.diag([1.0, 2.0, 3.0, 1.0])), str(tmp_path / "a.nrrd"))
    text = (tmp_path / "a.nrrd").read_bytes()
    in_cm = text.replace(b"encoding: raw", b'space units: "cm" "cm" "cm"\nencoding: raw')
    (tmp_path / "cm.nrrd").write_bytes(in_cm)
    volume = read_image(tmp_path / "cm.nrrd")
    np.testing.assert_allclose(volume.spacing, (10, 20, 30))
    assert any("not in millimetres" in line for line in volume.warnings)
    (tmp_path / "s.nrrd").write_bytes(in_cm.replace(b'"cm"', b'"s"'))
    with pytest.raises(GeometryError, match=r"s\.nrrd.*unit of no length"):
        read_image(tmp_path / "s.nrrd")
    lines = [line for line in text.split(b"\n\n", 1)[0].split(b"\n") if not line.startswith(b"space")]
    plain = b"\n".join([*lines, b"spacings: 1 2 3", b"", b""]) + text.split(b"\n\n", 1)[1]
    (tmp_path / "plain.nrrd").write_bytes(plain)
    assert any("no orientation" in line for line in read_image(tmp_path / "plain.nrrd").warnings)


@pytest.mark.parametrize(
    ("name", "header", "words"),
    [
        ("out.nhdr", "data file: /etc/passwd", "elsewhere.*same folder"),
        ("up.nhdr", "data file: ../scan.raw", "elsewhere"),
        ("gone.nhdr", "data file: gone.raw", "no such file"),
        ("many.nhdr", "data file: LIST\na.raw", "elsewhere"),
    ],
)
def test_a_detached_header_reads_its_own_folder_alone(tmp_path: Path, name: str, header: str, words: str) -> None:
    fields = "type: float\ndimension: 3\nsizes: 7 6 5\nspacings: 1 1 1\nendian: little\nencoding: raw\n"
    (tmp_path / name).write_text(f"NRRD0004\n{fields}{header}\n")
    with pytest.raises(DataError, match=rf"{name}.*{words}"):
        read_image(tmp_path / name)


def test_freesurfer_without_orientation_is_reported(tmp_path: Path, write_as: Callable) -> None:
    path = write_as(tmp_path, ".mgh")
    data = bytearray(path.read_bytes())
    data[28:30] = b"\0\0"  # goodRASFlag
    path.write_bytes(data)
    assert any("no orientation" in line for line in read_image(path).warnings)


def test_analyze_is_refused_since_left_and_right_are_not_known(tmp_path: Path, array: np.ndarray) -> None:
    nib.AnalyzeImage(array, np.diag([1.0, 2.0, 3.0, 1.0])).to_filename(tmp_path / "old.img")
    for name in ("old.img", "old.hdr"):
        with pytest.raises(DataError, match="Analyze 7.5.*left"):
            read_image(tmp_path / name)


def test_half_a_pair_is_refused(tmp_path: Path, write_as: Callable) -> None:
    write_as(tmp_path, ".img")
    (tmp_path / "scan.img").unlink()
    with pytest.raises(DataError, match=r"lacks its voxels.*both files"):
        read_image(tmp_path / "scan.hdr")
