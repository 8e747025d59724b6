"""Export formats of a network: write each with its description, and load it again.

All take (1, 1, D, H, W) float32 and return the same, for any D, H, W of at least :data:`MIN_AXIS_VOXELS`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, MissingDependencyError
from mdcsrn.inference.backends.own_thread import in_own_thread
from mdcsrn.inference.backends.trace_module import trace_module
from mdcsrn.networks import MDCSRN, architecture, build_network, load_weights, save_weights
from mdcsrn.optional import install_command, is_installed

MIN_AXIS_VOXELS = 4  # voxels of an axis: torch.export takes sizes below as constants
KEY = "mdcsrn"  # under which the description lies in a file
EXAMPLE = (13, 18, 15)  # size that operations are recorded at; none is a multiple of another
Run = Callable[[Tensor], Tensor]
Calibration = Callable[[], Sequence[tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Form:
    """One way to hand a network over.

    Attributes:
        suffix: of the file.
        precisions: that it can be written in, the first by default.
        write: puts a network and its description into a file, in a precision.
        load: makes a function of the file, with the packages that :attr:`loading` names and nothing of this one else.
        loading: the same as lines of Python for the user.
        needs: packages beside the core.
    """

    suffix: str
    precisions: tuple[str, ...]
    write: Callable[[nn.Module, Path, str, Mapping[str, Any], Calibration], None]
    load: Callable[[Path], Run]
    loading: str
    needs: tuple[str, ...] = ()


class FreeSizes(nn.Module):
    """A network whose operations hold for every size, in a precision; the residual sum stays in float32.

    Cells are gathered by a strided convolution with ones and spread by its transpose, exactly: no size is computed that
    ``torch.export`` would have to prove something about.
    """

    def __init__(self, network: MDCSRN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        a, b, c = self.cell = network.multiple
        self.residual = network.residual
        self.register_buffer("ones", torch.eye(a * b * c).reshape(a * b * c, 1, a, b, c))
        self.network = network.to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, D, H, W) -> the same."""
        a, b, c = self.cell
        ones: Tensor = self.ones  # type: ignore[assignment]
        cells = functional.conv3d(functional.pad(x, [0, c - 1, 0, b - 1, 0, a - 1]), ones, stride=self.cell)
        change = self.network.features(cells.to(self.dtype)).float()
        change = functional.conv_transpose3d(change, ones, stride=self.cell)
        for axis in (2, 3, 4):
            change = change.index_select(axis, torch.arange(x.shape[axis], device=x.device))
        return x + change if self.residual else change


class InPrecision(nn.Module):
    """Any other network in a precision, its result in float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, D, H, W) -> (1, 1, scale x (D, H, W))."""
        return self.network(x.to(self.dtype)).float()


def _free(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a network for recording in a precision."""
    twin = _copy(network)
    return (FreeSizes(twin, dtype) if isinstance(twin, MDCSRN) else InPrecision(twin, dtype)).eval()


def _copy(network: nn.Module) -> nn.Module:
    twin = build_network(architecture(network))
    twin.load_state_dict(network.state_dict())
    return twin.eval().requires_grad_(False)


def _example() -> tuple[Tensor]:
    return (torch.rand(1, 1, *EXAMPLE, generator=torch.Generator().manual_seed(0)),)


def _write_safetensors(
    network: nn.Module, path: Path, precision: str, description: Mapping[str, Any], calibration: Calibration
) -> None:
    save_weights(path, network, description)


def _write_torchscript(
    network: nn.Module, path: Path, precision: str, description: Mapping[str, Any], calibration: Calibration
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and asked for
        if precision == "float32" and isinstance(network, MDCSRN):
            program = torch.jit.script(_copy(network))
        else:
            program = torch.jit.trace(_free(network, getattr(torch, precision)), _example(), check_trace=False)
        torch.jit.save(program, str(path), _extra_files={f"{KEY}.json": json.dumps(description)})


def _load_torchscript(path: Path) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path)).eval()


def _write_pt2(
    network: nn.Module, path: Path, precision: str, description: Mapping[str, Any], calibration: Calibration
) -> None:
    module = _free(network, getattr(torch, precision))
    sizes = {
        axis + 2: torch.export.Dim(name, min=MIN_AXIS_VOXELS) for axis, name in enumerate(("depth", "height", "width"))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, _example(), dynamic_shapes=(sizes,))
        torch.export.save(program, path, extra_files={f"{KEY}.json": json.dumps(description)})


def _load_pt2(path: Path) -> Run:
    return torch.export.load(path).module()


def _write_onnx(
    network: nn.Module, path: Path, precision: str, description: Mapping[str, Any], calibration: Calibration
) -> None:
    import onnx

    example = _example()
    free = {2: "depth", 3: "height", 4: "width"}
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, but the new one asks for one more package and for half a minute.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            trace_module(network, example, None), example, str(path), dynamo=False,
            input_names=["image"], output_names=["pred"], dynamic_axes={"image": free, "pred": free},
        )  # fmt: skip
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {KEY: json.dumps(description)})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])


def _write_openvino(
    network: nn.Module, path: Path, precision: str, description: Mapping[str, Any], calibration: Calibration
) -> None:
    import openvino

    from mdcsrn.inference.backends.openvino import convert

    example: tuple[Tensor, ...] = _example()
    if precision == "int8":
        from mdcsrn.inference.backends.quantise import quantise

        samples = calibration()
        model = quantise(convert(network, samples[0], example), samples)
    else:
        model = convert(network, example, None)
    model.reshape({model.inputs[0]: [1, 1, -1, -1, -1]})
    model.validate_nodes_and_infer_types()
    model.set_rt_info(json.dumps(description), [KEY])
    in_own_thread(lambda: openvino.save_model(model, str(path), compress_to_fp16=precision == "float16"))


def _load_openvino(path: Path) -> Run:
    import openvino

    compiled = in_own_thread(
        lambda: openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )  # left alone, some processors compute in bfloat16
    return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


FORMS: dict[str, Form] = {
    "torchscript": Form(
        ".ts", ("float32", "bfloat16"), _write_torchscript, _load_torchscript,
        "network = torch.jit.load(FILE); pred = network(image)",
    ),
    "pt2": Form(
        ".pt2", ("float32", "bfloat16"), _write_pt2, _load_pt2,
        "network = torch.export.load(FILE).module(); pred = network(image)",
    ),
    "onnx": Form(
        ".onnx", ("float32",), _write_onnx, _load_onnx,
        "session = onnxruntime.InferenceSession(FILE, providers=['CPUExecutionProvider']); "
        "(pred,) = session.run(None, {'image': image})",
        ("onnx", "onnxruntime"),
    ),
    "openvino": Form(
        ".xml", ("float32", "float16", "int8"), _write_openvino, _load_openvino,
        "network = openvino.Core().compile_model(FILE, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}); "
        "pred = network(image)[0]",
        ("openvino",),
    ),
    "safetensors": Form(
        ".safetensors", ("float32",), _write_safetensors, load_weights,
        "network = mdcsrn.networks.load_weights(FILE); pred = network(image)",
    ),
}  # fmt: skip


def form(name: str, precision: str | None = None) -> tuple[Form, str]:
    """A form by its name, and the precision to write it in.

    Raises:
        ConfigError: no such form, or not in that precision.
        MissingDependencyError: a package that it needs is not installed.
    """
    if name == "tensorrt":
        raise ConfigError(
            "TensorRT engines are built on the NVIDIA GPU that they will run on, by MONAI itself",
            got=name,
            allowed=", ".join(FORMS),
            remedy="on such a machine, with torch_tensorrt, in the bundle's folder, for the one size that you name: "
            "python -m monai.bundle trt_export network_def --filepath model_trt.ts --ckpt_file models/model.pt "
            "--key_in_ckpt model --meta_file configs/metadata.json --config_file configs/inference.yaml "
            "--precision fp16 --input_shape '[1,1,128,128,128]'",
        )
    if name not in FORMS:
        raise ConfigError("no such format", got=name, allowed=", ".join([*FORMS, "tensorrt"]))
    found = FORMS[name]
    chosen = precision or found.precisions[0]
    if chosen not in found.precisions:
        raise ConfigError(f"{name} is not written in that precision", got=chosen, allowed=", ".join(found.precisions))
    needs = (*found.needs, "nncf") if chosen == "int8" else found.needs
    missing = [package for package in needs if not is_installed(package)]
    if missing:
        extra = "int8" if "nncf" in missing else "fast"
        raise MissingDependencyError(f"{name} needs {', '.join(missing)}", remedy=install_command(extra))
    return found, chosen
