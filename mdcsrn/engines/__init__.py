"""Training: the WGAN-GP engine, its schedule, checkpoints and handlers."""

from mdcsrn.engines.ema import moving_average
from mdcsrn.engines.evaluator import Evaluator
from mdcsrn.engines.handlers import WeightsSaver, every
from mdcsrn.engines.progress import ProgressLine
from mdcsrn.engines.rates import parameter_groups
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import GeneratorRate, Schedule, Step
from mdcsrn.engines.tensorboard import TrainingBoard
from mdcsrn.engines.wgan_gp import WGANGPTrainer
from mdcsrn.networks.weights import load_weights, save_weights, started

__all__ = [
    "Evaluator",
    "GeneratorRate",
    "ProgressLine",
    "Schedule",
    "Step",
    "TrainingBoard",
    "TrainingCheckpoints",
    "WGANGPTrainer",
    "WeightsSaver",
    "every",
    "load_weights",
    "moving_average",
    "parameter_groups",
    "save_weights",
    "started",
]
