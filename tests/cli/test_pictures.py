"""Folders of pictures in the commands: class sub-folders are kept, 3D-only commands say so in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import skimage.io
import torch
from click.testing import CliRunner, Result
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mdcsrn.cli.main import main
from mdcsrn.data.inference_list import scans
from mdcsrn.files import sha256
from mdcsrn.io import Volume, read_volume, write_volume
from mdcsrn.io.sources import find_cases, load_case
from mdcsrn.networks import EDSR, save_weights
from mdcsrn.record.sidecar import SEAL, plain, read_sidecar, seal
from mdcsrn.resources import bundle_folder

SIZE = (40, 48)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def picture(path: Path, seed: int) -> Path:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    body = (np.hypot(y - 20, (x - 24) / 1.2) < 15) * 150.0
    noise = np.random.default_rng(seed).normal(0, 20, SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(body + np.abs(noise), 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """``all/T1w/p0_s0.png`` to ``all/T2w/p2_s1.png``: the same names in both classes."""
    for index, kind in enumerate(("T1w", "T2w")):
        for person in range(3):
            for plane in range(2):
                picture(tmp_path / "all" / kind / f"p{person}_s{plane}.png", 10 * index + 3 * plane + person)
    return tmp_path / "all"


def names(folder: Path, ending: str = ".png") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ending}"))


def test_degrade_and_evaluate_keep_class_folders(classes: Path, tmp_path: Path) -> None:
    low = tmp_path / "low"
    result = run("degrade", classes, "-o", low, "--spec", "hcp_2x2")
    assert result.exit_code == 0, result.output
    assert names(low) == names(classes)
    assert names(low, ".json") == [name.replace(".png", ".json") for name in names(classes)]
    one = skimage.io.imread(classes / "T1w/p1_s0.png").astype(float)
    kept = [np.abs(np.rint(np.fft.fftfreq(n, 1 / n))) < n / 4 for n in SIZE]
    exact = np.fft.ifft2(np.fft.fft2(one) * np.outer(*kept)).real
    np.testing.assert_allclose(skimage.io.imread(low / "T1w/p1_s0.png"), np.clip(np.rint(exact), 0, 255), atol=1)
    clipped = np.count_nonzero((np.rint(exact) < 0) | (np.rint(exact) > 255))
    warnings = json.loads((low / "T1w/p1_s0.json").read_text())["warnings"]
    assert clipped > 0
    assert warnings == [f"{clipped} of {one.size} pixels lay beyond uint8 and were clipped"]

    result = run("evaluate", "--prediction", low, "--reference", classes, "--json", tmp_path / "f.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert [row["subject"] for row in rows[::2]] == [name.removesuffix(".png") for name in names(classes)]
    volume = next(row for row in rows if (row["subject"], row["region"]) == ("T2w/p2_s1", "volume"))
    truth, made = (skimage.io.imread(root / "T2w/p2_s1.png").astype(float) for root in (classes, low))
    peak = np.percentile(truth, 99.9)
    assert volume["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=peak), abs=1e-3)
    maps = structural_similarity(
        truth, made, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1]
    assert volume["ssim"] == pytest.approx(maps.mean(), abs=1e-4), "one plane: the 3D window is the 2D one"


def test_the_head_of_a_picture_has_its_holes_filled(tmp_path: Path) -> None:
    truth = np.zeros(SIZE, np.uint8)
    truth[8:32, 8:40] = 200
    truth[15:25, 18:30] = 0
    for name, array in (("truth", truth), ("made", np.where(truth > 0, truth, 20).astype(np.uint8))):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    files = ("--prediction", tmp_path / "made.png", "--reference", tmp_path / "truth.png")
    assert run("evaluate", *files, "--json", tmp_path / "f.json").exit_code == 0
    head = json.loads((tmp_path / "f.json").read_text())["rows"][0]
    assert head["nrmse"] == pytest.approx(np.sqrt(10 * 12 * 20**2 / (24 * 32)) / 200, rel=1e-4)


def test_pictures_that_differ_by_the_rounding_of_their_pixel_size_are_compared(tmp_path: Path) -> None:
    array = np.asarray(Image.open(picture(tmp_path / "x.png", 1)))
    for name, per_metre in (("a", 2227), ("b", 2228), ("far", 2300)):
        Image.fromarray(array).save(tmp_path / f"{name}.png", dpi=(per_metre * 0.0254,) * 2)
    assert run("evaluate", "--prediction", tmp_path / "b.png", "--reference", tmp_path / "a.png").exit_code == 0
    result = run("evaluate", "--prediction", tmp_path / "far.png", "--reference", tmp_path / "a.png")
    assert result.exit_code == 3
    assert "different affines" in str(result.output)


def test_data_folder_and_inference_lists(classes: Path, tmp_path: Path) -> None:
    output = tmp_path / "list.json"
    result = run("data", "folder", classes, "-o", output, "--subject-pattern", r"(p\d)_s")
    assert result.exit_code == 0, result.output
    content = json.loads(output.read_text())
    listed = {entry["image"]: entry["subject"] for key in ("training", "validation", "test") for entry in content[key]}
    assert listed == {f"all/{name}": name[4:6] for name in names(classes)}
    assert "1x40x48" in result.output
    assert scans(classes, tmp_path, {}) == [{"image": str(classes / name)} for name in names(classes)]
    cases = find_cases(classes)
    assert [case.name for case in cases] == [name.removesuffix(".png") for name in names(classes)]
    scan = load_case(cases[0])
    assert (scan.kind, scan.volume.shape) == ("png", (1, *SIZE))


def test_beside_volumes_pictures_are_previews(classes: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((8, 9, 10)).astype(np.float32)
    for folder in (classes, tmp_path / "flat"):
        write_volume(Volume(array, np.eye(4)), folder / "p0_s0.nii.gz")
    picture(tmp_path / "flat" / "p0_s0.png", 1)
    for folder in (classes, tmp_path / "flat"):
        assert [case.path.name for case in find_cases(folder)] == ["p0_s0.nii.gz"]
        assert scans(folder, tmp_path, {}) == [{"image": str(folder / "p0_s0.nii.gz")}]
    flat = tmp_path / "flat"
    assert run("evaluate", "--prediction", flat, "--reference", flat).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "sr.nii.gz"), "is a picture of one plane, and the network MDCSRN is 3D"),
        (("-o", "sr.png", "--dry-run"), "is a picture of one plane, and the network MDCSRN is 3D"),
        (("-o", "sr.jpg"), "JPEG loses values"),
        (("-o", "sr.nii.gz", "--dicom-out", "series"), "is no DICOM series"),
    ],
)
def test_3d_only_commands_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png", 1)
    result = run("predict", "a.png", *arguments)
    assert result.exit_code != 0
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert words in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_info_describes_a_picture(tmp_path: Path) -> None:
    result = run("info", picture(tmp_path / "a.png", 1))
    assert result.exit_code == 0, result.output
    assert "png, 1 x 40 x 48 voxels of uint8" in result.output
    assert "rows down, columns across" in result.output
    assert "predict refuses it: the network is 3D" in result.output


def test_degrade_takes_folders_of_volumes_too(tmp_path: Path, numpy_low_pass: Callable) -> None:
    array = np.random.default_rng(0).random((8, 9, 10)).astype(np.float32)
    write_volume(Volume(array, np.eye(4)), tmp_path / "in" / "sub" / "a.nii.gz")
    nib.freesurfer.MGHImage(array, np.eye(4)).to_filename(tmp_path / "in" / "b.mgh")  # a format that is not written
    picture(tmp_path / "in" / "preview.png", 1)
    result = run("degrade", tmp_path / "in", "-o", tmp_path / "low", "--spec", "hcp_2x2")
    assert result.exit_code == 0, result.output
    files = sorted(path.relative_to(tmp_path / "low").as_posix() for path in (tmp_path / "low").rglob("*.*"))
    assert files == ["b.json", "b.nii.gz", "sub/a.json", "sub/a.nii.gz"]
    for name in ("b", "sub/a"):
        low = read_volume(tmp_path / "low" / f"{name}.nii.gz").array
        np.testing.assert_allclose(low, numpy_low_pass(array, (1, 2, 2)), atol=1e-5)
    write_volume(Volume(array, np.eye(4)), tmp_path / "in" / "b.nii")
    result = run("degrade", tmp_path / "in", "-o", tmp_path / "two", "--spec", "hcp_2x2")
    assert result.exit_code == 3
    assert "would give one result" in result.output


def test_degrade_lists_the_bad_and_does_the_rest(classes: Path, tmp_path: Path) -> None:
    (classes / "T1w" / "p0_s0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run("degrade", classes, "-o", tmp_path / "low", "--spec", "hcp_2x2")
    assert result.exit_code == 3
    assert "p0_s0.png is truncated" in result.output
    assert "1 of 12 images" in result.output
    assert len(names(tmp_path / "low")) == 11
    for output, words in ((classes / "low", "lies in"), (tmp_path / "f", "is a file")):
        (tmp_path / "f").write_text("old")
        result = run("degrade", classes, "-o", output, "--spec", "hcp_2x2")
        assert result.exit_code == 7
        assert words in result.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "x.pt", EDSR(width=8, blocks=2))
    return tmp_path / "x.pt"


def verified(output: Path, source: Path) -> dict[str, tuple[bool | None, str]]:
    shown = run("verify", output, "--input", source, "--json")
    return {check["name"]: (check["passed"], check["text"]) for check in json.loads(shown.stdout)["checks"]}


def with_output_hash(output: Path) -> None:
    """The record of a changed file, its own hash and seal made to fit: what is left must be found in the file."""
    record = read_sidecar(output.with_suffix(".json"))
    record["output_sha256"] = sha256(output)
    record[SEAL] = seal(record)
    output.with_suffix(".json").write_text(json.dumps(plain(record)))


def test_verify_judges_what_a_png_holds(tmp_path: Path, model: Path) -> None:
    array = np.asarray(Image.open(picture(tmp_path / "a.png", 1)))
    Image.fromarray(array).save(tmp_path / "a.png", dpi=(25.4 / 0.7, 25.4 / 0.9))
    output = tmp_path / "out.png"
    page = tmp_path / "page.html"
    assert run("predict", tmp_path / "a.png", "-o", output, "--model", model, "--report", page).exit_code == 0
    found = verified(output, tmp_path / "a.png")
    costs = float(found["consistency"][1].split()[2])  # of the clipped pixels above all
    assert costs > 1e-4
    assert f"As stored in the file, after rounding to its number type: {costs:.1e}" in page.read_text()
    assert "clipped-pixels" in page.read_text()
    assert {passed for passed, _ in found.values()} == {True}
    assert "pixel size" in found["header"][1]
    assert "states no position" in found["geometry"][1]
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["spacing_mm"][1:] == pytest.approx([0.45, 0.35], rel=1e-3)
    np.testing.assert_allclose(record["affine"], np.diag([1, 0.45, 0.35, 1]), rtol=1e-3, atol=1e-6)

    pixels = np.asarray(Image.open(output))
    Image.fromarray(pixels).save(output, dpi=(25.4 / 0.35, 25.4 / 0.46))  # rows of 0.46 mm, not 0.45 mm
    with_output_hash(output)
    found = verified(output, tmp_path / "a.png")
    assert {name for name, (passed, _) in found.items() if passed is False} == {"header", "geometry"}
    assert "pixels of 0.46 x 0.35 mm, not 0.45 x" in found["header"][1]
    Image.fromarray(pixels[:-2]).save(output, dpi=(25.4 / 0.35, 25.4 / 0.45))
    with_output_hash(output)
    found = verified(output, tmp_path / "a.png")
    assert {name for name, (passed, _) in found.items() if passed is False} == {"header", "geometry", "consistency"}


def test_maps_beside_a_picture_are_nifti_and_labels_png(tmp_path: Path, model: Path) -> None:
    scan, output = picture(tmp_path / "a.png", 1), tmp_path / "out.png"
    labels = (np.asarray(Image.open(scan)) > 100).astype(np.uint8) * 7
    Image.fromarray(labels).save(tmp_path / "labels.png")
    words = ("predict", scan, "-o", output, "--model", model, "--uncertainty", "--mask", tmp_path / "labels.png")
    assert run(*words).exit_code == 0
    for role in ("mean", "spread", "invention"):
        loaded = nib.load(tmp_path / f"out_{role}.nii.gz")
        assert (loaded.shape, loaded.get_data_dtype()) == ((1, 80, 96), np.dtype(np.float32))
    mean = nib.load(tmp_path / "out_mean.nii.gz").get_fdata()[0]
    difference = np.abs(mean - skimage.io.imread(output))[8:-8, 8:-8]
    assert np.median(difference) < 10, "the mean of the flips is the picture again, not scaled to eight bits"
    carried = skimage.io.imread(tmp_path / "out_mask.png")
    np.testing.assert_array_equal(carried[::2, ::2], labels)
    assert "done before" in run(*words, "--resume").output
    assert {passed for passed, _ in verified(output, scan).values()} == {True}
    for name, array in (("half", labels * 0.5), ("below", labels.astype(np.float32) - 1)):
        nib.save(nib.Nifti1Image(array[None].astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
        result = run(
            "predict", scan, "-o", tmp_path / "no.png", "--model", model, "--mask", tmp_path / f"{name}.nii.gz"
        )
        assert result.exit_code != 0
        assert "the labels do not fit a PNG" in result.output
        assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "alpha.png", "--model", "x.pt"), "alpha.png has an alpha channel"),
        (("predict", "palette.png", "--model", "x.pt"), "palette.png has a palette of colours"),
        (("predict", "a.png", "--model", "x.pt", "--factor", 3, 3, 1), "remedy: --factor 1 2 2"),
        (("predict", "a.png", "--model", "x.pt", "--same-grid"), "leave --same-grid out"),
        (("predict", "a.png", "--model", "x.pt", "--dicom-out", "series"), "is no DICOM series"),
        (("predict", "a.png", "--model", "colour.pt"), "holds a network of 3 channels, and a scan has one"),
        (("info", "a.png", "--model", "colour.pt"), "holds a network of 3 channels"),
        (("bundle", "export", "edsr_x2", "--model", "colour.pt", "--format", "onnx", "-o", "x.onnx"), "3 channels"),
        (("benchmark", "a.png", "--model", "colour.pt"), "holds a network of 3 channels"),
        (("benchmark", "a.png"), "is a picture of one plane, and the network MDCSRN is 3D"),
        (("bids", "dataset", "out", "participant", "--model", "x.pt"), "pictures go through `mdcsrn predict FOLDER`"),
        (("predict", "a.png", "--bundle", "empty"), "the bundle empty has no weights yet"),
    ],
)
def test_what_does_not_fit_a_picture_is_one_line(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    grey = np.asarray(Image.open(picture(tmp_path / "a.png", 1)))
    colour = np.stack([grey, grey // 2, grey // 3], -1)
    Image.fromarray(np.dstack([colour, np.full(grey.shape, 255, np.uint8)])).save("alpha.png")
    Image.fromarray(colour).quantize(32).save("palette.png")
    save_weights("colour.pt", EDSR(width=8, blocks=1, channels=3))
    picture(tmp_path / "dataset" / "sub-1" / "anat" / "sub-1_T1w.png", 2)
    (tmp_path / "dataset" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    shutil.copytree(bundle_folder("edsr_x2"), "empty", ignore=shutil.ignore_patterns("models"))
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run(*arguments)
    assert result.exit_code != 0
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert words in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_network_of_one_channel_takes_colours_as_grey(tmp_path: Path, model: Path) -> None:
    grey = np.asarray(Image.open(picture(tmp_path / "a.png", 1)))
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "rgb.png")
    for name in ("a", "rgb"):
        assert (
            run("predict", tmp_path / f"{name}.png", "-o", tmp_path / f"{name}_sr.png", "--model", model).exit_code == 0
        )
    np.testing.assert_array_equal(*(skimage.io.imread(tmp_path / f"{name}_sr.png") for name in ("a", "rgb")))
