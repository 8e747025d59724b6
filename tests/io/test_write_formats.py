"""write_image: what independent readers get back, in every format that is written, and what is refused before."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import OutputError
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.formats import image_stem, read_image, read_image_header, stored_type, write_image
from mdcsrn.io.forms import Forms

ENDINGS = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")
OTHERS = (".mgz", ".nrrd", ".mha")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def independent(path: Path) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """Voxels (D, H, W), affine in RAS and millimetres, and stored type by a reader that is none of ours."""
    if path.name.endswith((".nrrd", ".mha")):
        image = sitk.ReadImage(str(path))
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        array = sitk.GetArrayFromImage(image)
        return array.transpose(2, 1, 0), LPS @ affine, array.dtype
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine, image.get_data_dtype().newbyteorder("=")


def corners_off(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest shift of a corner, in voxels."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.abs(np.linalg.solve(one, other @ corners) - corners).max())


edge = st.floats(0.2, 6)
turn = st.floats(-3.1, 3.1)
place = st.floats(-300, 300)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3), edges=st.tuples(edge, edge, edge), turns=st.tuples(turn, turn, turn),
    at=st.tuples(place, place, place), flip=st.sampled_from((1, -1)), shear=st.floats(-0.2, 0.2),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_every_voxel_keeps_its_place_and_value(
    tmp_path_factory: pytest.TempPathFactory, ending: str, shape: tuple, edges: tuple, turns: tuple, at: tuple,
    flip: int, shear: float, seed: int,
) -> None:  # fmt: skip
    """Oblique, flipped, left-handed, anisotropic and sheared grids."""
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*turns) @ np.diag(edges) @ np.diag([1, flip, 1]) @ [[1, shear, 0], [0, 1, 0], [0, 0, 1]]
    affine[:3, 3] = at
    array = np.random.default_rng(seed).normal(100, 40, shape).astype(np.float32)
    path = tmp_path_factory.mktemp("written") / f"x{ending}"
    assert write_image(Volume(array, affine), path) == path
    found, where, dtype = independent(path)
    assert dtype == np.float32
    np.testing.assert_array_equal(found.reshape(shape), array)
    assert corners_off(affine, where, shape) < 1e-3
    again = read_image(path, allow_constant=True)
    np.testing.assert_array_equal(again.array, array)
    assert corners_off(affine, again.affine, shape) < 1e-3
    assert not again.warnings


@pytest.mark.parametrize("ending", OTHERS)
def test_equal_input_gives_equal_bytes_and_replaces_in_one_step(
    tmp_path: Path, ending: str, array: np.ndarray, oblique: np.ndarray
) -> None:
    one, two = tmp_path / "new" / f"a{ending}", tmp_path / f"b{ending}"
    two.write_text("old")
    for path in (one, two):
        write_image(Volume(array, oblique), path)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"a{ending}", f"b{ending}"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["f4", "i2", "u2"])
def test_nifti_is_bit_for_bit_what_write_volume_gives(
    tmp_path: Path, ending: str, dtype: str, array: np.ndarray, oblique: np.ndarray
) -> None:
    volume = Volume(array, oblique, forms=Forms.of(oblique, 4))
    one, two = write_image(volume, tmp_path / f"a{ending}", dtype), write_volume(volume, tmp_path / f"b{ending}", dtype)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("ending", OTHERS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", ">f4"])
def test_a_type_that_the_format_lacks_becomes_a_wider_one(
    tmp_path: Path, ending: str, dtype: str, oblique: np.ndarray
) -> None:
    wanted = np.dtype(dtype).newbyteorder("=")
    values = np.array([1, 100.4, 127, 64] * 6, np.float32).reshape(2, 3, 4)
    if wanted.itemsize > 1 and wanted.kind != "f":
        values[0, 0, 0] = min(np.iinfo(wanted).max, 1 << 24)
    path = write_image(Volume(values, oblique), tmp_path / f"x{ending}", dtype)
    found, _, stored = independent(path)
    np.testing.assert_array_equal(found, np.rint(values) if wanted.kind != "f" else values)
    assert stored.kind in ("f" if wanted.kind == "f" else "iu")
    assert stored == read_image_header(path).dtype.newbyteorder("=")
    assert stored == stored_type(Volume(values, oblique), path, dtype)
    if ending != ".mgz" and wanted != np.float16:
        assert stored == wanted
    if ending == ".mgz":
        assert stored in (np.uint8, np.int16, np.int32, np.float32)


@pytest.mark.parametrize(
    ("name", "dtype", "peak", "words"),
    [
        ("x.txt", "f4", 100, r"not a NIfTI name.*\.nii, \.nii\.gz, \.mgz, \.nrrd, \.mha or \.png"),
        ("x.hdr", "f4", 100, "not a NIfTI name"),
        ("x.nhdr", "f4", 100, "not a NIfTI name"),
        ("x.mgz", "u8", 2.0**40, r"no uint64.*2147483647.*float32"),
        ("x.nrrd", "i2", 40000, r"do not fit int16.*-32768 to 32767.*float32"),
        ("x.mgz", "u1", 300, "do not fit uint8"),
        ("x.mha", "c8", 100, "no voxel type"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, oblique: np.ndarray, name: str, dtype: str, peak: float, words: str
) -> None:
    values = np.full((2, 3, 4), 5, np.float32)
    values[1, 1, 1] = peak
    with pytest.raises(OutputError, match=words):
        write_image(Volume(values, oblique), tmp_path / name, dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", OTHERS)
def test_an_orientation_that_nobody_stated_is_not_invented(
    tmp_path: Path, ending: str, array: np.ndarray, oblique: np.ndarray
) -> None:
    volume = Volume(array, oblique, forms=Forms())
    with pytest.raises(OutputError, match=r"does not say what is left.*form_code 0.*write \.nii\.gz"):
        write_image(volume, tmp_path / f"x{ending}")
    write_image(volume, tmp_path / "x.nii")


def test_a_position_too_far_for_float32_is_refused(tmp_path: Path, array: np.ndarray, oblique: np.ndarray) -> None:
    far = oblique.copy()
    far[:3, 3] = 987654.321
    with pytest.raises(OutputError, match=r"voxels' places.*voxels off"):
        write_image(Volume(array, far), tmp_path / "x.mgz")
    write_image(Volume(array, far), tmp_path / "x.nrrd")


@pytest.mark.parametrize("ending", OTHERS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, ending: str, oblique: np.ndarray, capfd) -> None:
    path = tmp_path / f"x{ending}"
    path.write_text("old")
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, limits[1]))
    try:
        with pytest.raises(OutputError, match=f"cannot write .*x{ending}"):
            write_image(Volume(noise, oblique), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr() == ("", ""), "ITK's own console"


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])  # .mgz is written by Python, which says so
def test_a_write_that_ends_short_is_noticed(
    tmp_path: Path, ending: str, array: np.ndarray, oblique: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a buffer that is lost when the file is closed: ITK says nothing of it."""
    execute = sitk.ImageFileWriter.Execute

    def short(self: sitk.ImageFileWriter, image: sitk.Image) -> None:
        execute(self, image)
        path = Path(self.GetFileName())
        path.write_bytes(path.read_bytes()[:-40])

    monkeypatch.setattr(sitk.ImageFileWriter, "Execute", short)
    with pytest.raises(OutputError, match="cannot write"):
        write_image(Volume(array, oblique), tmp_path / f"x{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["kopf ü.nrrd", "a.b.mha", "X.MGZ", "scan.NRRD"])
def test_names(tmp_path: Path, name: str, array: np.ndarray, oblique: np.ndarray) -> None:
    path = write_image(Volume(array, oblique), tmp_path / name)
    np.testing.assert_array_equal(read_image(path).array, array)
    assert image_stem(path) == name.rsplit(".", 1)[0]
