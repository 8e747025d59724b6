"""Prepare a prediction: the plan, the weights, the warnings, and the network's input."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError, GeometryError
from mdcsrn.inference.planning.axis_order import axis_order, own_tasks
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.inference.planning.image_type import image_type_notices
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.inference.planning.plan import Plan
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.inference.planning.trained_range import outside
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.pictures import PICTURE_KINDS
from mdcsrn.io.volume import Volume
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.networks.traits import traits_of
from mdcsrn.notices import Notice

REGIONS = ("head", "all")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a prediction would do.

    Attributes:
        plan: grid, measured band and reasons.
        model: the weights.
        notices: warnings of the file, the plan and the trained range.
    """

    plan: Plan
    model: Model
    notices: tuple[Notice, ...]


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network reads of a scan.

    Attributes:
        measured: k-space samples that the consistency step puts back, in the scan's unit.
        low: zero-filled volume on the plan's grid, shape (D, H, W), in the scan's unit.
        scale: 99.9th percentile of `low`; the network reads `low` / `scale`.
    """

    measured: Tensor
    low: Tensor
    scale: float

    @property
    def scaled(self) -> Tensor:
        """The network's input: `low` / `scale`."""
        return self.low / self.scale


def prepare(
    volume: Volume,
    task: Task = Task(),  # noqa: B008 - frozen
    *,
    facts: ScanFacts = ScanFacts(),  # noqa: B008 - frozen
    model: Model | None = None,
) -> Prepared:
    """Decide what a prediction would do, without doing it; see :func:`mdcsrn.inference.predict`."""
    model = model or find_model()
    kind = image_type_notices(facts, str(volume.path or "the volume"))
    plan = _first_that_fits(volume, facts, task, model)
    header = tuple(Notice("header", text) for text in volume.warnings)
    return Prepared(plan, model, (*header, *kind, *plan.notices, *outside(plan, facts, model.trained)))


def _first_that_fits(volume: Volume, facts: ScanFacts, task: Task, model: Model) -> Plan:
    """The plan of the task, or of the likeliest one that the network can do where it has a factor of its own."""
    if task.kind not in ("detect", "same-grid"):
        return make_plan(volume, facts, task)
    first: Plan | None = None
    tasks = own_tasks(task, traits_of(model.network), volume.shape, volume.spacing)
    for possible in tasks:
        plan = make_plan(volume, facts, possible)
        first = first or plan
        if len(tasks) == 1 or plan.kind == "nothing":
            return plan
        with contextlib.suppress(GeometryError):
            axis_order(plan, model.network)
            return plan
    assert first is not None
    return first  # what it does not fit is said when it is run


def network_input(volume: Volume, plan: Plan) -> NetworkInput:
    """Zero-fill a scan onto the grid of its plan, and find its intensity scale.

    Args:
        volume: the scan.
        plan: of a kind other than ``nothing``.

    Raises:
        DataError: the scan has no signal.
    """
    measured = plan.measured(torch.from_numpy(volume.array))
    low = plan.band.pseudo_inverse(measured)
    scale = float(intensity_scale(low))
    if not scale > 0:
        raise DataError(
            f"{volume.path or 'the volume'} has no signal",
            got=f"99.9th percentile {scale:g}",
            allowed="above 0",
            remedy="magnitude images are expected",
        )
    return NetworkInput(measured, low, scale)


def region_of(scaled: Tensor, region: str = "head") -> Tensor:
    """Where the network may change a volume.

    Args:
        scaled: the network's input, shape (D, H, W).
        region: ``head`` or ``all``.

    Returns:
        Boolean, same shape.
    """
    check_region(region)
    return head_region(scaled) if region == "head" else torch.ones(scaled.shape, dtype=torch.bool)


def check_region(region: str) -> None:
    """Raise ConfigError for a region that is none of :data:`REGIONS`."""
    if region not in REGIONS:
        raise ConfigError("unknown region", got=region, allowed=", ".join(REGIONS))


def takes_pictures(model: Model) -> bool:
    """True where a network works plane by plane: no voxel of a neighbouring plane has a say in its result."""
    return traits_of(model.network).margin[0] == 0


def check_picture(source: Path, kind: str, model: Model) -> None:
    """Refuse a picture for a network that reads neighbouring planes.

    Args:
        source: the file, for the error.
        kind: of the scan, see :class:`mdcsrn.io.scan.Scan`.
        model: the weights; read for a picture alone.

    Raises:
        DataError: see above.
    """
    if kind not in PICTURE_KINDS or takes_pictures(model):
        return
    raise DataError(
        f"{source} is a picture of one plane, and the network {type(model.network).__name__} is 3D",
        got=f"a {kind.upper()} file", allowed="a volume: NIfTI, DICOM, ...",
        remedy="give the whole scan, or take a bundle for pictures (`mdcsrn bundle list`)",
    )  # fmt: skip
