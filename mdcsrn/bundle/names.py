"""The names that the configuration of a foreign bundle may use: an allow-list, since a config can call any of Python.

A module of the list gives its classes (``CamelCase``) except the denied ones, and the functions that stand beside it.
What can run a command, load a pickle, import by name, reach the network, or hand over a module is left out:

- ``monai.bundle``, ``monai.apps``, most of ``monai.utils`` (``run_cmd``, ``optional_import``, ``instantiate``);
- transforms that take code or look a class up in another package by its name (``Lambda``, ``TorchVision``, ``CuCIM``);
- readers with pickles inside (``NumpyReader``), datasets that call any function (``DatasetFunc``);
- networks and losses that fetch code or weights (``PerceptualLoss`` runs ``torch.hub.load``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLASS = re.compile(r"[A-Z]\w*[a-z]\w*|[A-Z]{2,}|[A-Z]{2,}[0-9]\w*")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*")
_DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool"

# Module -> the functions and constants that may be named of it.
FUNCTIONS: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "monai.transforms": "",
        "monai.data": "list_data_collate pad_list_data_collate decollate_batch partition_dataset "
        "load_decathlon_datalist",
        "monai.data.utils": "list_data_collate pad_list_data_collate decollate_batch",
        "monai.engines": "default_prepare_batch",
        "monai.handlers": "from_engine stopping_fn_from_metric stopping_fn_from_loss",
        "monai.handlers.utils": "from_engine",
        "monai.inferers": "sliding_window_inference",
        "monai.losses": "",
        "monai.metrics": "",
        "monai.networks.nets": "",
        "monai.networks.blocks": "",
        "monai.networks.layers": "",
        "monai.networks.schedulers": "",
        "monai.optimizers": "",
        "monai.utils": "set_determinism ensure_tuple",
        "torch": f"device tensor manual_seed cat stack zeros ones sigmoid softmax argmax bfloat16 {_DTYPES}",
        "torch.cuda": "is_available device_count set_device",
        "torch.distributed": "is_initialized get_rank get_world_size destroy_process_group",
        "torch.nn": "",
        "torch.nn.parallel": "",
        "torch.nn.functional": "relu sigmoid softmax pad interpolate l1_loss mse_loss",
        "torch.optim": "",
        "torch.optim.lr_scheduler": "",
        "torch.utils.data": "",
        "torch.utils.data.distributed": "",
        "numpy": f"array asarray zeros ones arange linspace pi inf nan prod sum mean max min sqrt abs {_DTYPES}",
        "ignite.engine": "",
        "ignite.handlers": "",
        "ignite.metrics": "",
        "math": "pi inf sqrt log log2 log10 exp floor ceil prod sin cos tan",
        "operator": "itemgetter",
        "glob": "glob",
        "os.path": "join exists isfile isdir basename dirname splitext",
        "mdcsrn.configs": "check_command_line",
        "mdcsrn.data.datalist": "load_datalist repeats",
        "mdcsrn.data.patches": "",
        "mdcsrn.data.sample": "datalist_or_sample sample_datalist",
        "mdcsrn.data.scans": "scans root",
        "mdcsrn.data.volumes": "cached",
        "mdcsrn.engines": "load_weights started moving_average parameter_groups every",
        "mdcsrn.engines.distributed": "rank world_size start stop share only_first_process_logs",
        "mdcsrn.evaluation": "",
        "mdcsrn.files": "sha256",
        "mdcsrn.inference": "",
        "mdcsrn.io.reader": "",
        "mdcsrn.io.writer": "",
        "mdcsrn.kspace": "",
        "mdcsrn.losses": "",
        "mdcsrn.metrics": "",
        "mdcsrn.networks": "load_generator load_weights",
        "mdcsrn.report": "panel_array",
        "mdcsrn.transforms": "",
    }.items()
}
NO_CLASSES = {
    *(
        "torch",
        "torch.cuda",
        "torch.distributed",
        "torch.nn.functional",
        "numpy",
        "math",
        "operator",
        "glob",
        "os.path",
    ),
    *("monai.utils",),
    *("monai.data.utils", "monai.handlers.utils", "mdcsrn.configs", "mdcsrn.files", "mdcsrn.data.sample"),
    *(
        "mdcsrn.data.datalist",
        "mdcsrn.data.scans",
        "mdcsrn.data.volumes",
        "mdcsrn.engines.distributed",
        "mdcsrn.report",
    ),
}
# Beginnings of class names, with their dictionary forms (Lambda, Lambdad, LambdaD, LambdaDict).
DENIED = (
    *("Lambda", "RandLambda", "TorchVision", "RandTorchVision", "TorchIO", "RandTorchIO", "CuCIM", "RandCuCIM"),
    *("NumpyReader", "DatasetFunc", "ForkingPickler", "LMDBDataset", "GDSDataset"),
    *("MLFlow", "ClearML", "TrtHandler", "MetricsReloaded", "MLflow", "Neptune", "WandB", "Visdom", "Polyaxon"),
    *("Perceptual", "MedicalNet", "RadImageNet", "TorchvisionModel", "MILModel", "Transchex", "MultiModal", "Bert"),
    *("CellSam", "FlexUNetEncoder", "FlexibleUNetEncoder", "ResNetEncoder"),
    *("Path", "PurePath", "Thread", "Process", "Popen", "Any", "Callable", "TYPE_CHECKING", "Number", "Decimal"),
)
# Their names begin like denied ones: a function that is a name or a component, judged too; MONAI's loader of batches.
ALLOWED_CLASSES = {"LambdaLR", "ThreadDataLoader"}
# Of these an argument is looked up by pydoc.locate, anywhere in Python: never in an expression, and with its own check.
LOCATING = ("LoadImage", "SaveImage", "PatchInferer")
LOCATED_ARGUMENTS = {"reader", "writer", "merger_cls"}
# Attributes and methods of values whose kind is not known here.
ATTRIBUTES = _words(
    """to cpu cuda float double half train eval parameters named_parameters modules run state_dict load_state_dict
    shape ndim dtype device size dim keys values items get split join strip lstrip rstrip lower upper startswith
    endswith append extend count sum mean max min item tolist epochs module network transforms transform optimizer
    state iteration epoch output batch metrics param_groups in_channels out_channels dataset sampler inferer first
    last"""
)
BUILTINS = _words(
    "len sum max min abs round sorted range zip enumerate any all list tuple dict set str int float bool reversed"
)
_DANGEROUS_WORDS = _words(
    "eval exec compile breakpoint getattr setattr delattr globals locals __import__ __builtins__ __loader__ builtins"
)


def name_problem(parts: Sequence[str]) -> str | None:
    """Why a dotted name may not be used; None: it may.

    Args:
        parts: of a full name, such as ``["torch", "optim", "Adam"]``.
    """
    full = ".".join(parts)
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if module in FUNCTIONS:
            rest = parts[length:]
            break
    else:
        return f"{full} is not on the list of allowed names"
    if not rest:
        return f"{full} is a module, which is no value"
    name, *tail = rest
    is_class = module not in NO_CLASSES and _is_class(name)
    if name not in FUNCTIONS[module] and not is_class:
        return f"{full} is not on the list of allowed names"
    for attribute in tail:
        if attribute not in ATTRIBUTES and not _CONSTANT.fullmatch(attribute):
            return f"{full} is not on the list of allowed names"
    return None


def target_problem(target: object) -> str | None:
    """Why the value of ``_target_`` may not be used: MONAI finds a bare name in its own modules, else anywhere."""
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", target):
        return f"_target_ is the name of a class or function, not {str(target)[:60]!r}"
    if "." in target:
        return name_problem(target.split("."))
    if not _is_class(target) or target in _monai_outside():
        return f"{target} is not on the list of allowed names"
    return None


def _is_class(name: str) -> bool:
    return _CLASS.fullmatch(name) is not None and (name in ALLOWED_CLASSES or not name.startswith(DENIED))


def _monai_outside() -> frozenset[str]:
    """Classes that MONAI would find by their bare name in the parts of it that are not on the list."""
    return _words(
        """ConfigParser ConfigWorkflow PythonicWorkflow BundleWorkflow ConfigExpression ConfigItem ConfigComponent
        ComponentLocator ReferenceResolver BundleAlgo BundleGen AutoRunner DataAnalyzer EnsembleRunner
        MonaiAlgo MonaiAlgoStats MedNISTDataset DecathlonDataset CrossValidation TciaDataset MethodReplacer
        ThreadContainer RestartGenerator LazyAttr ProfileHandler WorkflowProfiler PerfContext OptionalImportError
        NNIGen OptunaGen Algo AlgoGen"""
    )


def located_problem(value: object) -> str | None:
    """Why the value of an argument that MONAI looks up by name (a reader, a writer) may not be used."""
    if value is None or isinstance(value, dict):
        return None  # a component of its own has its own _target_
    if isinstance(value, list | tuple):
        return next((problem for problem in map(located_problem, value) if problem), None)
    if isinstance(value, str) and re.fullmatch(r"[A-Z]\w*(Reader|Writer|Merger)", value):
        return target_problem(value)
    if isinstance(value, str) and "." in value:
        return target_problem(value)
    return f"an argument that is looked up by its name is that of a reader, writer or merger, not {str(value)[:60]!r}"


def word_problem(text: str) -> str | None:
    """Why a plain string may not be there: a transform could look it up as a name."""
    if text in _DANGEROUS_WORDS:
        return f"{text!r} names a built-in function"
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text):
        root = text.split(".")[0]
        if root in sys.stdlib_module_names and root not in ("glob", "math", "operator"):
            return f"{text!r} names something of Python's library"
    return None


def import_problem(module: str) -> str | None:
    """Why a module may not be imported; packages on the way to a module of the list may."""
    if any(known == module or known.startswith(module + ".") for known in FUNCTIONS):
        return None
    return f"import of {module}, which is not on the list of allowed modules"
