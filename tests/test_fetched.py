"""Links and pointers whose content was not fetched: named with a command that fetches it; everything else is let be."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched, unfetched
from mdcsrn.files import read_text

KEY = "MD5E-s3417067--0123456789abcdef0123456789abcdef"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3417067\n"
POINTERS = {
    "annex, unlocked": f"/annex/objects/{KEY}.nii.gz\n",
    "annex, a link as text": f"../../.git/annex/objects/a1/b2/{KEY}/{KEY}.nii.gz",
    "annex, a link as text in a submodule": f"../.git/modules/sub/annex/objects/a1/b2/{KEY}/{KEY}",
    "lfs": LFS,
}


def make(path: Path, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(f"../.git/annex/objects/a1/b2/{KEY}/{KEY}")
    else:
        path.write_text(POINTERS[kind])
    return path


@pytest.mark.parametrize("kind", ["link", *POINTERS])
@pytest.mark.parametrize("name", ["scan.nii.gz", "it's a scan.nii", "IM0001", "scan.json"])
def test_what_was_not_fetched_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    (tmp_path / "data/.git").mkdir(parents=True)
    path = make(tmp_path / "data/sub" / name, kind)
    error = unfetched(path)
    assert error is not None
    assert str(path) in error.what
    assert "was not fetched" in error.what
    command = "git -C {} lfs pull --include" if kind == "lfs" else "git -C {} annex get"
    assert command.format(tmp_path / "data") in str(error.remedy)
    assert ("datalad get" in str(error.remedy)) == (kind != "lfs")
    with pytest.raises(DataError, match="was not fetched"):
        read_text(path)
    monkeypatch.chdir(tmp_path / "data")
    inside = str(unfetched(Path("sub") / name))
    assert ("git lfs pull --include" if kind == "lfs" else "git annex get") in inside
    if "'" not in name:
        assert f"sub/{name}`" in inside


def test_a_link_that_leads_nowhere_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "a.nii").symlink_to("gone/b.nii")
    error = unfetched(tmp_path / "a.nii")
    assert error is not None
    assert "is a link to a file that is not there" in error.what
    assert error.got == "gone/b.nii"


def test_a_link_over_a_link_into_an_annex(tmp_path: Path) -> None:
    make(tmp_path / "data/first.nii", "link")
    (tmp_path / "second.nii").symlink_to("data/first.nii")
    assert "git-annex" in str(unfetched(tmp_path / "second.nii"))


def test_a_dataset_within_a_dataset(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitmodules").write_text('[submodule "sub-01"]\n\tpath = inputs/sub-01\n\turl = ./x\n')
    for name in ("inputs/sub-01", "inputs/empty"):
        (tmp_path / name).mkdir(parents=True)
    assert "datalad get" in str(unfetched(tmp_path / "inputs/sub-01"))
    assert unfetched(tmp_path / "inputs/empty") is None
    (tmp_path / "inputs/sub-01/a.nii").write_bytes(b"")
    check_fetched(tmp_path / "inputs/sub-01")


def test_all_else_is_let_be(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    (tmp_path / "b.nii").symlink_to("a.nii")
    (tmp_path / "text.txt").write_text(f"see /annex/objects/{KEY}\n")
    (tmp_path / "large").write_bytes(POINTERS["annex, unlocked"].encode() + bytes(40_000))
    (tmp_path / "c.json").write_text(json.dumps({"a": 1}))
    for name in ("a.nii", "b.nii", "text.txt", "large", "c.json", "absent", "."):
        check_fetched(tmp_path / name)
