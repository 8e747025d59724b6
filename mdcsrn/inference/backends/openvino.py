"""Run a network in OpenVINO on the processor: the fastest that needs no compiler, in a precision always stated."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError
from mdcsrn.inference.backends.base import PRECISIONS, Backend, Calibrate, Job, Runner, Tensors
from mdcsrn.inference.backends.kept import MAKING, Shelf, identity
from mdcsrn.inference.backends.model_cache import cached
from mdcsrn.inference.backends.own_thread import in_own_thread
from mdcsrn.inference.backends.trace_module import trace_module
from mdcsrn.optional import install_command, is_installed
from mdcsrn.processor import has_bfloat16, usable_threads

if TYPE_CHECKING:
    import openvino

PRIMITIVES = 64  # compiled operations that oneDNN inside of OpenVINO remembers; by default 1024, about 50 MiB
HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoBackend(Backend):
    """OpenVINO's processor plugin.

    Left alone it takes bfloat16 on some processors, and asked for float16 it takes bfloat16 where there is no float16:
    the precision is stated each time and read back from the compiled network.

    Args:
        calibrate: gives, for a network, arguments of it from real scans, tens of them and all of one shape; with it,
            and nncf, ``int8`` is offered. See :func:`mdcsrn.inference.running.calibration.sample_columns`.
    """

    name = "openvino"

    def __init__(self, calibrate: Calibrate | None = None) -> None:
        self.calibrate = calibrate
        self._quantised: tuple[nn.Module, openvino.Model] | None = None

    def available(self) -> str | None:
        """``openvino``."""
        if not is_installed("openvino"):
            return f"not installed: openvino ({install_command('fast')})"
        return _broken()

    def precisions(self) -> tuple[str, ...]:
        """What the plugin says of this processor; ``int8`` with a calibration set only."""
        able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        found = {"float32"} | ({"float16"} if "FP16" in able else set())
        if "BF16" in able and has_bfloat16():  # the plugin looks at the processor, not at what oneDNN is allowed
            found.add("bfloat16")
        if self.calibrate is not None and is_installed("nncf"):
            found.add("int8")
        return tuple(precision for precision in PRECISIONS if precision in found)

    def keeps(self, precision: str) -> bool:
        """Eight bits depend on the calibration set too, which is another one for each volume."""
        return precision != "int8"

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        hint = HINTS.get(job.precision, "f32")
        if job.precision == "int8":
            model = fix_shapes(self._quantise(module, job.small), job.example)
            hint = "bf16" if "bfloat16" in self.precisions() else "f32"  # of the layers that stay out of it
        else:
            model = _converted(module, job.example, job.small)
        states = len(model.outputs) - 1
        if states:  # kept in the network's precision
            model = _keep_states(model, states, hint)
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": job.threads or usable_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = _core().compile_model(model, "CPU", settings)
        kept = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if kept != hint:
            raise ConfigError(
                f"openvino computes in {kept} where {hint} was asked for",
                got=job.precision,
                allowed=", ".join(self.precisions()),
            )
        return _OpenVinoRunner(compiled, states)

    def _quantise(self, module: nn.Module, small: Tensors | None) -> openvino.Model:
        """The network in eight bits; the last one is kept, since a volume asks for several shapes of one network."""
        from mdcsrn.inference.backends.quantise import quantise

        assert self.calibrate is not None  # else int8 is not offered
        if self._quantised is None or self._quantised[0] is not module:
            seen = tuple(self.calibrate(module))
            if not seen:
                raise ConfigError("int8 needs a calibration set", remedy="give pieces of real scans")
            self._quantised = module, quantise(_converted(module, seen[0], small), seen)
        return self._quantised[1].clone()


@functools.cache
def _broken() -> str | None:
    """Why OpenVINO is installed and cannot be loaded, or None."""
    try:
        _core()
    except (ImportError, OSError, RuntimeError) as error:
        return f"openvino cannot be loaded: {error} (install it again: {install_command('fast')})"
    return None


@functools.cache
def _core() -> openvino.Core:
    """OpenVINO of this process; its plugin is loaded once (see :mod:`mdcsrn.inference.backends.own_thread`)."""
    import openvino

    def load() -> openvino.Core:
        core = openvino.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
        with _few_primitives():
            core.compile_model(_smallest(), "CPU", {"INFERENCE_PRECISION_HINT": HINTS["float32"]})
        return core

    return in_own_thread(load)


@contextlib.contextmanager
def _few_primitives() -> Iterator[None]:
    """Let oneDNN inside of OpenVINO read a small limit of its memory; torch has a oneDNN of its own, which needs it.

    The limit is read once, when the first operation is compiled. Without it each new shape of a network adds 0.3 MiB
    for as long as the process lives.
    """
    key = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    before = os.environ.get(key)
    os.environ[key] = str(PRIMITIVES)
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _smallest() -> openvino.Model:
    """One convolution."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 8, 8, 8], np.float32)
    weights = ops.constant(np.ones((8, 8, 3, 3), np.float32))
    return openvino.Model([ops.convolution(image, weights, [1, 1], [1, 1], [1, 1], [1, 1])], [image])


_MODELS: Shelf[Any] = Shelf(8)


def _converted(module: nn.Module, example: Tensors, small: Tensors | None) -> openvino.Model:
    """As :func:`convert`, from an earlier conversion of the same network where there is one."""
    key = identity(module)
    if key is None:
        return convert(module, example, small)
    with MAKING:
        model = _MODELS.take(key) or cached(key, lambda: convert(module, example, small))
        _MODELS.put(key, model)
        return fix_shapes(model.clone(), example)


def convert(module: nn.Module, example: Tensors, small: Tensors | None) -> openvino.Model:
    """A network as an OpenVINO model of fixed shapes.

    The frontend is called directly: ``openvino.convert_model`` takes seconds more, runs the network twice at its full
    size, and sends statistics of use.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(trace_module(module, example, small))  # in use until the conversion is done
    model = frontend.convert(frontend.load(decoder))
    if len(model.inputs) != len(example):
        raise ConfigError("a network for openvino uses every argument", got=len(model.inputs), allowed=len(example))
    for port in model.inputs:
        port.get_node().set_element_type(openvino.Type.f32)
    return fix_shapes(model, example)


def fix_shapes(model: openvino.Model, example: Tensors) -> openvino.Model:
    """The same model with the shapes of `example` for its arguments."""
    model.reshape({port: list(tensor.shape) for port, tensor in zip(model.inputs, example, strict=True)})
    model.validate_nodes_and_infer_types()
    return model


def _keep_states(model: openvino.Model, states: int, hint: str) -> openvino.Model:
    """The last `states` arguments and results as they are inside: in the network's precision, channels last.

    In any other form they would be converted and reordered twice between two calls: 15 % of the time.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    kind = openvino.Type.bf16 if hint == "bf16" else openvino.Type.f32
    steps = PrePostProcessor(model)
    first = len(model.inputs) - states
    for port in [steps.input(first + i) for i in range(states)] + [steps.output(1 + i) for i in range(states)]:
        port.tensor().set_element_type(kind).set_layout(openvino.Layout("NDHWC"))
        port.model().set_layout(openvino.Layout("NCDHW"))
    return steps.build()


class _OpenVinoRunner:
    """One inference request on shared memory: no copy of arguments or results, two sets of results in turn.

    States go around as channels-last tensors, whose memory is what the compiled network reads and writes.
    """

    def __init__(self, compiled: openvino.CompiledModel, states: int) -> None:
        self.compiled = compiled
        self.request: openvino.InferRequest | None = None
        self.types = [_torch_type(port) for port in compiled.inputs]
        self.first_state = len(self.types) - states
        self.results: list[list[Tensor]] = []
        self.turn = 0

    def rest(self) -> None:
        """Free the results and what the plugin computes in."""
        self.request, self.results = None, []
        self.compiled.release_memory()

    def __call__(self, inputs: Tensors) -> Tensors:
        """Run; the results are those of this call until the call after the next."""
        if self.request is None:
            self.request = self.compiled.create_infer_request()
            self.results = [
                [torch.empty(list(port.shape), dtype=_torch_type(port)) for port in self.compiled.outputs]
                for _ in range(2)
            ]
        results = self.results[self.turn]
        self.turn = 1 - self.turn
        held = []  # until the request is done: it reads their memory
        for index, (tensor, dtype) in enumerate(zip(inputs, self.types, strict=True)):
            given = tensor.detach().to(dtype)
            held.append((given.permute(0, 2, 3, 4, 1) if index >= self.first_state else given).contiguous())
            self.request.set_input_tensor(index, _shared(held[-1]))
        for index, tensor in enumerate(results):
            self.request.set_output_tensor(index, _shared(tensor))
        self.request.infer()
        return (results[0], *(state.permute(0, 4, 1, 2, 3) for state in results[1:]))


def _torch_type(port: Any) -> torch.dtype:
    return {"f32": torch.float32, "bf16": torch.bfloat16}[port.get_element_type().to_string()]


def _shared(tensor: Tensor) -> openvino.Tensor:
    """An OpenVINO tensor on the memory of a torch one; NumPy has no bfloat16, so its bits go as 16-bit integers."""
    import openvino

    if tensor.dtype == torch.bfloat16:
        return openvino.Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), openvino.Type.bf16)
    return openvino.Tensor(tensor.numpy(), shared_memory=True)
