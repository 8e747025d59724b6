"""What is said to a person: what next, where things are, help by topic, and what the shell completes."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete

from mdcsrn.cli import _complete as complete
from mdcsrn.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_to_fill_says_what_next_and_that_works(
    mdcsrn: Callable, make_phantom: Callable, save_image: Callable, tmp_path: Path
) -> None:
    source = save_image(make_phantom((20, 40, 40)), tmp_path / "a scan.nii.gz", np.diag([3.0, 1, 1, 1]))
    for words in ((), ("--dry-run",)):
        done = mdcsrn("predict", source, *words)
        assert done.exit_code == 0
        (note,) = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
        assert "--factor 3 1 1" in note
    command = shlex.split(note.split("its grid: ")[1].split(" (")[0])
    assert command[0] == "mdcsrn"
    assert mdcsrn(*command[1:], "-o", tmp_path / "fine.nii.gz").exit_code == 0
    assert "3 1 1" in mdcsrn("info", source).stdout
    several = mdcsrn("predict", tmp_path, "-o", tmp_path / "out")
    assert "try --factor 3 1 1" in several.stdout


def test_written_gives_the_path_of_every_file(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    output, page = tmp_path / "o" / "r.nii.gz", tmp_path / "p.html"
    done = mdcsrn("predict", scan, "-o", output, "--report", page, "--mask", scan)
    lines = [line.removeprefix("written: ").split(", ")[0] for line in done.stdout.splitlines() if "written" in line]
    assert lines == [str(output), str(tmp_path / "o" / "r_mask.nii.gz"), str(page)]
    assert all(Path(line).is_file() for line in lines)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("--report", "page.html"), "page.html"),
        (("--report", "PAGE.HTM"), "PAGE.HTM"),
        (("--report", "there"), "there/scan_sr.html"),
        (("--report", "new"), "new/scan_sr.html"),
        (("--report", "new.v2"), "new.v2/scan_sr.html"),
        (("--report", "odd.html/"), "odd.html/scan_sr.html"),
    ],
)
def test_report_names_its_place_as_output_does(
    mdcsrn: Callable, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    done = mdcsrn("predict", scan, *words, "--dry-run")
    assert done.exit_code == 0, done.output
    from mdcsrn.cli.predict import command
    from mdcsrn.io.sources import find_cases
    from mdcsrn.jobs.options import Options
    from mdcsrn.jobs.output_paths import jobs_of

    given = command.make_context("predict", [str(scan), *words]).params["report"]
    (job,), _ = jobs_of(scan, find_cases(scan), None, Options(report=given))
    assert job.report == Path(place)
    assert mdcsrn("report", "--reference", scan, "--prediction", scan, "-o", words[1]).exit_code == 0
    name = place if place.lower().endswith((".html", ".htm")) and "/" not in place else None
    assert Path(name or f"{Path(place).parent}/scan_evaluation.html").is_file()


def test_a_page_for_several_cases_is_a_folder(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for report, text in (("page.html", "FOLDER"), ("notes.txt", "not an HTML name"), ("x.nii.gz", "not an HTML name")):
        done = mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--report", tmp_path / report)
        assert (done.exit_code, text in done.stderr) == (7, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_the_bar_of_a_terminal_names_the_case_and_no_lines_are_mixed_in(
    scan: Path, small_model: Path, tmp_path: Path
) -> None:
    (scan.parent / "second.nii.gz").write_bytes(scan.read_bytes())
    words = ["predict", scan.parent, "-o", tmp_path / "out", "--model", small_model, "--backend", "eager"]
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "mdcsrn", *map(str, words)], stdout=subprocess.DEVNULL, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
            shown += piece
            if not piece:
                break
    os.close(leader)
    assert process.returncode == 0
    assert b"1/2 scan" in shown
    assert b"2/2 second" in shown
    assert b"[1/2]" not in shown


def test_long_help_pages_are_grouped_and_name_every_option_once(mdcsrn: Callable) -> None:
    from mdcsrn.cli._help import TopicCommand

    for name in ("predict", "bids", "report", "benchmark", "evaluate"):
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert isinstance(command, TopicCommand)
        shown = mdcsrn(name, "--help").output
        lines = shown.splitlines()
        headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
        lines = lines[lines.index(headings[0]) :]
        assert len(headings) >= 2, name
        assert "Other:" not in headings, name
        for parameter in command.params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                flag = max(parameter.opts, key=len)
                assert sum(line.split()[:1] == [flag] or f", {flag} " in line for line in lines) == 1, flag


def completed(*words: str) -> list[tuple[str, str]]:
    found = ShellComplete(main, {}, "mdcsrn", "_MDCSRN_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [(item.type, item.value) for item in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("predict", "x", "--backend", "o"), ["openvino", "onnxruntime"]),
        (("predict", "x", "--precision", "fl"), ["float16", "float32"]),
        (("predict", "x", "--device", "c"), ["cpu", "cuda"]),
        (("predict", "x", "--dtype", ""), ["float32", "keep"]),
        (("predict", "x", "--model", "ga"), ["gan"]),
        (("predict", "x", "--bundle", "mdcsrn"), ["mdcsrn_wgan_gp"]),
        (("predict", "x", "--slice-profile", "g"), ["gaussian"]),
        (("degrade", "x", "--spec", "hcp_2"), ["hcp_2x2"]),
        (("evaluate", "--spec", "hcp_2"), ["hcp_2x2"]),
        (("report", "--degrade", "hcp_2"), ["hcp_2x2"]),
        (("benchmark", "--backends", "eager,o"), ["eager,openvino", "eager,onnxruntime"]),
        (("bundle", "export", "mdcsrn"), ["mdcsrn_wgan_gp"]),
        (("bundle", "export", "x", "--format", "o"), ["onnx", "openvino"]),
        (("bids", "d", "o", "participant", "--suffix", "T2"), ["T2w", "T2starw"]),
        (("pre",), ["predict"]),
    ],
)
def test_the_shell_completes(words: tuple[str, ...], expected: list[str]) -> None:
    found = [value for kind, value in completed(*words) if kind == "plain"]
    assert set(expected) <= set(found)
    assert len(found) == len(expected) or words[-1].startswith("mdcsrn")


def test_the_shell_completes_files_where_no_name_fits_and_people_of_a_dataset(tmp_path: Path) -> None:
    assert completed("predict", "x", "--model", "./w") == [("file", "./w")]
    assert completed("predict", "x", "--bundle", "/ab") == [("dir", "/ab")]
    (tmp_path / "sub-07" / "ses-b").mkdir(parents=True)
    words = ("bids", str(tmp_path), "o", "participant")
    assert completed(*words, "--participant-label", "") == [("plain", "07")]
    assert completed(*words, "--session-label", "") == [("plain", "b")]
    assert completed("predict", "x", "--bundle", "absent", "--model", "") == [("file", "")]


def test_the_words_that_are_completed_are_those_that_are_taken() -> None:
    from mdcsrn.bundle.export_formats import FORMS
    from mdcsrn.inference.backends import NAMES, PRECISIONS
    from mdcsrn.io.bids import SUFFIXES

    assert set(complete.BACKENDS) == {"auto", *NAMES}
    assert set(complete.PRECISIONS) == {"auto", *PRECISIONS}
    assert set(complete.FORMS) == {*FORMS, "tensorrt"}
    assert set(complete.FORM_PRECISIONS) == {precision for form in FORMS.values() for precision in form.precisions}
    assert set(complete.SUFFIXES) == set(SUFFIXES)


def test_completion_in_bash_is_quick_and_loads_nothing_heavy() -> None:
    """What bash itself calls: a process for each press of the key."""
    code = (
        "import sys; sys.argv = ['mdcsrn']; from mdcsrn.cli.main import main\n"
        "try:\n    main(prog_name='mdcsrn')\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy'"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "_MDCSRN_COMPLETE": "bash_complete", "COMP_WORDS": "mdcsrn predict x --backend op",
        "COMP_CWORD": "4",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "plain,openvino"), done.stderr
    assert set(COMMANDS) <= {value for _, value in completed("")}


def test_json_of_a_folder_stays_alone_on_the_standard_output(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    done = mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--json")
    assert [case["status"] for case in json.loads(done.stdout)] == ["done"]
    assert done.stderr.startswith("[1/1] done scan (")
    assert mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--quiet").stderr == ""
    (scan.parent / "bad.nii").write_bytes(b"no image" * 100)
    failed = mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--json", "--resume").stderr
    assert failed.count("bad.nii") == 1  # once, in the line of its case
    assert mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--quiet").stderr.count("bad.nii") == 1
