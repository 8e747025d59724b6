"""Train networks: a resumable core, supervised, adversarial and cycle trainers, schedules, checkpoints and handlers."""

from mdcsrn.engines.adversarial import AdversarialTrainer
from mdcsrn.engines.cycle_gan import CycleTrainer
from mdcsrn.engines.ema import moving_average
from mdcsrn.engines.evaluator import Evaluator
from mdcsrn.engines.generator import GeneratorTrainer
from mdcsrn.engines.handlers import WeightsSaver, every
from mdcsrn.engines.loader import training_loader, unpaired_loader
from mdcsrn.engines.parts import Part
from mdcsrn.engines.progress import ProgressLine
from mdcsrn.engines.rates import HalvingRate, parameter_groups
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import CycleSchedule, CycleStep, GeneratorRate, Schedule, Step
from mdcsrn.engines.supervised import SupervisedTrainer
from mdcsrn.engines.tensorboard import TrainingBoard
from mdcsrn.engines.trainer import ResumableTrainer, TrainingOptions
from mdcsrn.engines.validation import validation_metrics
from mdcsrn.networks.restore import warm_start
from mdcsrn.networks.weights import load_weights, save_weights

__all__ = [
    "AdversarialTrainer",
    "CycleSchedule",
    "CycleStep",
    "CycleTrainer",
    "Evaluator",
    "GeneratorRate",
    "GeneratorTrainer",
    "HalvingRate",
    "Part",
    "ProgressLine",
    "ResumableTrainer",
    "Schedule",
    "Step",
    "SupervisedTrainer",
    "TrainingBoard",
    "TrainingCheckpoints",
    "TrainingOptions",
    "WeightsSaver",
    "every",
    "load_weights",
    "moving_average",
    "parameter_groups",
    "save_weights",
    "warm_start",
    "training_loader",
    "unpaired_loader",
    "validation_metrics",
]
