"""`mdcsrn predict` killed before any one of its changes of the disk: nothing half, and the same command completes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

ROOT = Path(__file__).resolve().parents[2]
SLICES = 6


class Server:
    """Runs commands in forks that can kill themselves; see kill_server.py."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kill_server.py"))], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.said = ""

    def run(self, arguments: list[str], root: Path, kill_at: int = 0) -> tuple[int, list[list[str]]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "root": str(root), "kill_at": kill_at}) + "\n")
        self.process.stdin.flush()
        code, changes, self.said = json.loads(self.process.stdout.readline())
        return code, changes


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    with made.process:
        yield made
        assert made.process.stdin is not None
        made.process.stdin.close()


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory, make_head: Callable[..., np.ndarray]) -> Path:
    """Six slices of 24 x 20, made with pydicom alone."""
    folder = tmp_path_factory.mktemp("dicom") / "series"
    folder.mkdir()
    voxels = make_head((20, 24, SLICES)).astype(np.uint16)
    for k in range(SLICES):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.3.4.{k}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
        ds.Modality, ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "MR", "A^B", "1", 3, k + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 1.5 * k]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 1.5
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 24, 20
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = voxels[:, :, k].T.tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        pydicom.dcmwrite(folder / f"{k}.dcm", ds, enforce_file_format=True)
    return folder


class Result:
    """Where everything of a result goes, and the command that makes it."""

    def __init__(self, root: Path, series: Path, weights: Path, *more: str) -> None:
        self.root = root
        self.volume, self.record = root / "out" / "a_sr.nii.gz", root / "out" / "a_sr.json"
        self.page, self.derived = root / "pages" / "a.html", root / "out" / "derived"
        self.words = [
            "predict", str(series), "-o", str(self.volume), "--dicom-out", str(self.derived), "--report",
            str(self.page), "--uncertainty", "--factor", "1", "1", "1.5", "--model", str(weights), "--backend", "eager",
            "--precision", "float32", *more,
        ]  # fmt: skip

    def hidden(self) -> list[Path]:
        return [path for path in self.root.rglob(".*") if not any(p.name[:1] == "." for p in path.parents)]

    def check(self) -> bool:
        """True where a record is there; what lies under final names is whole in any case."""
        for path in self.root.glob("out/*.nii.gz"):
            assert np.isfinite(nib.load(path).get_fdata()).all()
        if self.page.exists():
            assert self.page.read_text().rstrip().endswith("</html>")
        if self.derived.exists():
            numbers = [pydicom.dcmread(path).InstanceNumber for path in self.derived.iterdir()]
            assert sorted(numbers) == list(range(1, SLICES * 3 // 2 + 1))
        if not self.record.exists():
            return False
        record = json.loads(self.record.read_text())
        digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()  # noqa: E731
        assert digest(self.volume) == record["output_sha256"]
        for file in record["files"].values():
            assert digest(self.volume.parent / file["path"]) == file["sha256"], file
        files = sorted(self.derived.iterdir())
        listed = "\n".join(f"{path.name} {digest(path)}" for path in files)
        assert hashlib.sha256(listed.encode()).hexdigest() == record["dicom"]["sha256"]
        return True

    def settings(self) -> Any:
        return json.loads(self.record.read_text())["settings"]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, server: Server, series: Path, weights: Path) -> Path:
    """A folder with a result made under another setting."""
    root = tmp_path_factory.mktemp("older") / "root"
    result = Result(root, series, weights, "--region", "all")
    assert server.run(result.words, root)[0] == 0, server.said
    assert result.check()
    assert result.hidden() == []
    return root


def kill_and_run_again(server: Server, result: Result, number: int, old: Any, resume: bool) -> None:
    code, changes = server.run(result.words, result.root, number)
    assert code == -signal.SIGKILL, (number, server.said)
    last = changes[-1]
    result.check()
    again = [*result.words, *(["--resume"] if resume else [])]
    code, _ = server.run(again, result.root)
    assert code == 0, (number, last, server.said)
    assert result.check(), last
    assert result.settings() != old
    assert result.hidden() == [], last


def visible(change: list[str], root: Path) -> bool:
    return any(not any(part[0] == "." for part in Path(p).relative_to(root).parts)
               for p in change[1:] if p.startswith(str(root)))  # fmt: skip


def changes_of(server: Server, older: Path, folder: Path, series: Path, weights: Path) -> list[list[str]]:
    result = Result(folder / "traced", series, weights)
    shutil.copytree(older, result.root)
    code, changes = server.run(result.words, result.root)
    assert code == 0, server.said
    assert result.hidden() == []
    return changes


def test_killed_around_each_move_to_a_final_name(
    tmp_path: Path, server: Server, older: Path, series: Path, weights: Path
) -> None:
    changes = changes_of(server, older, tmp_path, series, weights)
    old = Result(older, series, weights).settings()
    moments = [
        n for n, change in enumerate(changes, 1) if change[0] != "mkdir" and visible(change, tmp_path / "traced")
    ]
    assert len(moments) >= 9  # the old record goes; page, volume, three maps, the old series, the new one, the record
    after = moments[-1] + 1  # all is in place, and the hidden folders are still there
    for number in (*moments, after):
        result = Result(tmp_path / f"kill{number}", series, weights)
        shutil.copytree(older, result.root)
        kill_and_run_again(server, result, number, old, resume=number == after)


@pytest.mark.long
def test_killed_before_every_change(tmp_path: Path, server: Server, older: Path, series: Path, weights: Path) -> None:
    changes = changes_of(server, older, tmp_path, series, weights)
    old = Result(older, series, weights).settings()
    print(len(changes), "changes")
    for number in range(1, len(changes) + 1):
        result = Result(tmp_path / "killed", series, weights)
        shutil.copytree(older, result.root)
        kill_and_run_again(server, result, number, old, resume=number % 2 == 0)
        shutil.rmtree(result.root)


@pytest.mark.long
def test_killed_again_and_again(tmp_path: Path, server: Server, older: Path, series: Path, weights: Path) -> None:
    """Each run is killed at a later moment than the one before it, in the same folder."""
    result = Result(tmp_path / "killed", series, weights)
    shutil.copytree(older, result.root)
    number = 1
    while (code := server.run(result.words, result.root, number)[0]) == -signal.SIGKILL:
        result.check()
        number += 3
    assert code == 0, server.said
    assert result.check()
    assert result.hidden() == []
