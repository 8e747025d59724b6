"""Run a network in ONNX Runtime on the processor, in float32."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import nn

from mdcsrn.inference.backends.base import Backend, Job, Runner, Tensors
from mdcsrn.inference.backends.kept import MAKING, Shelf, identity
from mdcsrn.inference.backends.trace_module import trace_module
from mdcsrn.optional import install_command, is_installed
from mdcsrn.processor import usable_threads


class OnnxRuntimeBackend(Backend):
    """The processor's provider has neither bfloat16 nor 8-bit kernels for 3D convolutions: float32 alone."""

    name = "onnxruntime"

    def available(self) -> str | None:
        """``onnx`` writes the model, ``onnxruntime`` runs it."""
        missing = [name for name in ("onnx", "onnxruntime") if not is_installed(name)]
        return f"not installed: {', '.join(missing)} ({install_command('fast')})" if missing else None

    def precisions(self) -> tuple[str, ...]:
        """float32."""
        return ("float32",)

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        import onnxruntime

        names = [f"input{index}" for index in range(len(job.example))]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads or usable_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            _exported(module, job.example, job.small, names), options, providers=["CPUExecutionProvider"]
        )

        def run(inputs: Tensors) -> Tensors:
            arrays = {
                name: np.ascontiguousarray(tensor.detach().float().numpy())
                for name, tensor in zip(names, inputs, strict=True)
            }
            return tuple(torch.from_numpy(array) for array in session.run(None, arrays))

        return run


_MODELS: Shelf[bytes] = Shelf(8)


def _exported(module: nn.Module, example: Tensors, small: Tensors | None, names: list[str]) -> bytes:
    """As :func:`_export`, from an earlier export of the same network where there is one."""
    key = identity(module)
    if key is None:
        return _export(module, example, small, names)
    with MAKING:
        model = _MODELS.take(key) or _export(module, example, small, names)
        _MODELS.put(key, model)
        return model


def _export(module: nn.Module, example: Tensors, small: Tensors | None, names: list[str]) -> bytes:
    """The network as an ONNX file in memory, with free spatial sizes."""
    axes = {name: dict.fromkeys(range(2, tensor.ndim)) for name, tensor in zip(names, example, strict=True)}
    free = {name: {axis: f"{name}_{axis}" for axis in found} for name, found in axes.items() if found}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, but the new one asks for one more package and for half a minute.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            trace_module(module, example, small),
            small or example,
            buffer,  # type: ignore[arg-type]
            input_names=names,
            dynamic_axes=free,
            dynamo=False,
        )
    return buffer.getvalue()
