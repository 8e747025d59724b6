"""Training task: fine-tune a bundle's model on the scans of the study folder, by the bundle's own configs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import name_to_device

from lib.request import DEVICES, THEIRS, checked_name
from lib.study_datalist import write_study
from mdcsrn.errors import CheckpointError, ConfigError, OutputError, TrainingError
from mdcsrn.files import atomic_write_text, read_mapping
from mdcsrn.inference.planning.models import find_model, model_names
from mdcsrn.networks import publish_weights
from mdcsrn.networks.weights import read_weights
from mdcsrn.resources import read_metadata

logger = logging.getLogger(__name__)

CONFIGS = (Path("configs") / "train.yaml", Path("configs") / "finetune.yaml")
# Knobs of the configs that a client may turn; their defaults are those of the files.
KNOBS = ("voxel_steps", "epoch_length", "checkpoint_every", "patch_size", "batch_size", "patches_per_volume",
         "voxel_rate", "rate_warmup", "num_workers", "seed", "precision")  # fmt: skip
RUNS = "runs"  # below the folder of models: one folder for each training
REQUEST = "request.json"


@dataclass(frozen=True)
class Wish:
    """What a training is asked for; an equal wish of the same name resumes where the earlier one stopped.

    Attributes:
        bundle: name of the bundle.
        name: of the model that comes of it.
        start: name of the bundle's model to start from.
        val_split: share of the people whose scans measure the result.
        crop_kspace: bring scans with an empty outer band to the matrix that was measured; they would teach blur.
        device: ``auto``, ``cpu`` or ``cuda``.
        knobs: values of `KNOBS`.
    """

    bundle: str
    name: str
    start: str
    val_split: float
    crop_kspace: bool
    device: str
    knobs: dict[str, Any]


class FineTune(TrainTask):
    """Fine-tuning in a process of its own, which MONAI Label can stop, and which the same request resumes.

    Args:
        home: folder of the bundle.
        models: where models that are trained here are kept; runs in progress lie below it.
    """

    def __init__(self, home: Path, models: Path) -> None:
        super().__init__(f"Fine-tune {home.resolve().name} on the scans of the study folder")
        self.home, self.models = home.resolve(), models

    @staticmethod
    def is_possible(home: Path) -> bool:
        """True where the bundle has the configs that this takes, and weights to start from."""
        return all((home / config).is_file() for config in CONFIGS) and bool(model_names(home))

    def info(self) -> dict[str, Any]:
        """What a client shows."""
        return {**super().info(), "version": str(read_metadata(self.home).get("version", ""))}

    def config(self) -> dict[str, Any]:
        """Options with their defaults; a list is a choice, its first entry the default."""
        return {
            "name": "finetuned",
            "start": model_names(self.home),
            "val_split": 0.2,
            "crop_kspace": True,
            "device": list(DEVICES),
            **_defaults(self.home),
        }

    def stats(self) -> dict[str, Any]:
        """How far the newest training of this bundle is, by the figures of its last validation; empty before one."""
        runs = sorted((self.models / RUNS).glob(f"*/{REQUEST}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in runs:
            wish = json.loads(file.read_text(encoding="utf-8"))
            if wish["bundle"] == self.home.name:
                return _progress(file.parent, wish, (self.models / f"{wish['name']}.pt").is_file())
        return {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and put the model with the best validation among those that the app offers.

        Args:
            request: options of :meth:`config`.
            datastore: the study folder; its images are the scans.

        Returns:
            Name and figures of the new model.

        Raises:
            ConfigError: an option is unknown or out of range, or the name is taken.
            DataError: no scan can be used, or nobody is left for the validation.
            TrainingError: the training ended with an error, which its log tells.
        """
        wish = self._wish(request)
        run = self.models / RUNS / wish.name
        self._claim(run, wish)
        datalist = write_study(datastore, run, wish.val_split, wish.crop_kspace)
        start = find_model(self.home, wish.start).path
        words = [f"--{key}={value}" for key, value in wish.knobs.items()]
        if wish.device != "auto":
            words.append(f"--device=$torch.device('{wish.device}')")
        configs = ",".join(f"'{self.home / config}'" for config in CONFIGS)
        command = [
            *(sys.executable, "-m", "monai.bundle", "run", "training", f"--config_file=[{configs}]"),
            *(f"--bundle_root={self.home}", f"--datalist={datalist}", f"--output_dir={run}", f"--start={start}"),
            *words,
        ]
        logger.info("training %s", wish)
        ended = subprocess.run(command, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        if ended.returncode != 0:
            raise TrainingError(
                f"the training of {wish.name} ended with an error", got=f"status {ended.returncode}",
                remedy="read the lines above; the same request goes on from the last checkpoint",
            )  # fmt: skip
        files = publish_weights(run / "model_best.pt", self.models, wish.name)
        logger.info("model %s is there: %s", wish.name, ", ".join(file.name for file in files))
        return {"model": wish.name, **_progress(run, asdict(wish), True)}

    def _wish(self, request: Mapping[str, Any]) -> Wish:
        known = self.config()
        unknown = [str(key) for key in request if key not in known and key not in {*THEIRS, "local_rank"}]
        if unknown:
            raise ConfigError("unknown parameter of the training", got=", ".join(unknown), allowed=", ".join(known))
        values = {key: default if request.get(key) is None else request[key] for key, default in known.items()}
        start, device = _choice("start", values["start"], known["start"]), _device(values["device"])
        share = values["val_split"]
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise ConfigError("parameter val_split", got=share, allowed="above 0, below 1")
        if not isinstance(values["crop_kspace"], bool):
            raise ConfigError("parameter crop_kspace", got=values["crop_kspace"], allowed="true or false")
        knobs = {key: _knob(key, values[key], known[key]) for key in KNOBS if key in known}
        name = self._name(values["name"])
        return Wish(self.home.name, name, start, float(share), values["crop_kspace"], device, knobs)

    def _name(self, value: Any) -> str:
        name = checked_name("name", value)
        if name.startswith(("checkpoint", self.home.name)) or name == RUNS:
            raise ConfigError("a name that is not free for a model", got=name, remedy="choose another name")
        return name

    def _claim(self, run: Path, wish: Wish) -> None:
        """Take the name: a finished model is never replaced, an unfinished run is only continued as it began."""
        if (self.models / f"{wish.name}.pt").exists():
            raise ConfigError(f"there is a model {wish.name} already", remedy="give another name")
        text = json.dumps(asdict(wish), indent=2) + "\n"
        file = run / REQUEST
        if file.is_file() and file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"an unfinished training {wish.name} was asked for differently", got=f"see {file}",
                remedy="ask for the same to go on with it, give another name, or remove its folder",
            )  # fmt: skip
        try:
            atomic_write_text(file, text)
        except OSError as error:
            raise OutputError(f"cannot write {file}", got=str(error)) from error


def _defaults(home: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for config in CONFIGS:
        merged.update(read_mapping(home / config))
    return {key: merged[key] for key in KNOBS if isinstance(merged.get(key), (int, float, str))}


def _choice(key: str, value: Any, allowed: list[str]) -> str:
    """One of a list; the whole list, as a client sends it untouched, means its first entry."""
    chosen = value[0] if isinstance(value, list) and value else value
    if chosen not in allowed:
        raise ConfigError(f"parameter {key}", got=value, allowed=", ".join(allowed))
    return str(chosen)


def _device(value: Any) -> str:
    """A device by a name that is known here: it becomes part of an expression of the config."""
    chosen = _choice("device", value, list(DEVICES))
    return chosen if chosen == "auto" else str(name_to_device(chosen))


def _knob(key: str, value: Any, default: Any) -> Any:
    """A value of the kind that the config has; its range is the training's own affair."""
    if isinstance(default, str):
        return _choice(key, value, ["auto", "float32", "bfloat16"])
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if not fine or (isinstance(default, int) and value != int(value)):
        raise ConfigError(f"parameter {key}", got=value, allowed=f"a number like {default}")
    return int(value) if isinstance(default, int) else float(value)


def _progress(run: Path, wish: Mapping[str, Any], finished: bool) -> dict[str, Any]:
    """Keys as MONAI Label's own training reports them; `best_metric` is the PSNR in the head mask, dB."""
    latest, best = _facts(run / "model.pt"), _facts(run / "model_best.pt")
    length = max(int(wish["knobs"]["epoch_length"]), 1)
    steps = int(latest.get("step", 0))
    begun = (run / REQUEST).stat().st_mtime
    so_far = time.strftime("%H:%M:%S", time.gmtime(_stamp(run / "model.pt", begun) - begun))
    return {
        "name": wish["name"],
        "epoch": -(-steps // length),
        "total_epochs": -(-int(wish["knobs"]["voxel_steps"]) // length),
        "step": steps,
        "start_ts": int(begun),
        "total_time" if finished else "current_time": so_far,
        "best_metric": best.get("psnr", 0),
        "eval": {"key_metric_name": "psnr", "metrics": {"psnr": latest.get("psnr")}, "best_metric": best.get("psnr")},
    }


def _facts(file: Path) -> dict[str, Any]:
    try:
        return dict(read_weights(file).facts)
    except CheckpointError:  # before the first validation
        return {}


def _stamp(file: Path, otherwise: float) -> float:
    return max(file.stat().st_mtime, otherwise) if file.is_file() else otherwise
