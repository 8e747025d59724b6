"""The training engine of mDCSRN: a voxel-loss phase and a WGAN-GP phase under one schedule.

MONAI's GanTrainer (latents in, no voxel loss) and AdversarialTrainer (no critic schedule, no penalty) do not fit, so
this is a :class:`monai.engines.Trainer` of its own. Each engine iteration is one update of one network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines import distributed
from mdcsrn.engines.ema import moving_average
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import Schedule, Step
from mdcsrn.engines.stop import StopAfterStep
from mdcsrn.errors import CheckpointError, ConfigError, MdcsrnError, TrainingError, root_error
from mdcsrn.losses import critic_loss, generator_loss, gradient_penalty
from mdcsrn.networks.precision import AUTO, PRECISIONS, autocast, check_precision, resolve_precision
from mdcsrn.networks.weights import fill_network, network_state


class WGANGPTrainer(Trainer):
    """Trains a generator with a voxel loss, then against a critic.

    A critic step scores the reference as real and a detached output of the generator (evaluation mode, no graph) as
    fake, on the same patches; it leaves the generator's weights and BatchNorm buffers as they are. An adversarial step
    updates the generator with voxel loss - `adversarial_weight` x mean score.

    Args:
        device: where to train.
        train_data_loader: endless batches with ``image``, ``label`` (N, 1, p, p, p) and ``coefficient`` (N,).
        generator: (N, 1, D, H, W) -> same shape.
        critic: (N, 1 or 2, D, H, W) -> (N,); 2 channels where `conditional`.
        generator_optimizer: of the generator.
        critic_optimizer: of the critic.
        schedule: what each step does.
        epoch_length: steps between two validations.
        max_epochs: epochs to train; None: as many as hold the schedule.
        voxel_loss: loss of (output, reference); None: L1.
        adversarial_weight: weight of the adversarial loss, >= 0.
        penalty_weight: weight of the gradient penalty, >= 0.
        average: moving average of the generator (:func:`mdcsrn.engines.moving_average`), to be validated and saved;
            None makes one with decay 0.999.
        precision: ``auto``, ``float32`` or ``bfloat16``, of the generator; the critic stays in float32, as a bfloat16
            score has too few digits for the distance, and so does the penalty's double backward. ``auto`` is decided
            at the first step (:func:`mdcsrn.networks.precision.resolve_precision`) and kept by a resumed run.
        max_gradient_norm: gradients of the generator are clipped to this 2-norm; None: not clipped.
        conditional: give the critic the low-resolution patch as second channel.
        channels_last: memory layout of networks and batches; faster on most processors.
        generator_scheduler: learning-rate scheduler of the generator, stepped at every iteration, or None.
        critic_scheduler: the same for the critic.
        seed: of the run; stored, and a checkpoint of another seed is refused.
        checkpoints: saves and restores the run; None: a run that starts anew each time.
        train_handlers: MONAI or Ignite handlers, called in their order.
    """

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        device: str | torch.device,
        train_data_loader: Iterable[Mapping[str, Any]],
        generator: nn.Module,
        critic: nn.Module,
        generator_optimizer: Optimizer,
        critic_optimizer: Optimizer,
        schedule: Schedule,
        epoch_length: int,
        max_epochs: int | None = None,
        voxel_loss: nn.Module | None = None,
        adversarial_weight: float = 1e-3,
        penalty_weight: float = 10.0,
        average: AveragedModel | None = None,
        precision: str = "float32",
        max_gradient_norm: float | None = 1.0,
        conditional: bool = False,
        channels_last: bool = True,
        generator_scheduler: LRScheduler | None = None,
        critic_scheduler: LRScheduler | None = None,
        seed: int = 0,
        checkpoints: TrainingCheckpoints | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if adversarial_weight < 0 or penalty_weight < 0 or epoch_length < 1:
            got = (adversarial_weight, penalty_weight, epoch_length)
            raise ConfigError("adversarial_weight and penalty_weight >= 0, epoch_length >= 1", got=got)
        self.memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.average = average if average is not None else moving_average(generator)
        self.generator, self.critic = generator, critic
        for network in (generator, critic, self.average):  # in place: the optimisers keep their parameters
            network.to(device)
            for weight in network.parameters():
                if weight.ndim == 5:  # Module.to(memory_format) refuses the 4-axis LayerNorm of two critics
                    # not contiguous(): it leaves one input channel as it is, and the activations follow conv0's strides
                    weight.data = weight.data.to(memory_format=self.memory_format)
            distributed.broadcast(network)
        self.generator_optimizer, self.critic_optimizer = generator_optimizer, critic_optimizer
        self.generator_scheduler, self.critic_scheduler = generator_scheduler, critic_scheduler
        self.schedule, self.seed, self.conditional = schedule, seed, conditional
        self.voxel_loss = voxel_loss if voxel_loss is not None else nn.L1Loss()
        self.adversarial_weight, self.penalty_weight = adversarial_weight, penalty_weight
        self.precision, self.max_gradient_norm = check_precision(precision), max_gradient_norm
        self._computed_in: str | None = None  # what `precision` came to, from the first step on
        super().__init__(
            device=device,
            max_epochs=max_epochs or schedule.epochs(epoch_length),
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=train_handlers,
            decollate=False,
        )
        self.checkpoints = checkpoints
        if checkpoints is not None:
            checkpoints.attach(self)  # after the handlers above: an epoch's checkpoint holds what they did
        self.stop = StopAfterStep()
        self.stop.attach(self)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's: data and epochs are the constructor's
        """Train to the end of the schedule; a run that a checkpoint says is complete returns at once.

        Raises:
            MdcsrnError: of the project's own kind, even where a data loader or MONAI wrapped it.
            Stopped: after SIGTERM or Ctrl-C, with a checkpoint saved after the step; a second signal raises at once.
        """
        try:
            self.stop.run(self, self._train)
            return
        except Exception as error:
            ours = root_error(error)
            if ours is None:
                raise
        raise _without_worker(ours)  # outside, so that no wrapper stands behind it

    def _train(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.resume(self)
        if self.state.iteration < self.state.max_epochs * self.state.epoch_length:
            super().run()
        elif self.stop.validation_due:
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)
        else:
            self.logger.info(f"Nothing to do: {self.state.iteration} steps are done and the schedule has no more.")

    def _iteration(self, engine: Engine, batch: dict[str, Any]) -> dict[str, Any]:
        image, label = (self._to_device(batch[key]) for key in ("image", "label"))
        step = self.schedule.step(engine.state.iteration - 1)
        if step is Step.CRITIC:
            output = self.critic_step(image, label, batch["coefficient"])
        else:
            output = self.generator_step(image, label, adversarial=step is Step.ADVERSARIAL)
        for scheduler in (self.generator_scheduler, self.critic_scheduler):
            if scheduler is not None:
                scheduler.step()
        return {"step": step.value, **output}

    def critic_step(self, image: Tensor, label: Tensor, coefficient: Tensor) -> dict[str, Any]:
        """One update of the critic.

        Args:
            image: low-resolution patches, (N, 1, p, p, p).
            label: reference patches, same shape.
            coefficient: interpolation coefficients of the penalty, (N,).

        Returns:
            ``critic_loss``, ``penalty``, ``distance`` (mean D(HR) - mean D(SR)), ``critic_gradient_norm``.
        """
        fake = self._generate_detached(image)
        self.critic.train().requires_grad_(True)
        distance = -critic_loss(self._score(fake, image), self._score(label, image))
        condition = image if self.conditional else None
        penalty = gradient_penalty(self.critic, label, fake, coefficient, condition)
        loss = self.penalty_weight * penalty - distance
        norm = self._update(loss, self.critic, self.critic_optimizer, None, "critic")
        return {
            "loss": loss.item(),
            "critic_loss": loss.item(),
            "penalty": penalty.item(),
            "distance": distance.item(),
            "critic_gradient_norm": norm,
        }

    def generator_step(self, image: Tensor, label: Tensor, adversarial: bool) -> dict[str, Any]:
        """One update of the generator and its moving average; the critic is not changed.

        Args:
            image: low-resolution patches, (N, 1, p, p, p).
            label: reference patches, same shape.
            adversarial: add the adversarial loss.

        Returns:
            ``generator_loss``, ``voxel_loss``, ``adversarial_loss`` (where it applies), ``generator_gradient_norm``.
        """
        self.generator.train()
        with self._autocast(image):
            output = self.generator(image)
        voxel = self.voxel_loss(output.float(), label)
        loss, parts = voxel, {"voxel_loss": voxel.item()}
        if adversarial:
            self.critic.eval().requires_grad_(False)
            against = generator_loss(self._score(output.float(), image))
            loss = voxel + self.adversarial_weight * against
            parts["adversarial_loss"] = against.item()
        norm = self._update(loss, self.generator, self.generator_optimizer, self.max_gradient_norm, "generator")
        distributed.average_buffers(self.generator)
        self.average.update_parameters(self.generator)
        return {"loss": loss.item(), "generator_loss": loss.item(), **parts, "generator_gradient_norm": norm}

    def _generate_detached(self, image: Tensor) -> Tensor:
        """Fakes for the critic: evaluation mode, so that BatchNorm statistics stay, and no graph."""
        self.generator.eval()
        with torch.no_grad(), self._autocast(image):
            return self.generator(image).float()

    def _score(self, patch: Tensor, image: Tensor) -> Tensor:
        return self.critic(torch.cat((patch, image), dim=1) if self.conditional else patch)

    def _update(
        self, loss: Tensor, network: nn.Module, optimizer: Optimizer, max_norm: float | None, name: str
    ) -> float:
        """Backward, average over the processes, check, clip, step; returns the gradient norm before clipping."""
        value = float(distributed.average_value(loss))
        self._require_finite(value, f"loss of the {name}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for p in network.parameters() if p.grad is not None]
        distributed.average_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, float("inf") if max_norm is None else max_norm))
        self._require_finite(norm, f"gradient norm of the {name}")
        optimizer.step()
        return norm

    def _require_finite(self, value: float, what: str) -> None:
        if not torch.isfinite(torch.tensor(value)):
            raise TrainingError(
                f"training stopped at step {self.state.iteration}: the {what} is not finite",
                got=value,
                remedy="the last checkpoint is good: lower the learning rate, or train in float32, and run again",
            )

    def _choose_precision(self, image: Tensor) -> str:
        chosen = resolve_precision(self.precision, self.generator, image, training=True)
        if self.precision == AUTO:
            names = list(PRECISIONS)
            chosen = names[distributed.same_choice(names.index(chosen))]
            self.logger.info(f"precision auto: this run computes in {chosen}")
        return chosen

    def _autocast(self, image: Tensor) -> torch.autocast:
        if self._computed_in is None:
            self._computed_in = self._choose_precision(image)
        return autocast(self.state.device.type, self._computed_in)

    def _to_device(self, patch: Tensor) -> Tensor:
        return patch.to(self.state.device, torch.float32, non_blocking=True).contiguous(
            memory_format=self.memory_format
        )

    def training_state(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not stopped; tensors and plain values."""
        state: dict[str, Any] = {
            "seed": self.seed,
            "precision": self._computed_in or self.precision,
            "generator": network_state(self.generator),
            "critic": network_state(self.critic),
            "average": self.average.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
        }
        for name in ("generator_scheduler", "critic_scheduler"):
            scheduler = getattr(self, name)
            state[name] = None if scheduler is None else scheduler.state_dict()
        return state

    def load_training_state(self, state: Mapping[str, Any], source: str) -> None:
        """Take back what :meth:`training_state` gave.

        Args:
            state: a training checkpoint's content, with its ``iteration``.
            source: its path, for error messages.

        Raises:
            CheckpointError: it belongs to another network or seed, or a part is missing.
        """
        try:
            if state["seed"] != self.seed:
                raise CheckpointError(f"{source} is of a run with another seed", got=state["seed"], allowed=self.seed)
            fill_network(self.generator, state["generator"], source)
            fill_network(self.critic, state["critic"], source)
            self.average.load_state_dict(state["average"])
            self.generator_optimizer.load_state_dict(state["generator_optimizer"])
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
            for name in ("generator_scheduler", "critic_scheduler"):
                if getattr(self, name) is not None:
                    getattr(self, name).load_state_dict(state[name])
            if self.precision == AUTO:  # else the user's word; a checkpoint of an older version does not say
                known = state.get("precision")
                self._computed_in = known if known in PRECISIONS else None
            self.state.iteration = int(state["iteration"])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source} does not fit this run", got=f"{type(error).__name__}: {error}") from error
        # Ignite counts a started epoch; the engine adds one when it enters the unfinished epoch.
        self.state.epoch = self.state.iteration // self.state.epoch_length


def _without_worker(error: MdcsrnError) -> MdcsrnError:
    """Undo what a loader worker does to an error: it comes back as text, a whole traceback before its own words."""
    _, worker, words = error.what.rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")
    return type(error)(words.strip()) if worker else error
