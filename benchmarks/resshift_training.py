"""Train ResShift on the patches that the EDSR of planes is trained on: one loader, one degradation, one batch size."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from resshift import STEPS, ResidualShifting, ResShift
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines import GeneratorRate, Schedule, moving_average
from mdcsrn.engines.trainer import random_of_step
from mdcsrn.errors import ConfigError
from mdcsrn.files import atomic_path
from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.networks.precision import autocast

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "edsr_x2"
SCALE = 2
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Knobs:
    """How one run is trained; beside `kappa` and `width` all as for EDSR, whose rate, warm-up and average these are."""

    kappa: float = 0.2
    steps: int = 2000
    width: int = 64  # of the first level; the others have half as many again
    rate: float = 6e-4  # Adam, cosine down to `final`
    warmup: int = 50
    final: float = 0.02
    ema_decay: float = 0.995
    max_gradient_norm: float = 1.0
    precision: str = "bfloat16"
    seed: int = 0


def build(knobs: Knobs) -> tuple[ResidualShifting, ResShift]:
    """Scheduler and a new network, its weights drawn from the run's seed."""
    scheduler = ResidualShifting(STEPS, knobs.kappa)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(knobs.seed)
        network = ResShift(scheduler, (knobs.width, knobs.width * 3 // 2, knobs.width * 3 // 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return scheduler, network


def patches(datalist: Path, seed: int) -> Any:
    """The training loader of bundles/edsr_x2, as its configuration makes it: 16 patches of 80 x 80 voxels a batch."""
    config = ConfigParser(ConfigParser.load_config_file(str(BUNDLE / "configs" / "train.yaml")))
    config.update({"bundle_root": str(BUNDLE), "datalist": str(datalist.resolve()), "seed": seed, "num_workers": 0})
    return config.get_parsed_content("train#dataloader")


def loss_of(network: ResShift, scheduler: ResidualShifting, batch: Mapping[str, Tensor], precision: str) -> Tensor:
    """Squared error of the predicted x_0 at a random step for each patch, in units of the squared residual.

    Args:
        network: x_t and y_0, steps -> x_0.
        scheduler: of the chain.
        batch: `image` on the acquired matrix, `label` on the result's grid, (N, 1, 1, H, W).
        precision: ``float32`` or ``bfloat16``.
    """
    y_0, x_0 = CubicUpsample(SCALE)(batch["image"][:, :, 0].float()), batch["label"][:, :, 0].float()
    timesteps = torch.randint(scheduler.num_train_timesteps, (len(x_0),))
    x_t = scheduler.shift(x_0, y_0, torch.randn_like(x_0), timesteps)
    with autocast("cpu", precision):
        predicted = network(torch.cat((x_t, y_0), dim=1), timesteps)
    return (predicted - x_0).square().mean() / network.residual**2


class Run:
    """A training run that can be stopped and resumed: every draw is a function of the seed and the step's number."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs, self.step, self.seconds = knobs, 0, 0.0
        self.scheduler, self.network = build(knobs)
        self.average: AveragedModel = moving_average(self.network, knobs.ema_decay)
        self.optimizer = torch.optim.Adam(self.network.parameters(), knobs.rate, betas=(0.9, 0.99))
        schedule = Schedule(voxel_steps=knobs.steps, critic_warmup=0, adversarial_steps=0)
        factor = GeneratorRate(schedule, knobs.rate, warmup=knobs.warmup, final=knobs.final)
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def losses(self, batches: Iterable[Mapping[str, Tensor]]) -> Iterator[float]:
        """Train to the last step; the loss of each step. `seconds` of the processor count, those of the loader too."""
        started = time.process_time()
        for batch in batches:
            with random_of_step(self.knobs.seed, self.step + 1, torch.device("cpu")):
                loss = loss_of(self.network, self.scheduler, batch, self.knobs.precision)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.knobs.max_gradient_norm)
            self.optimizer.step()
            self.rate.step()
            self.average.update_parameters(self.network)
            self.step += 1
            now = time.process_time()
            self.seconds, started = self.seconds + now - started, now
            yield loss.item()
            if self.step >= self.knobs.steps:
                return

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer", "rate")}
        state = {"knobs": asdict(self.knobs), "step": self.step, "seconds": self.seconds, **parts}
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    @classmethod
    def load(cls, path: Path) -> Run:
        """The run of a checkpoint."""
        state = torch.load(path, weights_only=True)
        run = cls(Knobs(**state["knobs"]))
        run.step, run.seconds = state["step"], state["seconds"]
        for name in ("network", "average", "optimizer", "rate"):
            getattr(run, name).load_state_dict(state[name])
        return run


def train(knobs: Knobs, datalist: Path, folder: Path, every: int = 100, as_it_is: bool = False) -> Run:
    """Train, or resume, or take what is trained.

    Args:
        knobs: of the run.
        datalist: JSON, see benchmarks/planes_cohort.py.
        folder: of the checkpoint.
        every: steps between checkpoints.
        as_it_is: return the run of the checkpoint, finished or not.

    Raises:
        ConfigError: the folder holds a run with other knobs.
    """
    path = folder / CHECKPOINT
    run = Run.load(path) if path.is_file() else Run(knobs)
    if run.knobs != knobs:
        raise ConfigError(f"{folder} holds a run with other knobs", got=knobs, allowed=run.knobs, remedy="remove it")
    if as_it_is or run.step >= knobs.steps:
        return run
    folder.mkdir(parents=True, exist_ok=True)
    loader, recent = patches(datalist, knobs.seed), list[float]()
    loader.batch_sampler.start = run.step
    for loss in run.losses(loader):
        recent.append(loss)
        if run.step % every == 0 or run.step == knobs.steps:
            run.save(path)
            print(f"step {run.step}: loss {sum(recent) / len(recent):.4f}, {run.seconds:.0f} s", flush=True)
            recent.clear()
    return run
