"""Scans, sidecars and DICOM slices that were not fetched, through every door by which scans come in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdcsrn.cli.main import main
from mdcsrn.errors import DataError
from mdcsrn.io.formats import read_image, read_image_header
from mdcsrn.io.sources import find_cases, load_case

KEY = "MD5E-s3417067--0123456789abcdef0123456789abcdef"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3417067\n"


def link(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(f"../.git/annex/objects/a1/b2/{KEY}/{KEY}")
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nii.zst", ".mgz", ".mgh.gz", ".nrrd", ".mha", ".hdr", ".img"])
@pytest.mark.parametrize("lfs", [False, True])
def test_images(tmp_path: Path, ending: str, lfs: bool) -> None:
    path = tmp_path / f"scan{ending}"
    if lfs:
        path.write_text(LFS)
    else:
        link(path)
    for read in (read_image, read_image_header, find_cases):
        with pytest.raises(DataError, match="git lfs pull" if lfs else "datalad get"):
            read(path)


@pytest.mark.parametrize(("header", "voxels"), [(".hdr", ".img"), (".nhdr", ".raw"), (".mhd", ".raw")])
def test_voxels_beside_a_header_that_is_there(tmp_path: Path, header: str, voxels: str, write_as: Callable) -> None:
    path = write_as(tmp_path, header)
    for file in tmp_path.iterdir():
        if file.name.endswith((voxels, voxels + ".gz")):
            file.unlink()
            link(file)
    with pytest.raises(DataError, match=f"scan{voxels} was not fetched.*datalad get"):
        read_image(path)


def test_a_folder_of_scans(tmp_path: Path, save_nifti: Callable) -> None:
    save_nifti(tmp_path / "there.nii.gz")
    link(tmp_path / "absent.nii.gz")
    (tmp_path / "pointer.nii.gz").write_text(LFS)
    errors = {case.name: case.error for case in find_cases(tmp_path)}
    assert errors["there"] is None
    assert "datalad get" in str(errors["absent"])
    assert "git lfs pull" in str(errors["pointer"])


@pytest.mark.parametrize("lfs", [False, True])
def test_a_sidecar_is_left_out_with_a_warning(tmp_path: Path, lfs: bool, save_nifti: Callable) -> None:
    path = save_nifti(tmp_path / "scan_T1w.nii.gz")
    if lfs:
        path.with_name("scan_T1w.json").write_text(LFS)
    else:
        link(path.with_name("scan_T1w.json"))
    warnings = load_case(find_cases(path)[0]).volume.warnings
    assert any("sidecar" in line and ("git lfs pull" if lfs else "datalad get") in line for line in warnings)


def test_a_folder_of_nothing_but_links_to_slices(tmp_path: Path) -> None:
    for k in range(3):
        link(tmp_path / f"study/series/IM{k:04}")
    link(tmp_path / "study/README")
    (case,) = find_cases(tmp_path)
    assert case.name == "study/series"
    assert "3 files" in str(case.error)
    assert "datalad get" in str(case.error)


def test_a_zip(tmp_path: Path) -> None:
    link(tmp_path / "series.zip")
    with pytest.raises(DataError, match="datalad get"):
        find_cases(tmp_path / "series.zip")
    (case,) = find_cases(tmp_path)
    assert "datalad get" in str(case.error)


@pytest.mark.parametrize(
    "words",
    [
        "predict {s}", "predict {s} --dry-run", "info {s}", "degrade {s} -o {o} --spec hcp_2x2",
        "evaluate --prediction {s} --reference {g}", "evaluate --prediction {g} --reference {s}", "verify {s}",
        "data folder {d} -o {o}",
    ],
)  # fmt: skip
def test_every_command_names_the_remedy(tmp_path: Path, words: str, save_nifti: Callable) -> None:
    good = save_nifti(tmp_path / "good.nii.gz")
    scan = link(tmp_path / "data/sub-01_T1w.nii.gz")
    arguments = words.format(s=scan, g=good, o=tmp_path / "out.nii.gz", d=scan.parent).split(" ")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code != 0
    assert f"{scan} was not fetched" in f"{done.output} {done.exception}"
    assert "datalad get" in f"{done.output} {done.exception}"


def test_bids(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.8.0"}))
    link(tmp_path / "data/sub-01/anat/sub-01_T1w.nii.gz")
    arguments = ["bids", str(tmp_path / "data"), str(tmp_path / "out"), "participant", "--json", "--dry-run"]
    done = CliRunner().invoke(main, arguments)
    (case,) = json.loads(done.stdout)
    assert "datalad get" in str(case["error"])
    assert done.exit_code != 0


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("lfs", [False, True])
def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lfs: bool) -> None:
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.networks.weights import read_weights

    path = tmp_path / name
    if lfs:
        path.write_text(LFS)
    else:
        link(path)
    with pytest.raises(DataError, match="git lfs pull" if lfs else "datalad get"):
        read_weights(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="was not fetched"):
        _ = find_model(model=name).network


@pytest.mark.parametrize("lfs", [False, True])
def test_weights_of_a_bundle(tmp_path: Path, lfs: bool) -> None:
    from mdcsrn.bundle.check import check
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.resources import bundle_folder

    home = tmp_path / "bundle"
    shutil.copytree(bundle_folder("mdcsrn_wgan_gp"), home)
    for path in (home / "models").iterdir():
        path.unlink()
        if path.name.startswith("model.") and lfs:
            path.write_text(LFS)
        elif path.name.startswith("model."):
            link(path)
    with pytest.raises(DataError, match="was not fetched"):
        _ = find_model(bundle=home).network
    if lfs:  # a link is refused as one
        with pytest.raises(DataError, match="was not fetched"):
            check(home)
