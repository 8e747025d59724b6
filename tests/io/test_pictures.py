"""Pictures as volumes of one plane, against Pillow, scikit-image and NumPy; what is refused, and random damage."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mdcsrn.errors import DataError, GeometryError, MdcsrnError, OutputError
from mdcsrn.io import Volume
from mdcsrn.io.formats import image_kind, image_stem, is_image_name, read_image, read_image_header, write_image
from mdcsrn.io.pictures import clipped_pixels
from mdcsrn.io.reader import NiftiReader

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (7, 10), np.uint8)
DEEP = RNG.integers(0, 65536, (7, 10)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (7, 10, 3), np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int, colours: int, raw: bytes, *chunks: bytes) -> bytes:
    """A PNG from its parts, so that no writer's idea of one is in between."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(raw, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("array", [GREY, DEEP], ids=["8 bit", "16 bit"])
def test_grey_pngs_are_kept(tmp_path: Path, array: np.ndarray) -> None:
    path = save(tmp_path / "a.png", array)
    volume, header = read_image(path), read_image_header(path)
    np.testing.assert_array_equal(volume.array, skimage.io.imread(path)[None])
    np.testing.assert_array_equal(volume.array, array[None])
    assert (volume.shape, volume.dtype) == ((1, 7, 10), array.dtype)
    assert (header.shape, header.dtype) == (volume.shape, volume.dtype)
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert (volume.warnings, image_kind(path)) == ((), "png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_bits_are_spread_over_eight(tmp_path: Path, bits: int) -> None:
    values = np.arange(8) % 2**bits
    packed = int("".join(f"{v:0{bits}b}" for v in values), 2).to_bytes(bits, "big")
    (tmp_path / "a.png").write_bytes(png(8, 1, bits, 0, b"\0" + packed))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array[0, 0], values * (255 // (2**bits - 1)))


def test_colour_becomes_luma(tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "a.png", COLOUR))
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(volume.array[0] - luma).max() < 0.51
    assert volume.dtype == np.uint8
    equal = np.repeat(GREY[..., None], 3, -1)  # three equal channels: the value itself
    np.testing.assert_array_equal(read_image(save(tmp_path / "b.png", equal)).array[0], GREY)


@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "b.png"])
def test_jpegs_whatever_their_name(tmp_path: Path, array: np.ndarray, name: str) -> None:
    smooth = np.repeat(np.repeat(array, 8, 0), 8, 1)
    path = save(tmp_path / name, smooth, format="JPEG", quality=95, dpi=(300, 300))
    volume = read_image(path)
    there = skimage.io.imread(path)
    there = there if there.ndim == 2 else there @ np.array([0.299, 0.587, 0.114])
    assert np.abs(volume.array[0] - there).max() < 0.51
    assert (image_kind(path), volume.spacing) == ("jpeg", (1, 1, 1)), "the density of a JPEG is a screen's"


def test_the_pixel_size_is_that_of_the_phys_chunk(tmp_path: Path) -> None:
    body = b"".join(b"\0" + row.tobytes() for row in GREY)
    for name, unit in (("mm", 1), ("aspect", 0)):
        phys = chunk(b"pHYs", struct.pack(">IIB", 2000, 1250, unit))  # across, down
        (tmp_path / f"{name}.png").write_bytes(png(10, 7, 8, 0, body, phys))
    volume = read_image(tmp_path / "mm.png")
    assert (volume.spacing, volume.warnings) == ((1, 0.8, 0.5), ())
    np.testing.assert_array_equal(volume.affine, np.diag([1, 0.8, 0.5, 1]))
    volume = read_image(tmp_path / "aspect.png")
    assert volume.spacing == (1, 1, 1)
    assert "aspect" in volume.warnings[0]
    far = chunk(b"pHYs", struct.pack(">IIB", 2**31 - 1, 1000, 1))
    (tmp_path / "far.png").write_bytes(png(10, 7, 8, 0, body, far))
    with pytest.raises(GeometryError, match=r"far\.png has an impossible voxel size"):
        read_image(tmp_path / "far.png")


def test_a_palette_of_greys_is_taken_and_one_of_colours_is_not(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY // 64)
    picture.putpalette([v for grey in (3, 90, 180, 250) for v in (grey,) * 3])
    picture.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png").array[0], np.array([3, 90, 180, 250])[GREY // 64])
    picture.putpalette([3, 3, 3, 90, 90, 91])
    picture.save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour\.png has a palette of colours.*grey"):
        read_image(tmp_path / "colour.png")


def deep_colour(path: Path) -> None:
    path.write_bytes(png(2, 1, 16, 2, b"\0" + bytes(range(12))))


def transparent(path: Path) -> None:
    save(path, GREY, transparency=3)


def frames(path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY.T.reshape(7, 10))
    first.save(path, save_all=True, append_images=[second])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: Image.fromarray(np.dstack([COLOUR, GREY])).save(path), "has an alpha channel"),
        (lambda path: Image.fromarray(np.dstack([GREY, GREY]), "LA").save(path), "has an alpha channel"),
        (transparent, "has a transparent colour"),
        (deep_colour, "colours of 16 bit"),
        (frames, "holds several pictures"),
        (lambda path: Image.fromarray(np.dstack([COLOUR, GREY]), "CMYK").save(path, format="JPEG"), "channels"),
        (lambda path: save(path, np.full((5, 5), 7, np.uint8)), "one value in every voxel"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "truncated"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff"), "cannot be read as JPEG"),
    ],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_what_is_no_grey_picture_is_refused_by_name(tmp_path: Path, make: Callable, words: str) -> None:
    make(tmp_path / "it.png")
    with pytest.raises(DataError, match=rf"it\.png .*{words}"):
        read_image(tmp_path / "it.png")


def test_a_turned_jpeg_is_read_as_stored_with_a_warning(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", GREY, exif=exif)
    volume = read_image(path)
    assert volume.shape == (1, 7, 10)
    assert "orientation of 6 is not applied" in volume.warnings[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(60000, 60000, 8, 0, b""), "larger than a picture may be"),
        (png(2**31 - 1, 2**31 - 1, 16, 2, b""), "larger than a picture may be"),
        (png(8192, 8192, 8, 0, bytes(8193 * 8192)), "far more than an image"),
        (png(2800, 2800, 16, 0, b"\0" * 100), "claimed by the header"),
        (png(0, 5, 8, 0, b""), "larger than a picture may be"),
    ],
    ids=["large", "absurd", "zeros", "a promise", "nothing"],
)
def test_bombs_are_refused_by_their_header(tmp_path: Path, content: bytes, words: str, recwarn) -> None:
    (tmp_path / "bomb.png").write_bytes(content)
    for read in (read_image, read_image_header):
        with pytest.raises(DataError, match=rf"bomb\.png.*{words}"):
            read(tmp_path / "bomb.png")
    assert not recwarn.list, "Pillow's own warning of a bomb"


def test_a_jpeg_bomb(tmp_path: Path, recwarn) -> None:
    content = io.BytesIO()
    Image.new("L", (6000, 6000), 8).save(content, "JPEG")
    data = bytearray(content.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 7 : at + 9] = (65000).to_bytes(2, "big")
    (tmp_path / "bomb.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"bomb\.jpg is larger than a picture may be.*390000000 pixels"):
        read_image(tmp_path / "bomb.jpg")
    assert not recwarn.list


def in_bytes(form: str, array: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, form)
    return content.getvalue()


WHOLE = {"PNG": in_bytes("PNG", DEEP), "JPEG": in_bytes("JPEG", COLOUR)}


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_every_truncation_is_refused(tmp_path: Path, form: str) -> None:
    path, whole = tmp_path / "cut.png", WHOLE[form]
    last = 4 if form == "PNG" else 2  # bytes without a pixel: the checksum of the end, or the end mark itself
    for length in range(len(whole) - last):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.png"):
            read_image(path)


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(["PNG", "JPEG"]), changes=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255))),
    cut=st.integers(0, 999) | st.none(),
)  # fmt: skip
def test_random_damage_is_read_soundly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: str, changes: list, cut: int | None
) -> None:
    data = bytearray(WHOLE[form])
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "mutant.png"
    path.write_bytes(data[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            volume = read_image(path)
        except MdcsrnError as error:
            assert "mutant.png" in str(error)
        else:
            assert volume.shape[0] == 1
            assert np.isfinite(volume.array).all()


@pytest.mark.parametrize(("array", "dtype"), [(GREY, np.uint8), (DEEP, np.uint16)])
def test_a_written_png_is_what_others_read(tmp_path: Path, array: np.ndarray, dtype: type) -> None:
    volume = Volume(array[None].astype(np.float32), np.diag([1, 0.8, 0.5, 1]), dtype=np.dtype(dtype))
    path = write_image(volume, tmp_path / "new" / "a.png")  # float32 asked for: the source's type is taken
    there = skimage.io.imread(path)
    assert there.dtype == dtype
    np.testing.assert_array_equal(there, array)
    again = read_image(path)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert write_image(volume, tmp_path / "b.png").read_bytes() == path.read_bytes()
    no_size = write_image(Volume(volume.array, np.eye(4), volume.dtype), tmp_path / "c.png")
    assert b"pHYs" in path.read_bytes()
    assert b"pHYs" not in no_size.read_bytes()


def test_values_are_rounded_and_clipped_to_the_type(tmp_path: Path) -> None:
    array = np.array([[[-3.0, -0.4, 0.6, 254.5, 255.4, 256.0]]], np.float32)
    volume = Volume(array, np.eye(4), dtype=np.dtype(np.uint8))
    path = write_image(volume, tmp_path / "a.png")
    np.testing.assert_array_equal(skimage.io.imread(path)[0], np.clip(np.rint(array[0, 0]), 0, 255))
    assert clipped_pixels(volume, np.dtype(np.uint8)) == 2


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "peak", "words"),
    [
        ("a.png", (2, 4, 5), "u1", 9, r"a PNG holds one plane.*\(2, 4, 5\)"),
        ("a.png", (1, 4, 5), "f4", 9, "holds whole numbers.*float32"),
        ("a.png", (1, 4, 5), "i4", 70000, "do not fit uint16"),
        ("a.jpg", (1, 4, 5), "u1", 9, r"a\.jpg: JPEG loses values.*\.png"),
        ("a.JPEG", (1, 4, 5), "u1", 9, "JPEG loses values"),
    ],
)
def test_what_a_png_cannot_hold_is_refused(
    tmp_path: Path, name: str, shape: tuple, dtype: str, peak: float, words: str
) -> None:
    array = np.zeros(shape, np.float32)
    array[0, 1, 1] = peak
    with pytest.raises(OutputError, match=words):
        write_image(Volume(array, np.eye(4), np.dtype(dtype)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_picture_as_nifti_keeps_its_place(tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "a.png", DEEP, dpi=(254, 127)))
    again = read_image(write_image(volume, tmp_path / "a.nii.gz", np.uint16))
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, np.diag([1, 0.2, 0.1, 1]))
    assert again.forms is not None
    assert (again.forms.sform_code, again.warnings) == (2, ())


def test_names_and_the_reader_of_monai(tmp_path: Path) -> None:
    assert [image_stem(name) for name in ("a.PNG", "b/c.jpeg", "d.x.jpg")] == ["a", "c", "d.x"]
    assert is_image_name("a.JPG")
    assert not is_image_name(".a.png")
    path = save(tmp_path / "a.png", GREY)
    reader = NiftiReader()
    assert reader.verify_suffix(path)
    array, meta = reader.get_data(reader.read(path))
    np.testing.assert_array_equal(array, GREY[None])
    np.testing.assert_array_equal(meta["affine"], np.eye(4))


def test_real_slices(shared_data: Path) -> None:
    files = sorted((shared_data.parent / "data_more" / "images").rglob("*.png"))
    if not files:
        pytest.skip("no folder of pictures beside the real MRI")
    for file in files[::6]:
        volume = read_image(file)
        np.testing.assert_array_equal(volume.array[0], skimage.io.imread(file))
        assert min(volume.shape[1:]) > 200
