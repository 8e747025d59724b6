"""Allow-list of the names that a foreign bundle's configuration may use, since a config can call any of Python.

Every name stands here by itself: what is not here is not judged. Left out is what can run a command, load a pickle,
look another name up (``TorchVision``, ``PatchInferer``, ``FlexibleUNet``), take code (``Lambda``), reach the network
(``PerceptualLoss``, ``MLFlowHandler``) or write text of the configuration's into a file of its choice
(``LogfileHandler``). :mod:`mdcsrn.bundle.arguments` says what may be given to them.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any


def _full(listed: dict[str, str]) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for module, names in listed.items() for name in names.split())


_DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8"
_MONAI = {
    "monai.transforms": """Activationsd AsDiscreted CastToTyped CenterSpatialCropd Compose ConcatItemsd
    ConvertToMultiChannelBasedOnBratsClassesd CopyItemsd CropForegroundd DeleteItemsd DivisiblePadd EnsureChannelFirst
    EnsureChannelFirstd EnsureType EnsureTyped FillHolesd Flipd FromMetaTensord GaussianSmoothd Invertd
    KeepLargestConnectedComponentd LoadImage LoadImaged MapLabelValued MeanEnsembled MedianSmoothd NormalizeIntensityd
    OneOf Orientationd Rand3DElasticd RandAdjustContrastd RandAffined RandAxisFlipd RandBiasFieldd
    RandCropByLabelClassesd RandCropByPosNegLabeld RandFlipd RandGaussianNoised RandGaussianSmoothd RandHistogramShiftd
    RandRotate90d RandRotated RandScaleIntensityd RandShiftIntensityd RandSpatialCropd RandSpatialCropSamplesd RandZoomd
    Resized ResizeWithPadOrCropd SaveImage SaveImaged ScaleIntensity ScaleIntensityd ScaleIntensityRange
    ScaleIntensityRanged ScaleIntensityRangePercentilesd SelectItemsd Spacingd SpatialPadd SplitDimd SqueezeDimd
    ToDeviced ToNumpyd ToTensord Transposed""",
    "monai.data": "CacheDataset DataLoader Dataset DistributedSampler FolderLayout IterableDataset ThreadDataLoader",
    "monai.engines": "SupervisedEvaluator SupervisedTrainer",
    "monai.handlers": """CheckpointLoader CheckpointSaver ConfusionMatrix EarlyStopHandler HausdorffDistance
    IgniteMetricHandler LrScheduleHandler MeanAbsoluteError MeanDice MeanIoUHandler MeanSquaredError MetricsSaver
    StatsHandler SurfaceDistance TensorBoardStatsHandler ValidationHandler""",
    "monai.inferers": "SimpleInferer SliceInferer SlidingWindowInferer SlidingWindowInfererAdapt",
    "monai.losses": """DiceCELoss DiceFocalLoss DiceLoss FocalLoss GeneralizedDiceLoss GlobalMutualInformationLoss
    LocalNormalizedCrossCorrelationLoss SSIMLoss TverskyLoss""",
    "monai.metrics": "DiceMetric HausdorffDistanceMetric MAEMetric MSEMetric PSNRMetric RMSEMetric SSIMMetric",
    "monai.networks.nets": """AttentionUnet AutoEncoder AutoencoderKL BasicUNet DenseNet121 DenseNet169 DenseNet201
    DiffusionModelUNet Discriminator DynUNet EfficientNetBN Generator HighResNet SegResNet SegResNetDS SwinUNETR UNETR
    UNet VNet""",
    "monai.networks.schedulers": "DDIMScheduler DDPMScheduler",
    "monai.optimizers": "Novograd WarmupCosineSchedule",
}
_OTHERS = {
    "monai.data": "load_decathlon_datalist",
    "monai.handlers": "from_engine stopping_fn_from_loss stopping_fn_from_metric",
    "monai.utils": "set_determinism",
    "torch": "arange argmax cat device linspace manual_seed ones sigmoid softmax stack tensor zeros",
    "torch.cuda": "device_count is_available set_device",
    "torch.distributed": "destroy_process_group get_rank get_world_size is_initialized",
    "torch.nn": "BCEWithLogitsLoss Conv2d Conv3d CrossEntropyLoss Identity L1Loss Linear MSELoss ReLU Sigmoid Softmax",
    "torch.nn.parallel": "DistributedDataParallel",
    "torch.optim": "Adam AdamW RMSprop SGD",
    "torch.optim.lr_scheduler": "CosineAnnealingLR CosineAnnealingWarmRestarts ExponentialLR LambdaLR MultiStepLR "
    "PolynomialLR ReduceLROnPlateau StepLR",
    "torch.utils.data": "DataLoader WeightedRandomSampler",
    "numpy": "arange array asarray linspace max mean min ones prod sqrt sum zeros",
    "ignite.metrics": "Accuracy MeanPairwiseDistance",
    "math": "ceil exp floor log log10 log2 prod sqrt",
    "operator": "itemgetter",
    "glob": "glob",
    "os.path": "basename dirname exists isdir isfile join splitext",
    "mdcsrn.configs": "check_command_line",
    "mdcsrn.data.datalist": "load_datalist repeats",
    "mdcsrn.data.patches": "PatchDataset SampleStream",
    "mdcsrn.data.sample": "datalist_or_sample sample_datalist",
    "mdcsrn.data.inference_list": "root scans",
    "mdcsrn.data.caching": "cached",
    "mdcsrn.data.unpaired": "UnpairedPatches check_unpaired",
    "mdcsrn.engines": "AdversarialTrainer CycleSchedule CycleTrainer Evaluator GeneratorRate HalvingRate Part "
    "ProgressLine Schedule SupervisedTrainer TrainingBoard TrainingCheckpoints WeightsSaver every load_weights "
    "moving_average parameter_groups training_loader unpaired_loader validation_metrics warm_start",
    "mdcsrn.engines.distributed": "only_first_process_logs rank share start stop world_size",
    "mdcsrn.evaluation": "ComparisonTable",
    "mdcsrn.files": "sha256",
    "mdcsrn.inference": "ExactTiledInferer",
    "mdcsrn.io.result_writer": "ResultLayout",
    "mdcsrn.losses": "ContentLoss CrossEntropyAdversary FeatureLoss TotalVariationLoss WassersteinAdversary "
    "feature_loss",
    "mdcsrn.metrics": "HeadMaskHFEN HeadMaskNRMSE HeadMaskPSNR HeadMaskSSIM",
    "mdcsrn.networks": "Critic CycleDiscriminatorHR CycleDiscriminatorLR CycleGeneratorHR CycleGeneratorLR EDSR MDCSRN "
    "SRGANDiscriminator SRGANGenerator SRResDNet WDSR load_generator load_network load_weights",
    "mdcsrn.transforms": "BicubicDownsampled CheckVolumed DataConsistencyd Decimated DivisibleCropd "
    "KSpaceLowPassd RandKSpaceLowPassd RandQuarterTurnd RandResolutiond RandThickSlicesd ScaleByPercentiled UndoScaled "
    "ZeroFilld",
}
CALLABLES = _full(_MONAI) | _full(_OTHERS)
# MONAI finds a bare name in its own modules first; each of these is there once.
BARE = {name: f"{module}.{name}" for module, names in _MONAI.items() for name in names.split()}
# What may be handed over without being called: constants, and functions that MONAI calls with batches.
VALUES = _full(
    {
        "torch": f"{_DTYPES} bfloat16 bool",
        "numpy": f"{_DTYPES} inf nan pi",
        "math": "inf pi",
        "monai.data": "decollate_batch list_data_collate pad_list_data_collate",
        "monai.data.utils": "no_collation",
        "monai.utils.CommonKeys": "IMAGE LABEL LOSS PRED",
        "mdcsrn.report": "panel_array",
    }
)
MODULES = frozenset(name.rpartition(".")[0] for name in CALLABLES | VALUES)
# Hand what else they are given on to another one.
_AS = {
    "monai.data.DataLoader": "torch.utils.data.DataLoader",
    "monai.data.ThreadDataLoader": "torch.utils.data.DataLoader",
    "monai.inferers.SliceInferer": "monai.inferers.SlidingWindowInferer",
}
# Take any number of plain values, and of keywords these alone.
_PLAIN = ("glob.", "math.", "numpy.", "operator.", "os.path.")
PLAIN_KEYWORDS = frozenset({"device", "dtype", "recursive"})


def target(value: object) -> str | None:
    """The full name of an allowed ``_target_``; None: it is not on the list, or no plain name."""
    if not isinstance(value, str):
        return None
    full = value if "." in value else BARE.get(value, "")
    return full if full in CALLABLES else None


def is_module(name: str) -> bool:
    """True for a module of the list and the packages on the way to it."""
    return any(module == name or module.startswith(f"{name}.") for module in MODULES)


@cache
def signature(full: str) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """The arguments that an allowed callable has.

    Args:
        full: one of :data:`CALLABLES`; its package, not the bundle's, is imported.

    Returns:
        Names of those that can be given by position, in order; all names, with their defaults
        (``inspect.Parameter.empty``: none). None: any plain values by position.

    Raises:
        ImportError: it is not there, in this version or at all.
    """
    if full.startswith(_PLAIN):
        return None
    found = find(full)
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # functions of C
        return None
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [parameter for parameter in parameters if parameter.kind not in kinds]
    known = {parameter.name: parameter.default for parameter in named}
    by_position = tuple(p.name for p in named if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    further = signature(_AS[full]) if full in _AS else None
    return by_position, (further[1] if further else {}) | known


def find(full: str) -> Callable[..., Any]:
    """The object of a name of the list.

    Raises:
        ImportError: it is not there.
    """
    module, _, name = full.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}") from error


def word_problem(text: str) -> str | None:
    """Why a plain string may not be there: it reads like a name that a callable could look up and call."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text) or text.rpartition(".")[2] in _FILES:
        return None
    root = text.split(".")[0]
    return f"{text!r} names something of Python's" if root in _ROOTS else None


_FILES = {"csv", "gz", "json", "md", "nii", "pt", "png", "pth", "safetensors", "tsv", "txt", "yaml", "yml"}
_ROOTS = frozenset(sys.stdlib_module_names) | {module.split(".")[0] for module in MODULES}
