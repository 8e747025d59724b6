"""Find the weights of a prediction by a bundle's name or a path, with what is known of their training."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdcsrn.errors import CheckpointError
from mdcsrn.fetched import check_fetched
from mdcsrn.files import read_mapping, sha256
from mdcsrn.hashes import SUFFIXES, weight_files
from mdcsrn.resources import METADATA, bundle_folder, folder, read_metadata

if TYPE_CHECKING:
    from torch import nn

    from mdcsrn.inference.planning.trained_range import TrainedRange


RANGE_FILE = "trained_range.yaml"


@dataclass(frozen=True)
class Model:
    """One file of weights.

    Attributes:
        path: the file.
        bundle: name of the bundle that it belongs to; empty for a file of the user's own.
        version: of the bundle; empty likewise.
        range_file: where it says what the weights have seen in training; None where it is not known.
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
        from mdcsrn.inference.planning.trained_range import load_trained_range

        return None if self.range_file is None else load_trained_range(self.range_file, self.path.stem)

    @cached_property
    def network(self) -> nn.Module:
        """The network, in evaluation mode, weight normalisation folded.

        Raises:
            CheckpointError: the file is damaged, not the one that its bundle lists, holds another kind of network or
                one of several channels, or a weight is not finite.
        """
        import torch

        from mdcsrn.networks import fold_weight_norm, load_network, traits_of

        network = load_network(self.path)
        channels = traits_of(network).channels
        if channels != 1:
            raise CheckpointError(
                f"{self.path} holds a network of {channels} channels, and a scan has one", got=type(network).__name__,
                allowed="1 channel (a picture in colours is made grey)", remedy="train it with channels: 1",
            )  # fmt: skip
        bad = [name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())]
        if bad:
            raise CheckpointError(
                f"{self.path} holds weights that are NaN or infinite",
                got=", ".join(bad[:3]),
                remedy="the training has diverged: take an earlier checkpoint",
            )
        return fold_weight_norm(network).requires_grad_(False)

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
        model: a file, or the name of a model in the bundle's ``models`` (``gan``, or one of its files, ``gan.pt`` or
            ``gan.safetensors``); None: the bundle's default, ``model``. A file outside a bundle comes without a
            trained range.

    Raises:
        ConfigError: no such bundle.
        CheckpointError: no such file of weights.
        DataError: its content was not fetched (DataLad, git-annex).
    """
    if model is not None and Path(model).is_file():
        path = Path(model)
        home = path.resolve().parent.parent
        if path.resolve().parent.name == "models" and (home / METADATA).is_file():
            return _of_bundle(home, path)
        return Model(path)
    home, default = _home(bundle)
    name = str(model) if model is not None else default
    shipped = weight_files(home / "models")
    for path in shipped:  # of the two forms of one model the first stands for it
        if name in (path.stem, path.name):
            return _of_bundle(home, path)
    for path in (Path(name), *(home / "models" / f"{name}{form}" for form in ("", *SUFFIXES))):
        check_fetched(path)  # a link without content is no file
    if model is None and not shipped:
        raise CheckpointError(
            f"the bundle {home.name} has no weights yet", got="an empty models/",
            remedy="train it, then publish_weights; or give a file with --model",
        )  # fmt: skip
    raise CheckpointError(
        f"no weights named {name}",
        allowed=f"a file, or {', '.join(_names(shipped)) or 'nothing'} of {home.name}",
        remedy="give the path of a weights file with --model",
    )


def model_names(bundle: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of the models of a bundle, the default first.

    Args:
        bundle: as for :func:`find_model`.

    Raises:
        ConfigError: no such bundle.
    """
    home, default = _home(bundle)
    names = _names(weight_files(home / "models"))
    return sorted(names, key=lambda name: (name != default, name))


def _home(bundle: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Folder of a bundle, or of the default one, and the name of the default model."""
    default = read_mapping(folder("configs") / "default.yaml")
    return bundle_folder(default["bundle"] if bundle is None else bundle), str(default["model"])


def _names(paths: list[Path]) -> list[str]:
    return list(dict.fromkeys(path.stem for path in paths))


def _of_bundle(home: Path, path: Path) -> Model:
    seen = home / "configs" / RANGE_FILE
    return Model(path, home.name, str(read_metadata(home).get("version", "")), seen if seen.is_file() else None)
