"""``mdcsrn verify``: a result is sound, and every kind of change to it or to its source is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.record.sidecar import SEAL, plain, read_sidecar, seal


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, interpolated: np.ndarray, save_image: Callable, small_model: Path
) -> Path:
    """A folder with a source and its results, which tests copy."""
    from click.testing import CliRunner

    from mdcsrn.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    source = save_image(interpolated, folder / "in" / "scan.nii.gz")
    mask = save_image((interpolated > 400).astype(np.uint8), folder / "mask.nii.gz")
    tasks = {
        "same": [],
        "fine": ["--factor", "1.5", "1", "1", "--mask", str(mask)],
        "exact": ["--to-spacing", "0.8", "0.8", "0.8", "--exact-field"],
        "off": ["--no-consistency"],
    }
    for name, words in tasks.items():
        output = folder / "out" / f"{name}.nii.gz"
        done = CliRunner().invoke(
            main, ["predict", str(source), "-o", str(output), "--model", str(small_model), "--backend", "eager", *words]
        )
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def checks(mdcsrn: Callable, output: Path, *words: object) -> tuple[int, dict[str, bool | None]]:
    done = mdcsrn("verify", output, "--json", *words)
    shown = json.loads(done.stdout)
    assert shown["passed"] == (done.exit_code == 0)
    return done.exit_code, {check["name"]: check["passed"] for check in shown["checks"]}


def wrong(found: dict[str, bool | None]) -> set[str]:
    return {name for name, passed in found.items() if passed is False}


@pytest.mark.parametrize("name", ["same", "fine", "exact"])
def test_a_sound_result_passes_every_check(mdcsrn: Callable, copy: Path, name: str) -> None:
    code, found = checks(mdcsrn, copy / "out" / f"{name}.nii.gz")
    assert code == 0
    assert set(found) >= {"record", "output", "header", "source", "geometry", "consistency"}
    assert all(passed is True for passed in found.values()), found
    assert ("file-mask" in found) == (name == "fine")


def test_what_cannot_be_checked_is_said(mdcsrn: Callable, copy: Path) -> None:
    code, found = checks(mdcsrn, copy / "out" / "off.nii.gz")
    assert (code, found["consistency"], found["geometry"]) == (0, None, True)
    (copy / "in" / "scan.nii.gz").rename(copy / "elsewhere.nii.gz")
    code, found = checks(mdcsrn, copy / "out" / "same.nii.gz")
    assert (code, found["source"], found["geometry"], found["consistency"]) == (0, None, None, None)
    code, found = checks(mdcsrn, copy / "out" / "same.nii.gz", "--input", copy / "elsewhere.nii.gz")
    assert (code, found["source"], found["consistency"]) == (0, True, True)
    shown = mdcsrn("verify", copy / "out" / "same.nii.gz")
    assert "not checked  source" in shown.stdout


def rewrite(path: Path, change: Callable[[np.ndarray, nib.Nifti1Header, np.ndarray], None]) -> None:
    image = nib.load(path)
    array, affine = np.asarray(image.dataobj).copy(), image.affine.copy()
    change(array, image.header, affine)
    nib.save(nib.Nifti1Image(array, affine, image.header), path)


def test_a_changed_voxel(mdcsrn: Callable, copy: Path) -> None:
    output = copy / "out" / "same.nii.gz"

    def change(array: np.ndarray, header: nib.Nifti1Header, affine: np.ndarray) -> None:
        array[18, 24, 20] += 50

    rewrite(output, change)
    code, found = checks(mdcsrn, output)
    assert code == 3
    assert wrong(found) == {"output", "consistency"}


def test_a_changed_header(mdcsrn: Callable, copy: Path) -> None:
    output = copy / "out" / "same.nii.gz"

    def change(array: np.ndarray, header: nib.Nifti1Header, affine: np.ndarray) -> None:
        affine[0, 3] += 0.5

    rewrite(output, change)
    assert wrong(checks(mdcsrn, output)[1]) == {"output", "header", "geometry"}


def edit(output: Path, change: Callable[[dict], None], again: bool = False) -> None:
    """Change the record; `again` also its seal, as somebody would who knows of it."""
    path = output.with_name(output.name.removesuffix(".nii.gz") + ".json")
    record = json.loads(path.read_text())
    change(record)
    if again:
        record[SEAL] = seal(record)
    path.write_text(json.dumps(record))


def test_a_changed_number_in_the_record(mdcsrn: Callable, copy: Path) -> None:
    output = copy / "out" / "same.nii.gz"
    edit(output, lambda record: record["timings_s"].update(network=0.0))
    assert wrong(checks(mdcsrn, output)[1]) == {"record"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda r: r["certificate"]["after_rounding"].update(relative_error=0.5), {"consistency"}),
        (lambda r: r.update(output_sha256="0" * 64), {"output"}),
        (lambda r: r.update(shape=[20, 96, 85]), {"header"}),
        (lambda r: r["plan"]["padding"][0].__setitem__(0, 1), {"geometry", "consistency"}),
        (lambda r: r["plan"]["measurement"]["axes"][1].update(measured=96), {"consistency"}),
        (lambda r: r.update(plan={}), {"geometry"}),
        (lambda r: r.update(source_sha256="0" * 64), {"source"}),
    ],
)
def test_a_false_record_with_a_fresh_seal(
    mdcsrn: Callable, copy: Path, change: Callable[[dict], None], found: set[str]
) -> None:
    output = copy / "out" / "same.nii.gz"
    edit(output, change, again=True)
    code, seen = checks(mdcsrn, output)
    assert (code, wrong(seen)) == (3, found)


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [place for key, item in items for place in [(*path, key), *leaves(item, (*path, key))]]
    return inner


def test_no_false_record_brings_it_down(mdcsrn: Callable, copy: Path) -> None:
    output = copy / "out" / "fine.nii.gz"
    sound = json.loads((copy / "out" / "fine.json").read_text())
    values = [None, "text", [], {}, -1, 10**12, 1e300, True, "../../../in", [[0] * 4] * 4]
    places = [place for place in leaves(sound) if place[0] != SEAL]
    assert len(places) > 150
    rng = np.random.default_rng(0)
    for place in places:
        record = json.loads(json.dumps(sound))
        holder = record
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = values[rng.integers(len(values))]
        record[SEAL] = seal(record)
        (copy / "out" / "fine.json").write_text(json.dumps(record))
        done = mdcsrn("verify", output)
        assert done.exit_code in (0, 3), (place, done.output, done.exception)


def test_another_source(mdcsrn: Callable, copy: Path, save_image: Callable, interpolated: np.ndarray) -> None:
    other = save_image(interpolated * 2, copy / "other.nii.gz")
    code, found = checks(mdcsrn, copy / "out" / "same.nii.gz", "--input", other)
    assert (code, wrong(found), found["consistency"]) == (3, {"source"}, None)
    (copy / "in" / "scan.nii.gz").write_bytes(other.read_bytes())
    assert wrong(checks(mdcsrn, copy / "out" / "same.nii.gz")[1]) == {"source"}


def test_changed_and_missing_labels(mdcsrn: Callable, copy: Path) -> None:
    output, labels = copy / "out" / "fine.nii.gz", copy / "out" / "fine_mask.nii.gz"
    labels.write_bytes(labels.read_bytes() + b" ")
    assert wrong(checks(mdcsrn, output)[1]) == {"file-mask"}
    labels.unlink()
    code, found = checks(mdcsrn, output)
    assert (code, found["file-mask"]) == (0, None)


def test_a_truncated_volume_and_missing_files(mdcsrn: Callable, copy: Path, tmp_path: Path) -> None:
    output = copy / "out" / "same.nii.gz"
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    assert wrong(checks(mdcsrn, output)[1]) == {"output", "header"}
    for path, words in (
        (tmp_path / "absent.nii.gz", "no such file"),
        (copy / "mask.nii.gz", "no record"),
        (copy / "out", "no such file"),
    ):
        done = mdcsrn("verify", path)
        assert (done.exit_code, words in done.stderr, done.stderr.count("\n")) == (3, True, 1)
    done = mdcsrn("verify", output, "--input", tmp_path / "absent.nii.gz")
    assert (done.exit_code, "absent.nii.gz" in done.stderr) == (3, True)
    output.with_name("same.json").write_text("[1, 2]")
    assert mdcsrn("verify", output).exit_code == 3


def test_a_copied_volume_is_the_input(
    mdcsrn: Callable, make_phantom: Callable, save_image: Callable, tmp_path: Path
) -> None:
    source = save_image(make_phantom(), tmp_path / "full.nii.gz")
    assert mdcsrn("predict", source).exit_code == 0
    output = tmp_path / "full_sr.nii.gz"
    assert all(passed is True for passed in checks(mdcsrn, output)[1].values())

    def change(array: np.ndarray, header: nib.Nifti1Header, affine: np.ndarray) -> None:
        array[0, 0, 0] += 1

    rewrite(output, change)
    assert wrong(checks(mdcsrn, output)[1]) == {"output", "consistency"}


def test_records_are_plain_and_sealed(made: Path) -> None:
    record = read_sidecar(made / "out" / "same.json")
    assert record[SEAL] == seal(record)
    assert plain({"a": np.float32(1.5), "b": (np.int64(2), float("nan")), "c": Path("x/y"), 3: True}) == {
        "a": 1.5, "b": [2, None], "c": "x/y", "3": True,
    }  # fmt: skip
    assert plain(np.arange(3.0)) == [0.0, 1.0, 2.0]
