"""Where files may be written: limits of names on this very disk, and inputs under whatever name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mdcsrn import targets
from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_write_text


@pytest.mark.parametrize("letter", ["a", "é", "脳"])
def test_the_longest_name_of_the_disk_is_written_and_one_byte_more_is_told(tmp_path: Path, letter: str) -> None:
    """What passes the check can be written, by way of a hidden file; what does not is refused by the system too."""
    size = len(letter.encode())
    count = (os.pathconf(tmp_path, "PC_NAME_MAX") - len(".nii.gz")) // size
    name = letter * count + ".nii.gz"
    targets.check_length(tmp_path / name, "")
    atomic_write_text(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"
    with pytest.raises(OutputError, match=r"too long for the disk.*bytes.*shorter"):
        targets.check_length(tmp_path / (letter + name), "shorter")
    with pytest.raises(OSError, match="too long"):
        (tmp_path / (letter + name)).write_text("")


def test_a_narrow_disk_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """eCryptfs takes 143 bytes."""
    monkeypatch.setattr(os, "pathconf", lambda path, name: 143 if name == "PC_NAME_MAX" else 4096)
    targets.check_length(tmp_path / "not" / "there" / ("a" * 143), "")
    over = targets.excess(tmp_path / "not" / "there" / ("a" * 150))
    assert over is not None
    assert over[1:] == (150, 143, 7)


def test_a_path_that_fits_only_without_its_hidden_folder_is_told(tmp_path: Path) -> None:
    limit = os.pathconf(tmp_path, "PC_PATH_MAX") - 1
    room = limit - len(os.fsencode(tmp_path)) - len("/scan.nii.gz")
    deep = tmp_path / "/".join(["d" * 99] * (room // 100))
    path = deep / ("x" * (limit - len(os.fsencode(deep)) - 1 - 10))  # ten bytes short of the limit
    assert len(os.fsencode(path)) <= limit
    with pytest.raises(OutputError, match="the path"):
        targets.check_length(path, "")


def test_an_input_is_known_under_every_name(tmp_path: Path) -> None:
    source = tmp_path / "in" / "scan.nii.gz"
    source.parent.mkdir()
    source.write_text("voxels")
    (tmp_path / "link").symlink_to(source.parent)
    (tmp_path / "file").symlink_to(source)
    os.link(source, tmp_path / "hard.nii.gz")
    inputs = targets.Inputs([source])
    for name in ("in/scan.nii.gz", "link/scan.nii.gz", "file", "hard.nii.gz", "in/../in/scan.nii.gz"):
        assert inputs.holds(tmp_path / name), name
    assert not inputs.holds(tmp_path / "in" / "other.nii.gz")
    assert inputs.below(tmp_path)
    assert not inputs.below(tmp_path / "in" / "scan")


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        ({"software": "mdcsrn 0.1.0", "record_sha256": "0"}, True),
        ({"software": "mdcsrn 0.1.0", "degradation": {}}, True),
        ({"weights_sha256": "0", "trained_range": None, "load": "x"}, True),
        ({"EchoTime": 0.003, "ConversionSoftware": "dcm2niix"}, False),
        ({"software": None}, False),
        (["software", "mdcsrn"], False),
    ],
)
def test_whose_record_it_is(tmp_path: Path, content: object, ours: bool) -> None:
    path = tmp_path / "scan.json"
    path.write_text(json.dumps(content))
    assert (targets.read_own_record(path) is not None) is ours
    path.write_bytes(b"\xff\xfe not JSON")
    assert targets.read_own_record(path) is None
