"""fastMRI files as volumes, against a reconstruction by NumPy alone; the real ones; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.cli.main import main
from mdcsrn.data.datalist import load_datalist
from mdcsrn.data.fastmri import Conversion, centre_crop, convert_file
from mdcsrn.errors import ConfigError, DataError
from mdcsrn.io import read_volume
from mdcsrn.io.fastmri import kspace_slices, read_fastmri
from mdcsrn.kspace import DegradationSpec

ENCODED, RECON = (24, 18), (12, 13)  # the readout is oversampled twice
XML = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{ex}</x><y>{ey}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>280</x><y>210</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>140</x><y>150</y><z>4.5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""


MASK = np.arange(18) % 4 == 1  # every fourth column is sampled


def header(encoded: tuple = ENCODED, recon: tuple = RECON, center: int = 8, maximum: int = 15) -> str:
    (ex, ey), (rx, ry) = encoded, recon
    return XML.format(ex=ex, ey=ey, rx=rx, ry=ry, center=center, maximum=maximum)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def write(path: Path, patient: str | None = "p1", xml: str | None = None, **data: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values
        if xml is not None:
            file["ismrmrd_header"] = xml
        if patient is not None:
            file.attrs["patient_id"] = patient
        file.attrs["acquisition"] = "CORPD_FBK"
    return path


def numpy_images(
    kspace: np.ndarray, shape: tuple[int, int], columns: tuple[int, int] | None = None, reduction: tuple = (1, 1)
) -> np.ndarray:
    """(slices, coils, H, W) to root sum of squares, float64, by NumPy alone."""
    k = kspace.astype(np.complex128)
    if columns is not None:
        k[..., : columns[0]] = 0
        k[..., columns[1] :] = 0
    axes = (-2, -1)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k, axes=axes), norm="ortho"), axes=axes)
    first = [n // 2 - m // 2 for n, m in zip(image.shape[-2:], shape, strict=True)]
    image = image[..., first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]
    spectrum = np.fft.fft2(image)
    for axis, (n, r) in enumerate(zip(shape, reduction, strict=True)):
        kept = np.abs(np.rint(np.fft.fftfreq(n, 1 / n))) < n / (2 * r) if r > 1 else np.ones(n, bool)
        spectrum *= kept[:, None] if axis == 0 else kept
    return np.sqrt((np.abs(np.fft.ifft2(spectrum)) ** 2).sum(axis=1))


def convert(path: Path, how: Conversion = Conversion()) -> object:  # noqa: B008 - frozen
    return convert_file(read_fastmri(path), how)


@pytest.mark.parametrize("coils", [None, 1, 4])
def test_kspace_with_header(tmp_path: Path, coils: int | None) -> None:
    kspace = noise((3, *([coils] if coils else []), *ENCODED))
    file = read_fastmri(write(tmp_path / "a.h5", xml=header(), kspace=kspace))
    assert file.columns == (18 // 2 - 8, 18 // 2 - 8 + 15 + 1)
    assert (file.kspace, file.patient) == ((3, coils or 1, *ENCODED), "p1")
    made = convert_file(file, Conversion(spec=DegradationSpec((1, 2, 1.5))))
    full = kspace.reshape(3, -1, *ENCODED)
    np.testing.assert_allclose(made.reference.array, numpy_images(full, RECON, file.columns), rtol=2e-5, atol=1e-5)
    low = numpy_images(full, RECON, file.columns, (2, 1.5))
    assert made.low is not None
    np.testing.assert_allclose(made.low.array, low, rtol=2e-4, atol=1e-4)
    assert np.abs(low - made.reference.array).max() > 0.1, "the low-pass does something"
    np.testing.assert_allclose(made.reference.spacing, (4.5, 280 / 24, 210 / 18))
    assert (made.source, made.notices, made.reference.shape) == ("kspace", (), (3, *RECON))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)), more=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    r=st.sampled_from((1, 1.5, 2, 3)), coils=st.integers(1, 3), seed=st.integers(0, 9),
)  # fmt: skip
def test_odd_and_even_sizes(
    tmp_path_factory: pytest.TempPathFactory, size: tuple, more: tuple, r: float, coils: int, seed: int
) -> None:
    encoded = size[0] + more[0], size[1] + more[1]
    kspace = noise((2, coils, *encoded), seed)
    path = tmp_path_factory.getbasetemp() / "parity.h5"
    write(path, xml=header(encoded, size, encoded[1] // 2, encoded[1] - 1), kspace=kspace)
    made = convert(path, Conversion(spec=DegradationSpec((1, r, r))))
    np.testing.assert_allclose(made.reference.array, numpy_images(kspace, size), atol=1e-5)
    np.testing.assert_allclose(made.low.array, numpy_images(kspace, size, None, (r, r)), atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(640, 320), (7, 4), (8, 4), (7, 3)])
def test_the_crop_is_that_of_fastmri_where_it_keeps_the_origin(n: int, m: int) -> None:
    image = torch.arange(n).expand(n, n)
    first = (n - m) // 2  # fastmri.data.transforms.center_crop
    assert centre_crop(image, (m, m))[0].tolist() == list(range(first, first + m))


def test_a_low_pass_of_the_coils_is_not_one_of_the_magnitude(tmp_path: Path) -> None:
    kspace = noise((1, 2, 16, 16))
    spec = DegradationSpec((1, 2, 2), grid="acquired")
    made = convert(write(tmp_path / "a.h5", kspace=kspace), Conversion(spec=spec))
    centre = kspace[..., 5:12, 5:12]  # |k| < 4: seven samples of the band, and one half of the Nyquist pair is 0
    padded = np.pad(centre, [(0, 0), (0, 0), (1, 0), (1, 0)])
    expected = numpy_images(padded, (8, 8)) * np.sqrt(64 / 256)
    np.testing.assert_allclose(made.low.array, expected, atol=1e-5)
    np.testing.assert_allclose(made.low.spacing, (1, 2, 2))
    np.testing.assert_allclose(made.low.affine @ (0, 4, 4, 1), made.reference.affine @ (0, 8, 8, 1))


def test_reconstructions_and_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rss, esc = (rng.random((2, *RECON)).astype(np.float32) * 7 for _ in range(2))
    path = write(
        tmp_path / "a.h5", xml=header(), kspace=noise((2, *ENCODED)), reconstruction_rss=rss, reconstruction_esc=esc
    )
    for source, values in (("rss", rss), ("esc", esc)):
        made = convert(path, Conversion(source))
        np.testing.assert_array_equal(made.reference.array, values)
        np.testing.assert_allclose(made.reference.spacing, (4.5, 140 / 12, 150 / 13))
    scaled = convert(path, Conversion("rss", scale="max"))
    np.testing.assert_allclose(scaled.reference.array, rss / rss.max(), rtol=1e-6)
    both = convert(path, Conversion(spec=DegradationSpec(), scale="max"))
    plain = convert(path, Conversion(spec=DegradationSpec()))
    peak = plain.reference.array.max()
    assert both.reference.array.max() == pytest.approx(1)
    assert both.reference.array[0].max() != pytest.approx(both.reference.array[1].max()), "never a slice's maximum"
    np.testing.assert_allclose(both.low.array, plain.low.array / peak, rtol=1e-5)


def test_masked_kspace_gives_way_to_the_reconstruction(tmp_path: Path) -> None:
    rss = np.random.default_rng(2).random((2, *RECON)).astype(np.float32)
    path = write(tmp_path / "a.h5", kspace=noise((2, *ENCODED)), mask=MASK, reconstruction_rss=rss)
    made = convert(path)
    assert made.source == "reconstruction_rss"
    np.testing.assert_array_equal(made.reference.array, rss)
    with pytest.raises(DataError, match=r"a\.h5 holds undersampled k-space"):
        convert(path, Conversion("kspace"))
    whole = write(tmp_path / "b.h5", kspace=noise((2, *ENCODED)), mask=np.ones(18, bool), reconstruction_rss=rss)
    assert convert(whole).source == "kspace", "a mask that leaves nothing out"


def link(path: Path) -> None:
    write(path.with_name("other.hdf"), kspace=noise((1, 4, 4)))
    with h5py.File(path, "w") as file:
        file["kspace"] = h5py.ExternalLink("other.hdf", "kspace")


def compressed_bomb(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (4000, 4000, 4000), np.complex64, chunks=(1, 500, 500), compression="gzip")


KSPACE = noise((2, *ENCODED))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"text"), "no HDF5 file"),
        (lambda path: write(path, other=np.zeros(3)), "no fastMRI file.*neither k-space nor a reconstruction.*other"),
        (lambda path: write(path, kspace=KSPACE, mask=MASK), "undersampled k-space .* no reconstruction"),
        (lambda path: write(path, mask=MASK), "no fastMRI file"),
        (lambda path: write(path, kspace=KSPACE.real), "kspace is none of fastMRI.*float32"),
        (lambda path: write(path, kspace=KSPACE[0]), "kspace is none of fastMRI"),
        (lambda path: write(path, kspace=0 * KSPACE), "no signal"),
        (lambda path: write(path, kspace=KSPACE * np.complex64("nan")), "NaN or infinite"),
        (lambda path: write(path, reconstruction_rss=np.ones((3, 4), np.float32)), "reconstruction_rss is no volume"),
        (lambda path: write(path, kspace=KSPACE, xml="<broken"), "damaged ismrmrd_header"),
        (lambda path: write(path, kspace=KSPACE, xml=header(center=30)), "damaged ismrmrd_header.*columns"),
        (lambda path: write(path, kspace=KSPACE, xml="<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"), "no plain XML"),
        (link, "does not lie in this file"),
        (compressed_bomb, "claimed by the header"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(tmp_path: Path, make: Callable, words: str) -> None:
    make(tmp_path / "it.h5")
    with pytest.raises(DataError, match=rf"it\.h5.*({words})") as caught:
        convert(tmp_path / "it.h5")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5", xml=header(), kspace=noise((2, 3, *ENCODED))).read_bytes()
    path = tmp_path / "cut.h5"
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.h5"):
            convert(path)


@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=30))
def test_random_damage_is_read_soundly_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: list) -> None:
    path = tmp_path_factory.getbasetemp() / "mutant.h5"
    data = bytearray(write(path, xml=header(), kspace=noise((1, *ENCODED))).read_bytes())
    for place, value in changes:
        data[place % min(len(data), 4096)] = value
    path.write_bytes(data)
    try:
        made = convert(path)
    except DataError as error:
        assert "mutant.h5" in str(error)
    else:
        assert np.isfinite(made.reference.array).all()


@pytest.mark.parametrize(
    "values",
    [
        {"source": "both"}, {"scale": "slice"}, {"source": "rss", "spec": DegradationSpec()},
        {"spec": DegradationSpec((2, 2, 1))}, {"spec": DegradationSpec(noise=0.1)},
        {"spec": DegradationSpec(partial_fourier=(1, 0.7, 1))},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(values: dict) -> None:
    with pytest.raises(ConfigError):
        Conversion(**values)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", "fastmri", *map(str, arguments)])


def test_the_command(tmp_path: Path) -> None:
    source, out = tmp_path / "h5", tmp_path / "out"
    for index in range(6):
        name = f"{'train' if index < 4 else 'val'}/file{index}.h5"
        write(source / name, f"person{index // 2}", header(), kspace=noise((2, 3, *ENCODED), index))
    result = run(source, "-o", out, "--spec", "hcp_2x2", "--scale", "max")
    assert result.exit_code == 0, result.output
    content = json.loads((out / "datalist.json").read_text())
    entries = [entry for key in ("training", "validation", "test") for entry in content[key]]
    assert {entry["subject"] for entry in content["training"]}.isdisjoint(
        entry["subject"] for entry in content["test"] + content["validation"]
    )
    assert sorted(entry["image"] for entry in entries) == [
        f"reference/{'train' if index < 4 else 'val'}/file{index}.nii.gz" for index in range(6)
    ]
    assert all(entry["low"] == entry["image"].replace("reference/", "low/") for entry in entries)
    assert {entry["acquisition"] for entry in entries} == {"CORPD_FBK"}
    loaded = load_datalist(out / "datalist.json", "training")
    assert all(Path(entry[key]).is_file() for entry in loaded for key in ("image", "low"))
    image = nib.load(out / "reference/train/file0.nii.gz")
    assert image.shape == (2, *RECON)
    assert image.get_fdata().max() == pytest.approx(1)
    np.testing.assert_allclose(image.header.get_zooms(), (4.5, 280 / 24, 210 / 18), rtol=1e-6)
    assert read_volume(out / "low/train/file0.nii.gz").warnings == ()
    before = (out / "datalist.json").read_bytes()
    assert run(source, "-o", out, "--spec", "hcp_2x2", "--scale", "max").exit_code == 0
    assert (out / "datalist.json").read_bytes() == before

    (source / "train" / "bad.h5").write_bytes(b"text")
    result = run(source, "-o", out)
    assert result.exit_code == 3
    assert "left out: " in result.output
    assert "1 of 7 files" in result.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "is not empty" in run(source, "-o", tmp_path / "mine").output
    assert "lies in" in run(source, "-o", source / "new").output


def test_a_doubt_about_persons_ends_the_command_before_the_work(tmp_path: Path) -> None:
    for name in ("A1_anna", "B2_anna"):
        write(tmp_path / "h5" / f"{name}.h5", None, kspace=noise((1, 8, 8)))
    result = run(tmp_path / "h5", "-o", tmp_path / "out")
    assert result.exit_code == 3
    assert "--subject-pattern" in result.output
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "h5", "-o", tmp_path / "out", "--subject-pattern", "_(anna)").exit_code == 0


def test_real_files(shared_data: Path) -> None:
    """Whole grids without header: the stored reconstruction, from k-space."""
    files = sorted(path for root in ("data", "data_more") for path in (shared_data.parent / root).glob("kspace/*.h5"))
    if not files:
        pytest.skip("no k-space beside the real MRI")
    for path in files:
        file = read_fastmri(path)
        made = convert_file(file, Conversion())
        stored = convert_file(file, Conversion("rss")).reference.array
        np.testing.assert_allclose(made.reference.array, stored, atol=2e-5 * stored.max())
        assert file.kspace is not None
        assert sum(1 for _ in kspace_slices(file)) == file.kspace[0]
