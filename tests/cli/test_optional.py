"""What is optional is checked before the first case, and what fails beside a volume never takes it along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Process = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``block("matplotlib")``: processes started from now on find a package of that name that cannot be imported."""

    def take_away(*names: str, code: str = "raise ImportError('blocked')\n") -> None:
        folder = tmp_path / "blocked"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return take_away


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("matplotlib", ("--report", "pages/"), "report"),
        ("jinja2", ("--report", "pages"), "report"),
        ("pydicom", ("--dicom-out", "series"), "dicom"),
        ("openvino", ("--backend", "openvino"), "fast"),
        ("onnxruntime", ("--backend", "onnxruntime"), "fast"),
        ("nncf", ("--backend", "openvino", "--precision", "int8"), "int8"),
    ],
)
def test_predict_tells_before_the_first_case(
    process: Process, scan: Path, block: Callable, tmp_path: Path, module: str, words: tuple, extra: str
) -> None:
    block(module)
    (scan.parent / "second.nii.gz").write_bytes(scan.read_bytes())
    done = process("predict", scan.parent, "-o", tmp_path / "out", *words, cwd=tmp_path)
    assert done.returncode == 8, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"mdcsrn[{extra}]" in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "in"]


def test_other_commands_tell_before_their_work(process: Process, scan: Path, block: Callable, tmp_path: Path) -> None:
    block("matplotlib", "jinja2", "boto3", "pydicom")
    for words, extra in (
        (("report", scan, "-o", "page.html"), "report"),
        (("report", "--reference", scan, "--degrade", "hcp_2x2", "-o", "page.html"), "report"),
        (("data", "hcp", "in", "-o", "list.json", "--fetch", "--subjects", "100206"), "cluster"),
    ):
        done = process(*words, cwd=tmp_path)
        assert done.returncode == 8, (words, done.stderr)
        assert done.stderr.count("\n") == 1
        assert f"mdcsrn[{extra}]" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "in"]


def test_nothing_optional_is_needed_for_a_plain_prediction(
    process: Process, scan: Path, block: Callable, tmp_path: Path
) -> None:
    block("matplotlib", "jinja2", "boto3", "pydicom", "nilearn", "openvino", "onnx", "onnxruntime", "nncf", "zstandard")
    done = process("predict", scan, "-o", tmp_path / "out.nii.gz", "--backend", "auto", "--precision", "auto")
    assert done.returncode == 0, done.stderr
    assert process("verify", tmp_path / "out.nii.gz").returncode == 0
    assert process("info", scan).returncode == 0


def test_a_page_that_fails_leaves_the_volume_and_resume_makes_it(
    process: Process, scan: Path, block: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """jinja2 is there and breaks when the page is made."""
    broken = "class DictLoader:\n    def __init__(self, *a): raise RuntimeError('no page today')\nEnvironment = None\n"
    block("jinja2", code=broken + "StrictUndefined = None\n")
    output, page = tmp_path / "out.nii.gz", tmp_path / "page.html"
    words = ("predict", scan, "-o", output, "--report", page)
    done = process(*words)
    assert done.returncode == 1, done.stderr
    assert "is written, but not its report" in done.stderr
    assert "no page today" in done.stderr
    assert f"written: {output}" in done.stdout
    assert not page.exists()
    assert process("verify", output).returncode == 0
    record = json.loads(output.with_name("out.json").read_text())
    assert record["not_made"] == ["report"]
    done = process(*words, "--json")
    (case,) = json.loads(done.stdout)
    assert (done.returncode, case["status"], case["error"]["exit_code"]) == (1, "done", 1)
    monkeypatch.delenv("PYTHONPATH")
    done = process(*words, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["status"] == "done"
    assert page.is_file()
    assert json.loads(process(*words, "--resume", "--json").stdout)[0]["status"] == "skipped"


@pytest.mark.parametrize("role", ["report", "mask", "spread", pytest.param("series", marks=pytest.mark.long)])
def test_any_file_beside_the_volume_may_fail(
    mdcsrn: Callable, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, scan: Path
) -> None:
    from mdcsrn.errors import OutputError
    from mdcsrn.jobs import write as results

    def full(*arguments: object, **more: object) -> None:
        raise OutputError("the disk is full", remedy="make room")

    words: tuple[object, ...] = ("--report", tmp_path / "p.html")
    source = scan
    if role == "report":
        monkeypatch.setattr(results, "_make_page", full)
    elif role == "mask":
        words = ("--mask", scan)
        monkeypatch.setattr("mdcsrn.inference.labels.carry_labels", full)
    elif role == "spread":
        words = ("--uncertainty",)
        written = results.write_image

        def write(volume: object, path: Path, *more: object) -> Path:
            return full() if "spread" in path.name else written(volume, path, *more)  # type: ignore[func-returns-value, arg-type, return-value]

        monkeypatch.setattr(results, "write_image", write)
    else:
        source, words = shared_data / "dicom" / "philips_classic_mprage3d.zip", ("--dicom-out", tmp_path / "derived")
        monkeypatch.setattr(results, "make_series", full)
    output = tmp_path / "out.nii.gz"
    done = mdcsrn("predict", source, "-o", output, *words)
    assert done.exit_code == 7, done.output
    assert f"not its {role}" in done.stderr
    assert "make room" in done.stderr
    assert output.is_file()
    assert mdcsrn("verify", output).exit_code == 0
    assert not (tmp_path / "derived").exists()
    if role in ("mask", "spread"):
        monkeypatch.undo()
        again = mdcsrn("predict", source, "-o", output, *words, "--resume", "--json")
        assert json.loads(again.stdout)[0]["status"] == "done"
        assert output.with_name(f"out_{role}.nii.gz").is_file()
