"""kill -9 at any moment of training, then the same command: it ends bitwise equal to a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from mdcsrn.engines.checkpoint import training_checkpoints
from mdcsrn.networks.tensor_files import read
from mdcsrn.processor import has_bfloat16

ROOT = Path(__file__).resolve().parents[2]
FASTER = "bfloat16" if has_bfloat16() else "float32"  # emulated, a step takes minutes
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
KNOBS = {
    "network_def#blocks": 1, "network_def#units": 2, "network_def#growth": 4, "patch_size": 16, "batch_size": 2,
    "patches_per_volume": 4, "volumes_per_group": 2, "voxel_steps": 8, "critic_warmup": 3, "adversarial_steps": 4,
    "critic_per_generator": 2, "extra_critic_steps": 3, "extra_every": 2, "rate_warmup": 3, "rate_final": 0.1,
    "critic_rate": 1e-4, "epoch_length": 7, "checkpoint_every": 2, "log_every": 1, "max_memory": 1.0,
}  # fmt: skip
STEPS = 28  # 8 + 3 + 4 x 3 + 3 = 26, filled up to whole epochs

Moment = Callable[[Path], bool]


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory, make_head: Callable, save: Callable) -> Path:
    folder = tmp_path_factory.mktemp("study")
    content: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for number in range(4):
        name = f"sub-{number}.nii.gz"
        save(make_head((32, 34 + number, 36), seed=number), folder / name)
        content["validation" if number == 3 else "training"].append({"image": name, "subject": f"sub-{number}"})
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"


def command(datalist: Path, output: Path, **knobs: Any) -> list[str]:
    given = KNOBS | {"datalist": datalist, "output_dir": output} | knobs
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return ["run", "training", "--config_file", "configs/train.yaml", *options]


class Forks:
    """Runs bundle commands in forks of one prepared process, and can kill them."""

    def __init__(self, folder: Path) -> None:
        self.streams = {"stdout": str(folder / "stdout"), "stderr": str(folder / "stderr")}
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        server = [sys.executable, str(Path(__file__).with_name("bundle_server.py"))]
        self.server = subprocess.Popen(
            server, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, arguments: Sequence[str], output: Path, moment: Moment | None = None, number: int = signal.SIGKILL
    ) -> int:
        """Run a command; send it a signal as soon as `moment` is there. Returns the exit status, -9 when killed."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        job = {"arguments": list(arguments), "folder": str(BUNDLE), "environment": {}, "seconds": 240, **self.streams}
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        if moment is not None:
            children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
            while not (pids := children.read_text().split()):
                time.sleep(0.001)
            wait_and_kill(int(pids[0]), moment, output, lambda: not children.read_text().split(), number)
        return int(json.loads(self.server.stdout.readline())[0])

    @property
    def errors(self) -> str:
        return Path(self.streams["stderr"]).read_text()[-3000:]


def wait_and_kill(
    pid: int, moment: Moment, output: Path, ended: Callable[[], bool], number: int = signal.SIGKILL
) -> None:
    while not ended():
        if moment(output):
            os.kill(pid, number)
            return
        time.sleep(0.0005)


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    made = Forks(tmp_path_factory.mktemp("forks"))
    with made.server:
        yield made
        assert made.server.stdin is not None
        made.server.stdin.close()


def reached(step: int, seconds: float = 0.0) -> Moment:
    """So long after the checkpoint of a step (or a later one) is there."""
    due: list[float] = []

    def moment(output: Path) -> bool:
        there = training_checkpoints(output / "checkpoints")
        if not due and there and int(there[-1].stem.split("_")[1]) >= step:
            due.append(time.monotonic() + seconds)
        return bool(due) and time.monotonic() >= due[0]

    return moment


def saving(what: str, step: int) -> Moment:
    """In the middle of writing: a temporary file is there, after a step's checkpoint."""
    late = reached(step)

    def moment(output: Path) -> bool:
        return late(output) and any(output.glob(what))

    return moment


def begun(output: Path) -> bool:
    """Just after the log was opened: no checkpoint yet in a first run."""
    return any(output.glob("tensorboard/*"))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def scalars(output: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of a TensorBoard log as the viewer shows them."""
    log = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    log.Reload()
    found = {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    found |= {tag: [(event.step, float(len(event.encoded_image_string))) for event in log.Images(tag)]
              for tag in log.Tags()["images"]}  # fmt: skip
    return found


def assert_same_run(one: Path, other: Path) -> None:
    names = [p.name for p in training_checkpoints(one / "checkpoints")]
    assert names[-1] == f"checkpoint_{STEPS:09d}.pt"
    assert len(names) == 3
    assert sorted(p.name for p in (other / "checkpoints").iterdir()) == names  # nothing half-written stays
    weights = [f"{name}{form}" for name in ("model", "model_best", "model_l1") for form in (".pt", ".safetensors")]
    for folder in (one, other):
        assert sorted(p.name for p in folder.iterdir()) == ["checkpoints", *weights, "tensorboard"]
    for name in (*weights, *(f"checkpoints/{name}" for name in names)):
        assert same(read(one / name), read(other / name)), name
    expected, found = scalars(one), scalars(other)
    assert expected.keys() == found.keys()
    assert {"train/voxel_loss", "train/distance", "validation/psnr", "learning_rate/critic"} <= expected.keys()
    for tag, points in found.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{tag}: double or unsorted steps"
        assert points == expected[tag], tag


@pytest.mark.parametrize(("precision", "workers"), [(FASTER, 1), pytest.param("float32", 0, marks=pytest.mark.long)])
def test_killed_runs_end_bitwise_equal(
    tmp_path: Path, datalist: Path, forks: Forks, precision: str, workers: int
) -> None:
    knobs = {"precision": precision, "num_workers": workers}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert forks.run(command(datalist, whole, **knobs), whole) == 0, forks.errors
    moments = [begun, saving("checkpoints/.mdcsrn-*/*.pt", 2), saving(".mdcsrn-*/model*", 8), reached(20, 0.05)]
    statuses = [forks.run(command(datalist, killed, **knobs), killed, moment) for moment in moments]
    while statuses[-1] != 0:
        assert statuses[-1] == -signal.SIGKILL, forks.errors
        statuses.append(forks.run(command(datalist, killed, **knobs), killed))
    assert statuses.count(-signal.SIGKILL) >= 3, "the kills came too late to prove anything"
    assert_same_run(whole, killed)
    before = {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()}
    assert forks.run(command(datalist, killed, **knobs), killed) == 0  # a complete run has nothing to do
    assert before == {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()}


def test_signals_save_a_checkpoint_and_the_rest_is_bitwise_equal(tmp_path: Path, datalist: Path, forks: Forks) -> None:
    """`python -m monai.bundle run training` with a loader worker, asked to end twice, with regular checkpoints off."""
    knobs = {"num_workers": 1, "checkpoint_every": 1000}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert forks.run(command(datalist, whole, **knobs), whole) == 0, forks.errors
    for number, word, after in (
        (signal.SIGTERM, "terminated", begun),
        (signal.SIGINT, "interrupted", reached(7, 0.02)),
    ):
        assert forks.run(command(datalist, stopped, **knobs), stopped, after, number) == 128 + number, forks.errors
        newest = training_checkpoints(stopped / "checkpoints")[-1]
        step = int(newest.stem.split("_")[1])
        assert forks.errors.endswith(f"{word}: a checkpoint of step {step} is saved; the same command resumes\n")
        assert "Traceback" not in forks.errors
        assert not list(stopped.rglob(".*"))
    assert forks.run(command(datalist, stopped, **knobs), stopped) == 0, forks.errors
    assert_same_run(whole, stopped)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_real_commands_killed_at_random(tmp_path: Path, datalist: Path, seed: int) -> None:
    """`python -m monai.bundle run training`, two phases and a loader worker, killed at random moments."""
    draw = random.Random(seed)
    knobs = {"precision": FASTER, "num_workers": 1, "conditional": bool(seed), "seed": seed}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(output: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "monai.bundle", *command(datalist, output, **knobs)]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(words, cwd=BUNDLE, env=environment, text=True, **streams)  # type: ignore[call-overload]

    assert start(whole).wait(timeout=240) == 0
    saved = [p.stat().st_mtime for p in training_checkpoints(whole / "checkpoints")]
    pace = saved[1] - saved[0]  # two steps; in seconds of this machine, so that one life makes 2 to 6 steps of the 28
    kills = 0
    for _ in range(40):
        process = start(killed)
        done = [int(p.stem.split("_")[1]) for p in training_checkpoints(killed / "checkpoints")]
        moment = reached((done[-1] if done else 0) + draw.choice((2, 4)), draw.uniform(0, pace))
        if draw.random() < 0.3:
            moment = saving("checkpoints/.mdcsrn-*/*.pt", (done[-1] if done else 0))
        wait_and_kill(process.pid, moment, killed, lambda process=process: process.poll() is not None)
        status = process.wait(timeout=240)
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        if status == 0:
            break
    assert kills >= 4, "the kills came too late to prove anything"
    assert_same_run(whole, killed)
