"""What goes wrong, as a process: one clear line, the right exit code, nothing written, nothing of the patient."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from deploy_studies import APP, SECRETS, secret, write

Run = Callable[..., subprocess.CompletedProcess[str]]
Images = list[pydicom.Dataset]


@pytest.fixture
def fails(app: Run, tmp_path: Path) -> Callable[..., str]:
    """Run that must fail; returns its last line."""

    def check(code: int, *arguments: object, env: dict[str, str] | None = None, output: str = "out") -> str:
        done = app(*arguments, "-o", tmp_path / output, env=env)
        assert done.returncode == code, done.stderr
        assert not (tmp_path / output).exists()
        assert "Traceback" not in done.stderr
        assert not [word for word in SECRETS if word in done.stdout + done.stderr]
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(("error: ", "Error: ")), done.stderr
        return last

    return check


def test_a_study_with_nothing_suitable(fails, stack, tmp_path: Path) -> None:
    scout, phase, capture = stack(slices=3, number=1), stack(number=2), stack(slices=2, number=3)
    for ds in scout:
        ds.ImageType, ds.MRAcquisitionType = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "2D"
    for ds in phase:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "P"]
    for ds in capture:
        ds.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    study = write([secret(ds) for ds in (*scout, *phase, *capture)], tmp_path / "study")
    line = fails(3, "-i", study)
    assert "the study holds no series that is worth restoring" in line
    assert "series001: not suitable: MRAcquisitionType for 3D T1w" in line
    assert "series002: not suitable: ImageType for 3D T1w" in line
    assert "series003" not in line  # no MR image at all
    assert "allowed: 3D T1w, 3D MR, 2D multi-slice MR" in line
    assert "--rules" in line


def test_missing_slices(fails, stack, tmp_path: Path) -> None:
    images = [secret(ds) for ds in stack(slices=20)]
    line = fails(3, "-i", write(images[:8] + images[10:], tmp_path / "study"))
    assert "slices are missing" in line
    assert "got: 2 missing, after slice 8" in line


def test_strict_refuses_what_the_weights_have_not_seen(fails, stack, tmp_path: Path) -> None:
    study = write([secret(ds) for ds in stack()], tmp_path / "study")
    line = fails(9, "-i", study, "--factor", 1, 1, 2, env={"MDCSRN_STRICT": "1"})
    assert "refused, since warnings count as errors" in line
    assert "field-of-view-outside-trained-range" in line


@pytest.fixture
def slab_of_nothing(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("nothing here")
    return tmp_path / "study"


def test_no_mr_images(fails, slab_of_nothing: Path) -> None:
    assert "holds no MR images" in fails(3, "-i", slab_of_nothing)


def test_weights_that_are_not_there(fails, slab_of_nothing: Path) -> None:
    assert "no weights named nobody" in fails(5, "-i", slab_of_nothing, "-m", "nobody")


def test_a_damaged_image_among_the_slices(fails, stack, tmp_path: Path) -> None:
    study = write([secret(ds) for ds in stack()], tmp_path / "study")
    file = sorted(study.iterdir())[5]
    file.write_bytes(file.read_bytes()[:-500])
    line = fails(3, "-i", study)
    assert file.name in line
    assert "damaged" in line


def test_an_output_that_cannot_be_written(app: Run, stack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    study = write(stack(slices=16, rows=16, columns=16), tmp_path / "study")
    done = app("-i", study, "-o", tmp_path / "file")
    assert done.returncode == 7
    assert done.stderr.strip().splitlines()[-1].startswith("error: cannot write to")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_killed_run_leaves_nothing_that_the_next_one_does_not_remove(
    app: Run, environment: dict[str, str], stack, tmp_path: Path
) -> None:
    """Killed while it computes; the next run, on 2D slices, cleans up, and warns of what they are."""
    images = stack(slices=20, rows=48, columns=48, spacing=(1.0, 1.0, 4.0))
    for ds in images:
        ds.MRAcquisitionType = "2D"
    study, output = write([secret(ds) for ds in images], tmp_path / "study"), tmp_path / "out"
    command = [sys.executable, str(APP), "-i", str(study), "-o", str(output), "--factor", "1", "1", "2"]
    process = subprocess.Popen([*command, "--backend", "eager"], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "series005 read:" in line:
                break
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = list(output.iterdir())
    assert all(path.name.startswith(".mdcsrn-") for path in left)
    assert len(left) == 1
    done = app(*command[2:], "--backend", "eager")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.iterdir()) == ["series005_sr", "series005_sr.json"]
    assert "chosen, as 2D multi-slice MR" in done.stderr
    assert "thick-slices" in done.stderr
    assert not [word for word in SECRETS if word in done.stdout + done.stderr]
    record = json.loads((output / "series005_sr.json").read_text())
    assert record["acquisition"]["acquisition"] == "2D"
    assert record["plan"]["slice_axis"] == 2
    assert record["shape"] == [48, 48, 40]
