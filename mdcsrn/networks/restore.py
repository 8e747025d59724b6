"""Start a training from weights, and publish trained weights in a bundle."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from mdcsrn.hashes import write_hashes
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.weight_norm import fold_weight_norm
from mdcsrn.networks.weights import FORMS, load_weights, read_network, read_weights, save_weights
from mdcsrn.networks.widen import is_wider, widened


def warm_start(network: nn.Module, start: str | os.PathLike[str] = "") -> nn.Module:
    """A network to train: as it is, or started from a file of weights.

    Args:
        network: as its constructor left it.
        start: file of weights; empty: none. Those of a generator that differs by a smaller growth rate alone are
            widened (:func:`mdcsrn.networks.widened`). A file that does not say its network is taken for one of this.

    Returns:
        The same network, in training mode.

    Raises:
        CheckpointError: as :func:`load_weights`; the file belongs to another network.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/narrow.pt", MDCSRN(blocks=1, units=1, growth=2))
    ...     warm_start(MDCSRN(blocks=1, units=1, growth=4), f"{folder}/narrow.pt").training
    True
    """
    if start and isinstance(network, MDCSRN):
        narrow = read_network(start, {name: network.architecture[name] for name in ("residual", "space_to_depth")})
        if isinstance(narrow, MDCSRN) and is_wider(network, narrow):
            network.load_state_dict(widened(narrow, network.growth).state_dict())
            return network.train()
    return load_weights(start, network).train() if start else network.train()


def publish_weights(source: str | os.PathLike[str], folder: str | os.PathLike[str], name: str) -> list[Path]:
    """Put weights into a bundle's ``models``: both forms under one name, and the hash list of all that is there.

    Weight normalisation is folded (:func:`mdcsrn.networks.fold_weight_norm`).

    Args:
        source: file of weights in any form that describes its network.
        folder: where to write ``<name>.pt``, ``<name>.safetensors`` and ``sha256.txt``.
        name: stem of the files, by which ``mdcsrn predict --model`` finds them.

    Returns:
        The three files.

    Raises:
        CheckpointError: `source` is missing or damaged.
        OutputError: a file cannot be written.

    >>> import tempfile
    >>> from mdcsrn.networks import MDCSRN, save_weights, publish_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/trained.pt", MDCSRN(blocks=1, units=1, growth=2))
    ...     [path.name for path in publish_weights(f"{folder}/trained.pt", f"{folder}/models", "model")]
    ['model.pt', 'model.safetensors', 'sha256.txt']
    """
    network, facts = fold_weight_norm(load_weights(source)), read_weights(source).facts
    files = [Path(folder) / f"{name}{suffix}" for suffix in FORMS]
    for file in files:
        save_weights(file, network, facts)
    return [*files, write_hashes(folder)]
