"""`python -m monai.bundle run --config_file configs/inference.yaml` on bad input: one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN


def test_two_scans_with_one_output_name_are_refused(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    for suffix in (".nii", ".nii.gz"):
        save(make_head((16, 14, 12)), tmp_path / "in" / f"a{suffix}")
    done = infer(tmp_path / "in")
    assert done.code != 0
    assert done.last_line.startswith("error: ")
    assert "a.nii" in done.last_line
    assert files(tmp_path / "out") == []


def nan(array: np.ndarray, path: Path, save: Callable) -> None:
    array = array.copy()
    array[3, 4, 5] = np.nan
    save(array, path)


def truncated(array: np.ndarray, path: Path, save: Callable) -> None:
    save(array, path)
    path.write_bytes(path.read_bytes()[:-2000])


def flipped(array: np.ndarray, path: Path, save: Callable) -> None:
    """One byte of the packed data: nibabel alone may not notice."""
    save(array, path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF  # the length that closes a gzip file
    path.write_bytes(content)


def singular(array: np.ndarray, path: Path, save: Callable) -> None:
    save(array, path, np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))


BAD_VOLUMES: dict[str, Callable[[np.ndarray, Path, Callable], object]] = {
    "missing": lambda array, path, save: None,
    "nan": nan,
    "4d": lambda array, path, save: save(np.stack([array, array], -1), path),
    "2d": lambda array, path, save: save(array[0], path),
    "zero": lambda array, path, save: save(np.zeros_like(array), path),
    "truncated": truncated,
    "checksum": flipped,
    "text": lambda array, path, save: path.write_text("this is no image"),
    "empty": lambda array, path, save: path.write_bytes(b""),
    "singular": singular,
}


@pytest.mark.parametrize("kind", BAD_VOLUMES)
def test_a_bad_volume_is_named(
    kind: str, infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    path = tmp_path / "scan.nii.gz"
    BAD_VOLUMES[kind](make_head((16, 14, 12)), path, save)
    done = infer(path)
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line
    assert files(tmp_path / "out") == []


def test_a_folder_without_scans_is_named(infer: Callable, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no scan")
    done = infer(tmp_path / "in")
    assert done.code != 0
    assert done.last_line.startswith(f"error: {tmp_path / 'in'}")


def other_network(path: Path) -> None:
    save_weights(path, MDCSRN(blocks=1, units=1, growth=4))


BAD_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "garbage": lambda path: path.write_bytes(b"PK\x03\x04 not a checkpoint"),
    "other network": other_network,
    "foreign": lambda path: torch.save({"state_dict": {"a": torch.zeros(3)}}, path),
    "code": lambda path: torch.save({"model": Path("x"), "network": {}}, path),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_named(
    kind: str, infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    source, path = save(make_head((16, 14, 12)), tmp_path / "head.nii.gz"), tmp_path / "model.pt"
    BAD_WEIGHTS[kind](path)
    done = infer(source, f"--checkpoint={path}")
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line
    assert files(tmp_path / "out") == []


def test_truncated_weights_are_named(
    infer: Callable, make_head: Callable, save: Callable, weights: Path, tmp_path: Path
) -> None:
    source, path = save(make_head((16, 14, 12)), tmp_path / "head.nii.gz"), tmp_path / "model.pt"
    path.write_bytes(weights.read_bytes()[:-500])
    done = infer(source, f"--checkpoint={path}")
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line


def test_an_output_folder_below_a_file_is_named(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path
) -> None:
    source = save(make_head((16, 14, 12)), tmp_path / "head.nii.gz")
    (tmp_path / "file").write_text("in the way")
    done = infer(source, output=tmp_path / "file" / "out")
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(tmp_path / "file") in done.last_line
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--max_memry=2", "max_memry"),
        ("--network_def#block=1", "block"),
        ("--precision=float8", "float8"),
        ("--max_memory=-1", "-1"),
        ("--max_memory=1e-6", "memory"),
        ("--degradation#reduction=[1, 0.5, 2]", "0.5"),
        ("--degradation#window=bx", "bx"),
    ],
)
def test_bad_settings_are_named(
    option: str, words: str, infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    done = infer(save(make_head((16, 14, 12)), tmp_path / "head.nii.gz"), option)
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert words in done.last_line
    assert files(tmp_path / "out") == []


def test_the_good_before_a_bad_one_are_whole(
    infer: Callable, make_head: Callable, save: Callable, tmp_path: Path, files: Callable
) -> None:
    save(make_head((16, 14, 12)), tmp_path / "in" / "a.nii.gz")
    save(np.zeros((16, 14, 12), np.float32), tmp_path / "in" / "b.nii.gz")
    done = infer(tmp_path / "in")
    assert done.code != 0
    assert "b.nii.gz" in done.last_line
    assert files(tmp_path / "out") == ["a_sr.nii.gz"]
    assert np.isfinite(nib.load(tmp_path / "out" / "a_sr.nii.gz").get_fdata()).all()
