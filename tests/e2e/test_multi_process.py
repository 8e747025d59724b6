"""Two real processes under torchrun: the patches of one, equal networks on both, one writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from mdcsrn.engines import load_weights
from mdcsrn.engines.checkpoint import training_checkpoints
from mdcsrn.networks.tensor_files import read
from mdcsrn.networks.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
LAUNCHER = ["-m", "torch.distributed.run", "--standalone"]
KNOBS = {
    "network_def#blocks": 1, "network_def#units": 2, "network_def#growth": 4, "patch_size": 16, "batch_size": 4,
    "patches_per_volume": 4, "volumes_per_group": 2, "num_workers": 0, "voxel_steps": 5, "critic_warmup": 2,
    "adversarial_steps": 2, "critic_per_generator": 1, "extra_critic_steps": 0, "critic_rate": 1e-4,
    "epoch_length": 4, "checkpoint_every": 3, "log_every": 1, "max_memory": 1.0,
}  # fmt: skip
STEPS = 12  # 5 + 2 + 2 x 2 = 11, filled up to whole epochs

# The bundle's own engine, watched from inside each process: every sample, and the networks after every step.
WATCH = """
import hashlib, json, os, sys
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from mdcsrn.metrics import HeadMaskPSNR

knobs, files, target = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
workflow = ConfigWorkflow(files, "train", run_id="training", logging_file=False, **knobs)
workflow.initialize()
trainer = workflow.parser.get_parsed_content("train#trainer")
rank = int(os.environ.get("RANK", "0"))
record = {"samples": [], "patches": [], "networks": [], "losses": [], "validated": []}

def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors)).hexdigest()

@trainer.on(Events.ITERATION_COMPLETED)
def watch(engine):
    batch = engine.state.batch
    record["samples"].append(batch["sample"].tolist())
    record["patches"].append([digest([batch[k][i] for k in ("image", "label", "coefficient")])
                              for i in range(len(batch["sample"]))])
    record["networks"].append({name: digest(getattr(engine, name).state_dict().values())
                               for name in ("generator", "critic", "average")})
    record["losses"].append([engine.state.output["step"], engine.state.output["loss"]])

evaluator = workflow.parser.get_parsed_content("validate#evaluator")

@evaluator.on(Events.ITERATION_COMPLETED)
def validated(engine):
    case = engine.state.output[0]
    value = HeadMaskPSNR()(case["pred"][None], case["label"][None])
    record["validated"].append([os.path.basename(case["label"].meta["filename_or_obj"]), float(value)])

workflow.run()
record["metrics"] = {k: float(v) for k, v in evaluator.state.metrics.items()}
torch.save(trainer.training_state(), f"{target}/state{rank}.pt")
with open(f"{target}/rank{rank}.json", "w") as stream:
    json.dump(record, stream)
workflow.finalize()
"""


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory, make_head: Callable, save: Callable) -> Path:
    folder = tmp_path_factory.mktemp("study")
    content: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for number in range(5):
        name = f"sub-{number}.nii.gz"
        save(make_head((32, 34 + number, 36), seed=number), folder / name)
        section = "validation" if number > 1 else "training"  # three to validate on: two processes share them unevenly
        content[section].append({"image": name, "subject": f"sub-{number}"})
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"


def launch(arguments: list[str], processes: int, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    launcher = [*LAUNCHER, f"--nproc_per_node={processes}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *(launcher if processes > 1 else []), *arguments]
    return subprocess.run(
        command, cwd=BUNDLE, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def watched(folder: Path, datalist: Path, processes: int) -> list[dict[str, Any]]:
    """Train in so many processes; what each one saw."""
    folder.mkdir()
    (folder / "watch.py").write_text(WATCH)
    files = ["configs/train.yaml", *(["configs/multi_gpu_train.yaml"] if processes > 1 else [])]
    knobs = KNOBS | {"datalist": str(datalist), "output_dir": str(folder / "out")}
    done = launch([str(folder / "watch.py"), json.dumps(knobs), json.dumps(files), str(folder)], processes)
    assert done.returncode == 0, done.stderr[-3000:]
    records = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
    for rank, record in enumerate(records):
        record["state"] = read(folder / f"state{rank}.pt")
    return records


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, datalist: Path) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, watched(folder, datalist, 2)


def tensors(state: Any) -> dict[str, Tensor]:
    """All tensors of a nested state by path."""
    if isinstance(state, Tensor):
        return {"": state}
    if not isinstance(state, dict):
        return {}
    return {f"{key}/{path}": value for key, part in state.items() for path, value in tensors(part).items()}


def test_networks_and_buffers_are_equal_on_both(two: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = two[1]
    assert len(first["networks"]) == STEPS
    assert first["networks"] == second["networks"]  # bitwise, after every step
    assert len({n["generator"] for n in first["networks"]}) == 5 + 2  # voxel and adversarial updates
    one, other = tensors(first["state"]), tensors(second["state"])
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)  # moments too
    assert any("running_var" in name for name in one)
    assert any("exp_avg" in name for name in one)
    assert first["losses"] != second["losses"]  # of its own patches each
    assert first["metrics"] == second["metrics"]


def test_validation_is_shared_and_its_mean_is_that_of_all(two: tuple[Path, list[dict[str, Any]]]) -> None:
    """Three volumes on two processes, after each of three epochs: none twice, none left out, one mean for both."""
    first, second = two[1]
    assert (len(first["validated"]), len(second["validated"])) == (3 * 2, 3 * 1)
    last = dict(first["validated"][-2:] + second["validated"][-1:])
    assert sorted(last) == ["sub-2.nii.gz", "sub-3.nii.gz", "sub-4.nii.gz"]
    assert len(set(last.values())) == 3
    assert first["metrics"]["psnr"] == pytest.approx(sum(last.values()) / 3, rel=1e-6)


def test_only_one_writes(two: tuple[Path, list[dict[str, Any]]]) -> None:
    out = two[0] / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoints", "model.pt", "model.safetensors", "model_best.pt", "model_best.safetensors", "model_l1.pt",
        "model_l1.safetensors", "tensorboard",
    ]  # fmt: skip
    assert len(training_checkpoints(out / "checkpoints")) == len(list((out / "checkpoints").iterdir())) == 3
    assert len(list((out / "tensorboard").iterdir())) == 1
    log = EventAccumulator(str(out / "tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("validation/psnr")] == [4, 8, 12]
    assert log.Scalars("validation/psnr")[-1].value == pytest.approx(two[1][0]["metrics"]["psnr"])
    average = tensors(two[1][0]["state"]["averages"]["generator"])
    weights = load_weights(out / "model.pt").state_dict()
    assert all(torch.equal(average[f"module.{name}/"], value) for name, value in weights.items())


def test_the_patches_of_one_process(two: tuple[Path, list[dict[str, Any]]], tmp_path: Path, datalist: Path) -> None:
    (alone,) = watched(tmp_path / "one", datalist, 1)
    for step in range(STEPS):
        assert len(alone["samples"][step]) == 4
        mine = {
            sample: patch
            for record in two[1]
            for sample, patch in zip(record["samples"][step], record["patches"][step], strict=True)
        }
        assert [len(record["samples"][step]) for record in two[1]] == [2, 2]
        assert mine == dict(zip(alone["samples"][step], alone["patches"][step], strict=True))
    kinds = [[kind for kind, _ in record["losses"]] for record in (alone, *two[1])]
    assert kinds[0] == kinds[1] == kinds[2]
    # The first loss is of the untrained generator (its input): the mean over the processes is that over the batch.
    assert sum(record["losses"][0][1] for record in two[1]) / 2 == pytest.approx(alone["losses"][0][1], rel=1e-5)
    # BatchNorm sees half a batch in each process, so the networks drift apart; the scale of every weight is the same.
    one, other = (tensors(run["state"]["parts"]["generator"]["network"]) for run in (alone, two[1][0]))
    for name, value in one.items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(other[name], value, rtol=0, atol=5 * 7 * 1e-4, msg=name)


@pytest.mark.long
def test_a_critic_learns_the_same_in_two_processes(tmp_path: Path) -> None:
    """No BatchNorm in the critic: the gradient over two processes is that of the whole batch, penalty included."""
    script = """
import json, os, sys
import torch
from mdcsrn.engines import AdversarialTrainer, Part, Schedule, distributed
from mdcsrn.networks import MDCSRN, Critic

if "RANK" in os.environ:
    distributed.start()
rank, world = distributed.rank(), distributed.world_size()
torch.manual_seed(rank)  # other weights at the start: rank 0's are given to all
generator = MDCSRN(blocks=1, units=1, growth=2)
critic = Critic(base_channels=2, patch_size=16)
def sgd(network):
    return Part(network, torch.optim.SGD(network.parameters(), 1e-4))
trainer = AdversarialTrainer("cpu", [], sgd(generator), sgd(critic), Schedule(1, 0, 0), 1)
norms = []
for step in range(4):
    random = torch.Generator().manual_seed(step)
    image, label = torch.rand(2, 4, 1, 16, 16, 16, generator=random)
    part = slice(rank, None, world)
    out = trainer.critic_step(image[part], label[part], torch.rand(4, generator=random)[part])
    norms.append(out["critic_gradient_norm"])
state = {"critic": critic.state_dict(), "average": trainer.average.state_dict(), "norms": norms}
torch.save(state, f"{sys.argv[1]}-{world}-{rank}.pt")
distributed.stop()
"""
    (tmp_path / "critic.py").write_text(script)
    for processes in (1, 2):
        done = launch([str(tmp_path / "critic.py"), str(tmp_path / "state")], processes)
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (tensors(read(tmp_path / f"state-{name}.pt")) for name in ("1-0", "2-0", "2-1"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6, msg=name)
    norms = [read(tmp_path / f"state-{name}.pt")["norms"] for name in ("1-0", "2-0")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def bundle_command(datalist: Path, output: Path, **knobs: Any) -> list[str]:
    given = KNOBS | {"datalist": datalist, "output_dir": output} | knobs
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    files = "['configs/train.yaml','configs/multi_gpu_train.yaml']"
    return ["-m", "monai.bundle", "run", "training", "--config_file", files, *options]


@pytest.mark.long
def test_the_bundles_command(tmp_path: Path, datalist: Path, two: tuple[Path, list[dict[str, Any]]]) -> None:
    """Stopped half-way (a short schedule) and gone on with, the bundle's command ends where the watched run did."""
    out = tmp_path / "out"
    done = launch(bundle_command(datalist, out), 2)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("model.pt", "model_best.pt", "model_l1.pt"):
        weights, others = read_weights(out / name), read_weights(two[0] / "out" / name)
        assert weights.facts == others.facts
        assert all(torch.equal(weights.state[key], value) for key, value in others.state.items())
    assert done.stdout.count("Epoch[3] Metrics") == 1  # said once
    (out / "checkpoints" / f"checkpoint_{STEPS:09d}.pt").unlink()
    done = launch(bundle_command(datalist, out), 2)  # both go on from step 9
    assert done.returncode == 0, done.stderr[-3000:]
    state = read(training_checkpoints(out / "checkpoints")[-1])
    assert state["iteration"] == STEPS
    expected = tensors(two[1][0]["state"])
    found = tensors({key: state[key] for key in two[1][0]["state"]})
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.long
def test_an_error_in_one_process_ends_both(tmp_path: Path, datalist: Path) -> None:
    done = launch(bundle_command(datalist, tmp_path / "out", batch_size=3), 2, seconds=120)
    assert done.returncode != 0
    assert "error: the global batch is shared evenly by the processes" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("to_all", [True, False])
def test_asked_to_end_both_save_at_one_step_and_resume(tmp_path: Path, datalist: Path, to_all: bool) -> None:
    """SIGTERM to the launcher, which passes it on, or to one of its processes alone."""
    knobs = KNOBS | {"datalist": str(datalist), "checkpoint_every": 1}

    def words(output: Path) -> list[str]:
        options = [word for key, value in (knobs | {"output_dir": output}).items() for word in (f"--{key}", str(value))]
        files = "['configs/train.yaml','configs/multi_gpu_train.yaml']"
        return ["-m", "monai.bundle", "run", "training", "--config_file", files, *options]

    done = launch(words(tmp_path / "whole"), 2)
    assert done.returncode == 0, done.stderr[-3000:]
    command = [sys.executable, *LAUNCHER, "--nproc_per_node=2", *words(tmp_path / "stopped")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=BUNDLE, env=environment, text=True, **silent)
    while not training_checkpoints(tmp_path / "stopped" / "checkpoints"):
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid if to_all else int(children[-1]), signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0  # torchrun's own
    assert said.count("terminated: a checkpoint of step") == 1, said[-3000:]
    assert "exitcode  : 143" in said or to_all, said[-3000:]
    done = launch(words(tmp_path / "stopped"), 2)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("model.pt", f"checkpoints/checkpoint_{STEPS:09d}.pt"):
        one, other = (tensors(read(tmp_path / folder / name)) for folder in ("whole", "stopped"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
