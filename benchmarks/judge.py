"""One method at one setting on one subject: restored, scored by the package's metrics, and remembered on disk."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from ceiling import noise_sigma
from settings import SETTINGS, Setting
from torch import Tensor, nn

from mdcsrn.evaluation.baselines import METHODS, ZERO_FILLED, upsample
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.inference.uncertainty import FLIPS, ensemble
from mdcsrn.io import read_volume
from mdcsrn.kspace import acquired_shape, resample_grid
from mdcsrn.kspace.intensity import percentile
from mdcsrn.metrics import band_error, data_range, head_mask, legacy_metrics, masked_mean, nrmse, psnr, ssim_map
from mdcsrn.metrics.frequency import laplacian_of_gaussian, mean_log_ratio, power_ratio
from mdcsrn.networks import MDCSRN, load_weights

FIGURES = 2  # counts changes of what is measured: what an older version remembered is then measured again
Values = dict[str, float]


@dataclass(frozen=True)
class Method:
    """Something that restores a volume: a baseline, or a file of weights.

    Attributes:
        name: on the command line and of its folder.
        title: in the tables.
        family: ``baseline``, ``ours`` or ``peer``.
        weights: of a network; None: a baseline, `name` is the package's word for it.
        settings: where it is judged.
        voxels: seen in training; 0: not known, or a baseline.
        flips: the mean over eight flips of the input, as in ``mdcsrn predict --uncertainty``.
    """

    name: str
    title: str
    family: str
    settings: tuple[str, ...]
    weights: Path | None = None
    voxels: int = 0
    flips: bool = False

    @cached_property
    def key(self) -> str:
        """Name and content: what figures are remembered under."""
        return slug(self.name) + ("" if self.weights is None else f"-{sha256(self.weights)[:12]}")

    @cached_property
    def network(self) -> nn.Module:
        """The network, in evaluation mode."""
        assert self.weights is not None
        return load_weights(self.weights).requires_grad_(False)


def baseline_methods() -> list[Method]:
    """What needs no network."""
    return [Method(name, name, "baseline", tuple(SETTINGS)) for name in METHODS]


@dataclass(frozen=True)
class How:
    """How networks run: it changes figures by rounding alone, and seconds."""

    precision: str = "float32"
    backend: str = "auto"
    max_memory: float = 8.0

    @property
    def key(self) -> str:
        """What figures are remembered under."""
        return f"{self.precision}-{self.backend}"


class Case:
    """One subject at one setting: the reference, the short scan, and what all methods share; all / one scale."""

    def __init__(self, reference: Tensor, setting: Setting) -> None:
        low = setting.scan(reference)
        scale = float(percentile(low, 99.9))  # as in training and prediction
        self.setting, self.spec, self.reference, self.low = setting, setting.band, reference / scale, low / scale
        self.peak = data_range(self.reference)
        self.regions: dict[str, Tensor | None] = {"head": head_mask(self.reference), "volume": None}
        self.detail = laplacian_of_gaussian(self.reference).square()

    @cached_property
    def inside(self) -> Tensor:
        """Where a network may change the volume, as in ``mdcsrn predict``."""
        return head_region(self.low)

    @cached_property
    def acquired(self) -> Tensor:
        """The short scan on its own grid: where the interpolations begin."""
        return resample_grid(self.low, acquired_shape(self.low.shape, self.spec.reduction))

    def score(self, result: Tensor) -> dict[str, Values]:
        """Every figure of a result, by region."""
        similarity = ssim_map(result, self.reference, self.peak)
        error = laplacian_of_gaussian(result - self.reference).square()
        figures = {}
        for region, mask in self.regions.items():
            ratios = power_ratio(result, self.reference, self.spec, mask)
            figures[region] = {
                "psnr": psnr(result, self.reference, self.peak, mask),
                "ssim": masked_mean(similarity, mask),
                "nrmse": nrmse(result, self.reference, self.peak, mask),
                "hfen": math.sqrt(masked_mean(error, mask) / masked_mean(self.detail, mask)),
                "band_error": band_error(result, self.reference, self.spec, mask),
                "power_error": mean_log_ratio(ratios),
                **{f"power_ratio_{number:02d}": ratio for number, ratio in enumerate(ratios)},
            }
        figures["volume"] |= legacy_metrics(result, self.reference)
        return figures


def restore(network: nn.Module, case: Case, how: How, flips: bool = False) -> Tensor:
    """A network's own result; outside the head region it is the input, for every network alike."""
    run: Callable[[Tensor, Tensor], Tensor] = partial(in_tiles, network, how)
    if isinstance(network, MDCSRN):  # as ``mdcsrn predict`` runs it
        run = SlabRunner(network, how.backend, how.precision, "cpu", how.max_memory).run
    return ensemble(run, case.low, FLIPS if flips else FLIPS[:1], (case.inside,)).mean


def in_tiles(network: nn.Module, how: How, low: Tensor, inside: Tensor) -> Tensor:
    """A peer, in exact tiles of plain torch."""
    box = around(inside, network.margin, network.multiple)
    inferer = ExactTiledInferer(how.max_memory, precision=how.precision)
    with torch.inference_mode():
        part = inferer(low[box][None, None], network)[0, 0]
    result = low.clone()
    result[box] = torch.where(inside[box], part, result[box])
    return result


def around(inside: Tensor, margin: tuple[int, ...], multiple: tuple[int, ...]) -> tuple[slice, ...]:
    """Box of a region and its margin; it begins at a multiple, so that the network's cells lie as in the whole."""
    box = []
    for axis, (reach, step) in enumerate(zip(margin, multiple, strict=True)):
        found = inside.any(dim=tuple(a for a in range(3) if a != axis)).nonzero().flatten()
        start = max(0, int(found[0]) - reach) // step * step
        box.append(slice(start, min(inside.shape[axis], int(found[-1]) + 1 + reach)))
    return tuple(box)


def judge(
    methods: Sequence[Method],
    entries: Sequence[Mapping[str, Any]],
    folder: Path,
    how: How,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> Iterator[dict[str, Any]]:
    """Figures of all methods at all their settings on all subjects; what is on disk is not measured again.

    Args:
        methods: see :class:`Method`.
        entries: of a datalist, with `image` and `subject`.
        folder: where figures are remembered.
        how: see :class:`How`.
        say: told of each measurement.

    Yields:
        For each setting, subject and method: names, ``figures`` by variant (``""`` and, for networks,
        ``without consistency``) and region, and ``seconds``.
    """
    for entry in entries:
        image = Path(entry["image"])
        home = folder / f"{slug(entry['subject'])}-{sha256(image)[:12]}-v{FIGURES}"
        reference: Tensor | None = None
        for setting in SETTINGS:
            case: Case | None = None
            for method in [m for m in methods if setting in m.settings]:
                run = how.key if method.weights else "exact"
                record = home / f"{slug(setting)}-{SETTINGS[setting].sha256[:8]}" / f"{method.key}-{run}.json"
                if not record.is_file():
                    reference = torch.from_numpy(read_volume(image).array) if reference is None else reference
                    case = case or Case(reference, SETTINGS[setting])
                    found = measure(method, case, how)
                    say(f"{entry['subject']}, {setting}, {method.title}: {found['figures']['']['head']['psnr']:.2f} dB")
                    atomic_write_text(record, json.dumps(found) + "\n")
                names = {"subject": entry["subject"], "setting": setting, "method": method.name}
                yield {**names, **json.loads(record.read_text())}


def measure(method: Method, case: Case, how: How) -> dict[str, Any]:
    """Restore and score once."""
    start = time.perf_counter()
    if method.weights is None:
        result = case.low if method.name == ZERO_FILLED else upsample(case.acquired, case.low.shape, method.name)
        return {"seconds": time.perf_counter() - start, "figures": {"": case.score(result)}}
    raw = restore(method.network, case, how, method.flips)
    result = case.setting.consistent(raw, case.low)
    seconds = time.perf_counter() - start
    figures = {"": case.score(result)}
    if result is not raw:
        figures["without consistency"] = case.score(raw)
    return {"seconds": seconds, "figures": figures}


def reference_facts(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Shape, noise and signal of a reference, remembered as well."""
    image = Path(entry["image"])
    record = folder / f"{slug(entry['subject'])}-{sha256(image)[:12]}-v{FIGURES}" / "reference.json"
    if not record.is_file():
        volume = torch.from_numpy(read_volume(image).array)
        head = head_mask(volume)
        facts = {
            "shape": list(volume.shape),
            "range": data_range(volume),
            "sigma": noise_sigma(volume, head),
            "signal": masked_mean(volume, head),
        }
        atomic_write_text(record, json.dumps(facts) + "\n")
    return {"subject": entry["subject"], **json.loads(record.read_text())}


def slug(name: str) -> str:
    """A name as part of a path."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
