"""Quantise weights and activations to eight bits from a calibration set, through NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends.base import Tensors
from mdcsrn.inference.backends.own_thread import in_own_thread

if TYPE_CHECKING:
    import openvino


def quantise(model: openvino.Model, calibration: Sequence[Tensors]) -> openvino.Model:
    """Post-training quantisation of a converted network.

    The first convolution reads the image and the last writes the change that is added to it: both stay as they are, as
    does the addition, where the network does it itself: 256 values are too few for an image, and one brighter than the
    calibration set would be cut. The error that rounding leaves in the mean of each layer is measured and taken back
    (bias correction).

    Args:
        model: network of the calibration set's shapes; the result can be given others.
        calibration: arguments of the network from real scans, all of the same shapes.

    Raises:
        ConfigError: the calibration set has other shapes.
    """
    shapes = [tuple(port.shape) for port in model.inputs]
    for sample in calibration:
        got = [tuple(tensor.shape) for tensor in sample]
        if got != shapes:
            raise ConfigError("the calibration set has other shapes than the network's input", got=got, allowed=shapes)
    import nncf

    nncf.set_log_level(logging.ERROR)
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    last = [result.input_value(0).get_node() for result in model.get_results()]
    sums = [node for node in last if node.get_type_name() == "Add"]
    names = [node.get_friendly_name() for node in (convolutions[0], convolutions[-1], *sums)]
    samples = [[tensor.detach().float().contiguous().numpy() for tensor in sample] for sample in calibration]
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return in_own_thread(  # it loads and unloads the plugin many times
            lambda: nncf.quantize(
                model,
                nncf.Dataset(samples),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset.MIXED,  # activations after an ELU are not symmetric about zero
                fast_bias_correction=False,
                ignored_scope=nncf.IgnoredScope(names=sorted(set(names))),
            )
        )
