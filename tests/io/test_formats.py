"""Every row of the table in docs/inputs.md: formats against SimpleITK and nibabel, odd files with their outcome."""

from __future__ import annotations

import errno
import gzip
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import DataError, GeometryError, MdcsrnError, OutputError
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.formats import files_of_image, image_kind, image_stem, is_image_name, read_image, read_image_header

ARRAY = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([1.0, -1.2, 2.5])
OBLIQUE[:3, 3] = (-90.5, 126.25, -72.0)


def save_nifti(path: Path, array: np.ndarray = ARRAY, affine: np.ndarray = OBLIQUE) -> Path:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def itk_image(array: np.ndarray = ARRAY, affine: np.ndarray = OBLIQUE) -> sitk.Image:
    """The volume as an ITK image, made from ITK's own parts: no file of another format in between."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def test_every_row_of_the_table_has_its_test() -> None:
    here = Path(__file__).parent
    table = (here.parents[1] / "docs/inputs.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|") and not line.startswith(("|---", "| input"))]
    assert len(rows) > 35
    for row in rows:
        named = re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", row.rsplit("|", 2)[1])
        assert named or "`tests/attacks/`" in row, row
        for file, test in named:
            assert f"def {test}(" in (here / (file or Path(__file__).name)).read_text(encoding="utf-8"), test


# ---- formats -------------------------------------------------------------------------------------------------------


def write_as(folder: Path, ending: str, array: np.ndarray = ARRAY) -> Path:
    path = folder / f"scan{ending}"
    if ending in (".nii", ".nii.gz"):
        return save_nifti(path, array)
    if ending in (".mgz", ".mgh"):
        nib.freesurfer.MGHImage(array, OBLIQUE).to_filename(path)
    elif ending in (".img", ".hdr"):
        nib.Nifti1Pair(array, OBLIQUE).to_filename(path)
    else:
        sitk.WriteImage(itk_image(array), str(path), useCompression=False)
    return path


ENDINGS = [".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_same_volume(tmp_path: Path, ending: str, dtype: type) -> None:
    path = write_as(tmp_path, ending, ARRAY.astype(dtype))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, ARRAY.astype(dtype))
    assert volume.array.dtype == np.float32
    assert volume.dtype == np.dtype(dtype).newbyteorder(volume.dtype.byteorder)
    far = np.array([[0, 6, 3], [0, 5, 0], [0, 4, 2], [1, 1, 1]])
    assert np.abs(volume.affine @ far - OBLIQUE @ far).max() < 1e-4
    header = read_image_header(path)
    assert (header.shape, header.dtype) == (volume.shape, volume.dtype)
    np.testing.assert_array_equal(header.affine, volume.affine)
    assert all(file.is_file() for file in files_of_image(path, image_kind(path)))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_compressed_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"packed{ending}"
    sitk.WriteImage(itk_image(), str(path), useCompression=True)
    np.testing.assert_array_equal(read_image(path).array, ARRAY)


def test_content_decides_where_a_name_lies(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "scan.nii").rename(tmp_path / "scan.mgz")
    assert image_kind(path) == "nifti"
    np.testing.assert_array_equal(read_image(path).array, ARRAY)


def test_nothing_of_itk_reaches_the_console(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(), str(tmp_path / "cut.nrrd"))
    whole = (tmp_path / "cut.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole[:-100].replace(b"encoding: raw", b"encoding: gzip"))
    code = "import sys; from mdcsrn.io.formats import read_image\ntry: read_image(sys.argv[1])\n"
    code += "except Exception as error: print(type(error).__name__)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut.nrrd")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("DataError\n", "")


def test_nothing_of_nibabel_reaches_the_console(tmp_path: Path) -> None:
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


def test_nrrd_in_other_units_and_without_orientation(tmp_path: Path) -> None:
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


def test_freesurfer_without_orientation_is_reported(tmp_path: Path) -> None:
    path = write_as(tmp_path, ".mgh")
    data = bytearray(path.read_bytes())
    data[28:30] = b"\0\0"  # goodRASFlag
    path.write_bytes(data)
    assert any("no orientation" in line for line in read_image(path).warnings)


def test_analyze_is_refused_since_left_and_right_are_not_known(tmp_path: Path) -> None:
    nib.AnalyzeImage(ARRAY, np.diag([1.0, 2.0, 3.0, 1.0])).to_filename(tmp_path / "old.img")
    for name in ("old.img", "old.hdr"):
        with pytest.raises(DataError, match="Analyze 7.5.*left"):
            read_image(tmp_path / name)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    write_as(tmp_path, ".img")
    (tmp_path / "scan.img").unlink()
    with pytest.raises(DataError, match=r"lacks its voxels.*both files"):
        read_image(tmp_path / "scan.hdr")


# ---- values --------------------------------------------------------------------------------------------------------


def with_holes() -> np.ndarray:
    """One NaN inside, one infinity in a face, and a corner region of 3 x 3 x 3."""
    array = ARRAY.copy()
    array[5, 3, 3] = np.nan
    array[3, 0, 2] = -np.inf
    array[:3, 3:, :3] = np.nan
    return array


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_nan_and_inf_are_counted_and_refused(tmp_path: Path, ending: str) -> None:
    path = write_as(tmp_path, ending, with_holes())
    with pytest.raises(DataError, match=r"scan.*NaN or infinite.*29 of 210 voxels.*remedy"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_nan_and_inf_are_filled_on_request(tmp_path: Path, ending: str) -> None:
    holes = with_holes()
    volume = read_image(write_as(tmp_path, ending, holes), nonfinite="fill")
    good = np.isfinite(holes)
    np.testing.assert_array_equal(volume.array[good], ARRAY[good])  # they never spread
    assert any(line.startswith("29 of 210 voxels were NaN or infinite") for line in volume.warnings)
    around = holes[4:7, 2:5, 2:5].astype(np.float64)
    np.testing.assert_allclose(volume.array[5, 3, 3], np.nanmean(around), rtol=1e-6)
    around = holes[2:5, 0:2, 1:4].astype(np.float64)
    np.testing.assert_allclose(volume.array[3, 0, 2], around[np.isfinite(around)].mean(), rtol=1e-6)
    assert volume.array[1, 4, 1] == 0  # inside the region
    assert volume.array[0, 5, 0] == 0


def test_row_nothing_finite(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "nan.nii", np.full((3, 4, 5), np.nan, np.float32))
    with pytest.raises(DataError, match=r"nan\.nii holds no finite value"):
        read_image(path, nonfinite="fill")


def test_a_word_that_is_no_treatment_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii")
    with pytest.raises(MdcsrnError, match="refuse or fill"):
        read_image(path, nonfinite="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_constant(tmp_path: Path, ending: str) -> None:
    path = write_as(tmp_path, ending, np.full((3, 4, 5), 7, np.int16))
    with pytest.raises(DataError, match="scan.*one value in every voxel"):
        read_image(path)
    assert read_image(path, allow_constant=True).array.max() == 7


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_negative_values_are_kept(tmp_path: Path, ending: str) -> None:
    np.testing.assert_array_equal(read_image(write_as(tmp_path, ending, ARRAY - 500)).array, ARRAY - 500)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("letters", ["u1", "i2"])
@pytest.mark.parametrize("ending", [".nii", ".hdr"])
def test_row_integers_with_scale_factors_and_either_byte_order(
    tmp_path: Path, letters: str, order: str, ending: str
) -> None:
    stored = np.arange(60).astype(order + letters)
    kind = nib.Nifti1Header if ending == ".nii" else nib.nifti1.Nifti1PairHeader
    header = kind(endianness=order)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape((3, 4, 5))
    header.set_sform(np.eye(4), 1)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = 0.5, -3
    header["vox_offset"] = 352 if ending == ".nii" else 0
    block = header.binaryblock
    if ending == ".nii":
        (tmp_path / "a.nii").write_bytes(block + b"\0\0\0\0" + stored.tobytes())
    else:
        (tmp_path / "a.hdr").write_bytes(block)
        (tmp_path / "a.img").write_bytes(stored.tobytes())
    volume = read_image(tmp_path / f"a{ending}")
    expected = np.arange(60).reshape(5, 4, 3).T * 0.5 - 3  # the first axis runs fastest in the file
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(nib.load(tmp_path / f"a{ending}").get_fdata(), expected)


# ---- axes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img"])
def test_row_4d_is_refused_with_a_remedy(tmp_path: Path, ending: str) -> None:
    path = write_as(tmp_path, ending, np.stack([ARRAY, ARRAY], -1))
    with pytest.raises(DataError, match=r"scan.*not one 3D volume.*\(7, 6, 5, 2\).*one volume per file"):
        read_image(path)
    assert read_image_header(path).shape == (7, 6, 5, 2)


def test_row_4d_nrrd_and_metaimage(tmp_path: Path) -> None:
    two = sitk.JoinSeries([itk_image(), itk_image()])
    for name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(two, str(tmp_path / name))
        with pytest.raises(DataError, match=r"not one 3D volume.*\(7, 6, 5, 2\)"):
            read_image(tmp_path / name)
    sitk.WriteImage(sitk.JoinSeries([itk_image()]), str(tmp_path / "one.nrrd"))
    np.testing.assert_array_equal(read_image(tmp_path / "one.nrrd").array, ARRAY)


def test_row_2d_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for path in (save_nifti(tmp_path / "flat.nii", ARRAY[0]), tmp_path / "flat.nrrd", tmp_path / "flat.mha"):
        if not path.exists():
            sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(path))
        with pytest.raises(DataError, match=r"flat.*not one 3D volume.*stack its slices"):
            read_image(path)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".nrrd", ".mha"])
def test_row_one_slice_works(tmp_path: Path, ending: str, axis: int) -> None:
    slab = np.take(ARRAY, [2], axis)
    volume = read_image(write_as(tmp_path, ending, slab))
    np.testing.assert_array_equal(volume.array, slab)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_row_colour_and_complex_voxels_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rgb{ending}"
    sitk.WriteImage(sitk.Compose([sitk.Cast(itk_image(), sitk.sitkUInt8)] * 3), str(path))
    with pytest.raises(DataError, match="rgb.*no plain numbers"):
        read_image(path)


# ---- headers and bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".nii", ".mgh", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_row_truncated(tmp_path: Path, ending: str, share: float) -> None:
    path = write_as(tmp_path, ending)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"scan"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz"])
def test_row_gzip_that_lacks_its_end(tmp_path: Path, ending: str) -> None:
    path = write_as(tmp_path, ending)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"scan.*truncated or damaged.*remedy"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgz", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_row_wrong_magic(tmp_path: Path, ending: str) -> None:
    content = b"this is no image " * 100
    path = tmp_path / f"text{ending}"
    path.write_bytes(gzip.compress(content) if ending in (".nii.gz", ".mgz") else content)
    with pytest.raises(DataError, match=r"text.*wrong magic.*first bytes.*remedy"):
        read_image(path)


@pytest.mark.parametrize("packed", [False, True])
def test_row_absurd_dimensions(tmp_path: Path, packed: bool) -> None:
    nii = bytearray(save_nifti(tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3h", nii, 42, 32767, 32767, 32767)
    mgh = bytearray(write_as(tmp_path, ".mgh").read_bytes())
    struct.pack_into(">3i", mgh, 4, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    sitk.WriteImage(itk_image(), str(tmp_path / "b.nrrd"))
    nrrd = (tmp_path / "b.nrrd").read_bytes().replace(b"sizes: 7 6 5", b"sizes: 99999 99999 99999")
    sitk.WriteImage(itk_image(), str(tmp_path / "b.mha"))
    mha = (tmp_path / "b.mha").read_bytes().replace(b"DimSize = 7 6 5", b"DimSize = 99999 99999 99999")
    if packed:
        nrrd = nrrd.replace(b"encoding: raw", b"encoding: gzip")
        mha = mha.replace(b"CompressedData = False", b"CompressedData = True")
    for name, data in (("x.nii", nii), ("x.mgh", mgh), ("x.nrrd", nrrd), ("x.mha", mha)):
        path = tmp_path / (name + ".gz" if packed and name == "x.nii" else name)
        path.write_bytes(gzip.compress(bytes(data)) if packed and name in ("x.nii", "x.mgh") else bytes(data))
        with pytest.raises(DataError, match=r"x\..*(claimed|cannot be read)"):
            read_image(path)


def test_row_units_that_are_not_millimetres(tmp_path: Path) -> None:
    image = nib.load(save_nifti(tmp_path / "a.nii", affine=np.diag([0.001, 0.002, 0.003, 1.0])))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    volume = read_image(tmp_path / "m.nii")
    np.testing.assert_allclose(volume.spacing, (1, 2, 3), rtol=1e-6)
    assert any("in meter: converted" in line for line in volume.warnings)
    data = bytearray((tmp_path / "m.nii").read_bytes())
    data[123] = 8  # seconds alone: no unit of length
    (tmp_path / "none.nii").write_bytes(data)
    assert any("not stated" in line for line in read_image(tmp_path / "none.nii").warnings)
    data[123] = 5  # no code of the standard
    (tmp_path / "bad.nii").write_bytes(data)
    with pytest.raises(GeometryError, match=r"bad\.nii.*unknown unit.*remedy"):
        read_image(tmp_path / "bad.nii")


def test_row_missing_form_codes(tmp_path: Path) -> None:
    image = nib.load(save_nifti(tmp_path / "a.nii"))
    image.header["sform_code"] = image.header["qform_code"] = 0
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = b"\0\0\0\0"
    (tmp_path / "b.nii").write_bytes(data)
    volume = read_image(tmp_path / "b.nii")
    assert any("neither sform nor qform" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.spacing, (1.0, 1.2, 2.5), rtol=1e-6)


def test_row_sform_and_qform_disagree(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY, OBLIQUE)
    image.set_sform(OBLIQUE, 1)
    flipped = OBLIQUE @ np.diag([-1.0, 1, 1, 1])
    image.set_qform(flipped, 1)
    nib.save(image, tmp_path / "b.nii")
    volume = read_image(tmp_path / "b.nii")
    assert any("disagree by up to" in line and "the sform is used" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)


# ---- the file system -----------------------------------------------------------------------------------------------


def test_row_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"cannot open {tmp_path}.*directory.*remedy"):
        read_image(tmp_path)


def test_row_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*absent\.nii.*remedy"):
        read_image(tmp_path / "absent.nii")


def as_nobody(code: str, *arguments: Path) -> str:
    """Output of `code` run by a user without rights: the calling one, or, for root, one without a name."""
    imports, rest = code.split("try:")
    drop = "import os, sys\nif os.getuid() == 0: os.setgid(65534), os.setuid(65534)\n"  # once all is imported
    command = [sys.executable, "-c", f"{imports}{drop}try:{rest}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that another user may enter (pytest's own are private)."""
    for place in (tmp_path, *tmp_path.parents):
        if place.owner() != Path.home().owner() or place.stat().st_mode & 0o005 == 0o005:
            break
        place.chmod(0o755)
    return tmp_path


READ = """
from mdcsrn.errors import MdcsrnError
from mdcsrn.io.formats import read_image
try: read_image(sys.argv[1])
except MdcsrnError as error: print(type(error).__name__, error)
"""
WRITE = """
import numpy as np
from mdcsrn.errors import MdcsrnError
from mdcsrn.io import Volume, write_volume
try: write_volume(Volume(np.arange(60.).reshape(3, 4, 5), np.eye(4)), sys.argv[1])
except MdcsrnError as error: print(type(error).__name__, error)
"""


def test_row_no_permission(open_folder: Path) -> None:
    path = save_nifti(open_folder / "secret.nii.gz")
    path.chmod(0)
    said = as_nobody(READ, path)
    assert said.startswith(f"DataError cannot open {path}")
    assert "Permission denied" in said
    assert "remedy" in said


def test_row_no_permission_to_write(open_folder: Path) -> None:
    folder = open_folder / "closed"
    folder.mkdir(mode=0o555)
    said = as_nobody(WRITE, folder / "a.nii.gz")
    assert said.startswith(f"OutputError cannot write {folder / 'a.nii.gz'}")
    assert "Permission denied" in said
    assert not list(folder.iterdir())


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from mdcsrn.errors import OutputError
from mdcsrn.io import Volume, write_volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try: write_volume(Volume(np.random.default_rng(0).random((40, 40, 40)), np.eye(4)), sys.argv[1])
except OutputError as error: print(error)
"""


def test_row_file_too_large_for_its_quota(tmp_path: Path) -> None:
    old = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "a.nii.gz").read_bytes()
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.nii.gz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"cannot write {tmp_path / 'a.nii.gz'}" in said
    assert os.strerror(errno.EFBIG) in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == old


def test_row_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small disk needs root; the quota test beside this one runs for everyone")
    try:
        old = write_volume(Volume(ARRAY, OBLIQUE), disk / "a.nii.gz").read_bytes()
        large = Volume(np.random.default_rng(0).random((40, 40, 40)).astype(np.float32), OBLIQUE)
        with pytest.raises(OutputError, match=r"cannot write .*a\.nii\.gz.*No space left.*remedy.*free space"):
            write_volume(large, disk / "a.nii.gz")
        assert [entry.name for entry in disk.iterdir()] == ["a.nii.gz"]
        assert (disk / "a.nii.gz").read_bytes() == old
    finally:
        subprocess.run(["umount", str(disk)], check=True)
