"""Ignite handler that turns a MONAI evaluator's run into the comparison table of a study."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.evaluation.baselines import BASELINES, ZERO_FILLED, baselines, check_baselines, label
from mdcsrn.evaluation.comparison import SR, SR_RAW, Row, compare, degradation_label
from mdcsrn.evaluation.table import render, write_csv, write_json
from mdcsrn.io import image_stem
from mdcsrn.kspace import DegradationSpec, acquired_shape, resample_grid
from mdcsrn.transforms import recorded_degradation


class ComparisonTable:
    """Score SR, SR without consistency and the baselines on every subject; write the table when the run completes.

    From each decollated item of ``engine.state.output`` it takes ``image`` (LR, on the reference grid or on the
    acquired one), ``label`` (the reference), ``pred`` (SR) and, where present, ``pred_raw`` (SR before consistency);
    each (C, D, H, W) in one intensity unit. The subject's name is the file name in the label's meta-data. At the end,
    the first process writes ``per_subject.csv`` and ``summary.json`` and prints the table.

    Args:
        output_dir: folder of both files.
        degradation: specification or its plain values; None reads what the low-pass transform recorded in ``image``.
        baselines: names out of :data:`mdcsrn.evaluation.BASELINES`, and ``spandrel:FILE`` for weights of a picture
            model, in the table's order.
        legacy: also the figures of :func:`mdcsrn.metrics.legacy_metrics`.

    Raises:
        ConfigError: unknown baseline or bad degradation; later, an engine without ``decollate`` or a missing key.
        CheckpointError, MissingDependencyError: a picture model cannot be used.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        degradation: DegradationSpec | Mapping[str, Any] | None = None,
        baselines: Sequence[str] = BASELINES,
        legacy: bool = False,
    ) -> None:
        check_baselines(baselines)
        if isinstance(degradation, Mapping):
            degradation = DegradationSpec.from_dict(degradation)
        self.output_dir = Path(output_dir)
        self.degradation = degradation
        self.baselines = tuple(baselines)
        self.legacy = legacy
        self.rows: list[Row] = []
        self._specs: dict[str, DegradationSpec] = {}
        self._sources: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator (MONAI calls this for what is in ``val_handlers``)."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self.rows, self._specs, self._sources = [], {}, {}

    def iteration_completed(self, engine: Engine) -> None:
        """Score the subjects of one batch."""
        items: Any = engine.state.output
        if not isinstance(items, list):
            raise ConfigError("the comparison table needs single items", remedy="set decollate=True in the evaluator")
        for item in items:
            self.rows += self._score(item)

    def completed(self, engine: Engine) -> None:
        """Gather the rows of all processes; the first one writes and prints."""
        self.rows = _gather(self.rows)
        specs = _gather_specs(self._specs)
        if idist.get_rank() != 0:
            return
        if not self.rows:
            raise DataError("nothing was evaluated: the data loader gave no subject", remedy="check the list of files")
        write_csv(self.output_dir / "per_subject.csv", self.rows)
        write_json(self.output_dir / "summary.json", self.rows, {name: spec.to_dict() for name, spec in specs.items()})
        print(render(self.rows), f"\nper subject: {self.output_dir / 'per_subject.csv'}", sep="\n", flush=True)

    def _score(self, item: Mapping[str, Any]) -> list[Row]:
        missing = [key for key in ("image", "label", "pred") if not isinstance(item.get(key), Tensor)]
        if missing:
            raise ConfigError(
                "the evaluator's output lacks a key", got=", ".join(missing), allowed="image, label, pred[, pred_raw]"
            )
        spec = self.degradation or recorded_degradation(item["image"])
        self._specs.setdefault(degradation_label(spec), spec)
        image, truth, pred = (_plain(item[key]) for key in ("image", "label", "pred"))
        candidates = {SR: pred}
        if isinstance(item.get("pred_raw"), Tensor):
            candidates[SR_RAW] = _plain(item["pred_raw"])
        candidates.update(self._baselines(image, truth.shape[-3:], spec))
        return compare(truth, candidates, spec, self._subject(item["label"]), legacy=self.legacy)

    def _baselines(self, image: Tensor, shape: Sequence[int], spec: DegradationSpec) -> dict[str, Tensor]:
        if image.shape[-3:] != torch.Size(shape):
            return baselines(image, shape, self.baselines)
        # The image is the zero-filled one; its centre of k-space is what the scan measured.
        acquired = resample_grid(image, acquired_shape(shape, spec.reduction))
        made = baselines(acquired, shape, [name for name in self.baselines if name != ZERO_FILLED])
        return {label(name): image if name == ZERO_FILLED else made[label(name)] for name in self.baselines}

    def _subject(self, label: Tensor) -> str:
        path = str(getattr(label, "meta", {}).get("filename_or_obj", "")) or f"volume {len(self._sources) + 1}"
        name = image_stem(path)
        if self._sources.setdefault(name, path) != path:  # sub-01/T1w.nii.gz and sub-02/T1w.nii.gz
            name = f"{Path(path).parent.name}/{name}"
            self._sources.setdefault(name, path)
        return name


def _plain(volume: Tensor) -> Tensor:
    return torch.Tensor(volume.detach().float())  # not a MetaTensor, which would carry its history along


def _gather(rows: list[Row]) -> list[Row]:
    """Rows of all processes; a sampler that evens out the processes repeats subjects, identical rows count once."""
    texts = string_list_all_gather([json.dumps(dataclasses.asdict(row)) for row in rows])
    if idist.get_world_size() > 1:
        texts = list(dict.fromkeys(text for text in texts if text))
    return [Row(**json.loads(text)) for text in texts]


def _gather_specs(specs: Mapping[str, DegradationSpec]) -> dict[str, DegradationSpec]:
    texts = string_list_all_gather([json.dumps(spec.to_dict()) for spec in specs.values()])
    found = (DegradationSpec.from_dict(json.loads(text)) for text in texts if text)
    return {degradation_label(spec): spec for spec in found}
