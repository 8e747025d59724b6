"""Weights to predict with: found by a bundle's name or a path, with what is known of their training."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.files import read_mapping, sha256
from mdcsrn.resources import folder

if TYPE_CHECKING:
    from mdcsrn.inference.trained_range import TrainedRange
    from mdcsrn.networks import MDCSRN

RANGE_FILE = "trained_range.yaml"


@dataclass(frozen=True)
class Model:
    """One file of weights.

    Attributes:
        path: the file.
        bundle: name of the bundle that it belongs to; empty for a file of the user's own.
        version: of the bundle; empty likewise.
        range_file: what the weights have seen in training; None where it is not known.
    """

    path: Path
    bundle: str = ""
    version: str = ""
    range_file: Path | None = field(default=None, repr=False)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        return sha256(self.path)

    @cached_property
    def trained(self) -> TrainedRange | None:
        """What the weights have seen in training."""
        from mdcsrn.inference.trained_range import load_trained_range

        return None if self.range_file is None else load_trained_range(self.range_file)

    @cached_property
    def network(self) -> MDCSRN:
        """The network, in evaluation mode.

        Raises:
            CheckpointError: the file is damaged, holds another kind of network, or a weight is not finite.
        """
        import torch

        from mdcsrn.networks import MDCSRN, load_weights

        network = load_weights(self.path)
        if not isinstance(network, MDCSRN):
            raise CheckpointError(
                f"{self.path} holds no generator", got=type(network).__name__, remedy="give a generator's weights"
            )
        bad = [name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())]
        if bad:
            raise CheckpointError(
                f"{self.path} holds weights that are NaN or infinite",
                got=", ".join(bad[:3]),
                remedy="the training has diverged: take an earlier checkpoint",
            )
        return network.requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "bundle": self.bundle,
            "bundle_version": self.version,
            "architecture": self.network.architecture,
        }


def find_model(bundle: str | os.PathLike[str] | None = None, model: str | os.PathLike[str] | None = None) -> Model:
    """Find weights.

    Args:
        bundle: name of a shipped bundle or path of a bundle's folder; None: the default of ``configs/default.yaml``.
        model: a file, or the name of a file in the bundle's ``models`` (``model_l1`` or ``model_l1.pt``); None: the
            bundle's ``model.pt``. A file outside a bundle comes without a trained range.

    Raises:
        ConfigError: no such bundle.
        CheckpointError: no such file of weights.
    """
    if model is not None and Path(model).is_file():
        path = Path(model)
        home = path.resolve().parent.parent
        if path.resolve().parent.name == "models" and (home / "configs" / "metadata.json").is_file():
            return _of_bundle(home, path)
        return Model(path)
    default = read_mapping(folder("configs") / "default.yaml")
    home = _bundle_folder(bundle if bundle is not None else default["bundle"])
    name = Path(model).name if model is not None else str(default["model"])
    shipped = sorted((home / "models").glob("*.pt"))
    for path in shipped:
        if name in (path.name, path.stem) and (model is None or name == str(model)):
            return _of_bundle(home, path)
    raise CheckpointError(
        f"no weights named {model if model is not None else name}",
        allowed=f"a file, or {', '.join(path.stem for path in shipped) or 'nothing'} of {home.name}",
        remedy="give the path of a weights file with --model",
    )


def _bundle_folder(bundle: str | os.PathLike[str]) -> Path:
    shipped = folder("bundles")
    for home in (Path(bundle), shipped / Path(bundle).name if str(bundle) == Path(bundle).name else Path(bundle)):
        if (home / "configs" / "metadata.json").is_file():
            return home
    names = sorted(path.name for path in shipped.iterdir() if (path / "configs" / "metadata.json").is_file())
    raise ConfigError(f"no bundle {bundle}", allowed=f"a bundle's folder, or {', '.join(names)}")


def _of_bundle(home: Path, path: Path) -> Model:
    try:
        version = str(json.loads((home / "configs" / "metadata.json").read_text(encoding="utf-8")).get("version", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"cannot read the metadata of the bundle {home}", got=str(error)) from error
    seen = home / "configs" / RANGE_FILE
    return Model(path, home.name, version, seen if seen.is_file() else None)
