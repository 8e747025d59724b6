"""Map checkpoints of the earlier mDCSRN code to today's state dictionaries."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mdcsrn.errors import CheckpointError
from mdcsrn.networks.mdcsrn import MDCSRN

_KNOWN = re.compile(
    r"(conv0|recon|comp\d+)\.weight"
    r"|block\d+\.denselayer\d+\.(norm\.(weight|bias|running_mean|running_var|num_batches_tracked)|conv\.weight)"
)


def map_published_state(state: Mapping[str, Tensor]) -> MDCSRN:
    """Load a state dictionary of the earlier code (no global residual) into a network of ours.

    The numbers of blocks and units and the growth rate are read from the weights. A ``module.`` or ``_orig_mod.``
    prefix is taken off, a missing ``num_batches_tracked`` is filled in.

    Args:
        state: names ``conv0, block{0-3}.denselayer{1-4}.{norm,elu,conv}, comp{0-2}, recon`` with ``.weight`` etc.

    Returns:
        The network with these weights and ``residual=False``, in evaluation mode.

    Raises:
        CheckpointError: a name is unknown or missing, or a shape does not fit.

    >>> from mdcsrn.networks import MDCSRN
    >>> state = MDCSRN(blocks=2, units=3, growth=4, residual=False).state_dict()
    >>> network = map_published_state({f"module.{name}": value for name, value in state.items()})
    >>> network.blocks, network.units, network.growth, network.residual
    (2, 3, 4, False)
    """
    plain = {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in state.items()}
    unknown = sorted(name for name in plain if not _KNOWN.fullmatch(name))
    if unknown or "conv0.weight" not in plain:
        raise CheckpointError("not a checkpoint of the earlier mDCSRN code", got=unknown[:5] or "no conv0.weight")
    blocks = 1 + max((int(n[5:].split(".")[0]) for n in plain if n.startswith("block")), default=-1)
    units = max((int(m.group(1)) for n in plain if (m := re.search(r"denselayer(\d+)", n))), default=0)
    network = MDCSRN(max(blocks, 1), max(units, 1), max(plain["conv0.weight"].shape[0] // 2, 1), residual=False)
    missing, unexpected = [], []
    try:
        missing, unexpected = network.load_state_dict(plain, strict=False)
    except RuntimeError as error:
        raise CheckpointError("weights of the earlier code have unexpected shapes", got=str(error)) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise CheckpointError("weights of the earlier code are incomplete", got=(missing[:5], unexpected[:5]))
    return network.eval()
