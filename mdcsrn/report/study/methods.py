"""Methods of a study by name: interpolation, picture models and networks, from a short scan to the reference's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mdcsrn.errors import ConfigError
from mdcsrn.evaluation.baselines import BASELINES, BICUBIC, check_baselines, label, upsample
from mdcsrn.inference.pipeline import predict
from mdcsrn.inference.planning.axis_order import check_factor
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.inference.planning.settings import RunSettings
from mdcsrn.inference.planning.task import Task
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.volume import Volume
from mdcsrn.networks.traits import traits_of
from mdcsrn.report.page import Array
from mdcsrn.report.study.shortening import Shortening

Shape = tuple[int, int, int]
Method = Callable[[Volume, Shape, str], Array]
"""From the short scan, the reference's shape and the contrast to the restored array."""

USUAL = (BICUBIC, *BASELINES)


@dataclass(frozen=True)
class Methods:
    """What is compared.

    Attributes:
        baselines: name to method; :data:`mdcsrn.evaluation.BICUBIC` is always among them, first.
        networks: name to method.
    """

    baselines: Mapping[str, Method]
    networks: Mapping[str, Method]

    @property
    def all(self) -> dict[str, Method]:
        """Both, in the order shown."""
        return {**self.baselines, **self.networks}


def methods_of(short: Shortening, bundles: Sequence[str], baselines: Sequence[str] = USUAL) -> Methods:
    """Find methods before any work; weights are loaded, each file once.

    Args:
        short: how the scans are made.
        bundles: names or folders of bundles, or files of weights.
        baselines: of :data:`mdcsrn.evaluation.baselines.METHODS`, or ``spandrel:FILE``.

    Raises:
        ConfigError: an unknown bundle or baseline, two of one name, or a network of another factor than `short` has.
        CheckpointError, MissingDependencyError: weights cannot be used.
    """
    listed = [BICUBIC, *(name for name in baselines if name != BICUBIC)]
    check_baselines(listed)
    networks: dict[str, Method] = {}
    for given in bundles:
        model = find_model(model=given) if Path(given).is_file() else find_model(given)
        name = model.bundle if model.bundle and not Path(given).is_file() else model.path.stem
        if name in networks or name in listed:
            raise ConfigError(
                "two methods of a study have one name", got=name, remedy="leave one out, or rename a file"
            )
        check_factor(traits_of(model.network), short.factor, name)  # damaged weights are refused here too
        networks[name] = _network(model)
    return Methods({label(name): _baseline(short, name) for name in listed}, networks)


def _baseline(short: Shortening, name: str) -> Method:
    def restore(acquired: Volume, shape: Shape, contrast: str) -> Array:
        start = short.start(acquired, shape)
        result: Array = upsample(torch.from_numpy(start.array), shape, name).numpy()
        return result

    return restore


def _network(model: Model) -> Method:
    def restore(acquired: Volume, shape: Shape, contrast: str) -> Array:
        d, h, w = (n / m for n, m in zip(shape, acquired.shape, strict=True))
        facts = ScanFacts(contrast=contrast)
        task = Task("factor", factor=(d, h, w))
        return predict(acquired, task, RunSettings(maps=False), facts=facts, model=model).volume.array

    return restore
