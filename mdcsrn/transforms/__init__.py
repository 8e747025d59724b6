"""MONAI transforms over k-space and volumes, as array classes and as dictionary classes (``d``, ``D``, ``Dict``)."""

from mdcsrn.transforms._volumes import recorded_degradation
from mdcsrn.transforms.bicubic import (
    BicubicDownsample,
    BicubicDownsampleD,
    BicubicDownsampled,
    BicubicDownsampleDict,
)
from mdcsrn.transforms.check import CheckVolume, CheckVolumeD, CheckVolumed, CheckVolumeDict
from mdcsrn.transforms.consistency import DataConsistency, DataConsistencyD, DataConsistencyd, DataConsistencyDict
from mdcsrn.transforms.decimate import Decimate, DecimateD, Decimated, DecimateDict
from mdcsrn.transforms.divisible_crop import DivisibleCrop, DivisibleCropD, DivisibleCropd, DivisibleCropDict
from mdcsrn.transforms.intensity import (
    ScaleByPercentile,
    ScaleByPercentileD,
    ScaleByPercentiled,
    ScaleByPercentileDict,
    UndoScaleD,
    UndoScaled,
    UndoScaleDict,
)
from mdcsrn.transforms.lowpass import KSpaceLowPass, KSpaceLowPassD, KSpaceLowPassd, KSpaceLowPassDict
from mdcsrn.transforms.rand_lowpass import (
    RandKSpaceLowPass,
    RandKSpaceLowPassD,
    RandKSpaceLowPassd,
    RandKSpaceLowPassDict,
)
from mdcsrn.transforms.rand_quarter_turn import RandQuarterTurnD, RandQuarterTurnd, RandQuarterTurnDict
from mdcsrn.transforms.rand_resolution import (
    RandResolution,
    RandResolutionD,
    RandResolutiond,
    RandResolutionDict,
)
from mdcsrn.transforms.rand_thick_slices import (
    RandThickSlices,
    RandThickSlicesD,
    RandThickSlicesd,
    RandThickSlicesDict,
)
from mdcsrn.transforms.zero_fill import ZeroFill, ZeroFillD, ZeroFilld, ZeroFillDict

__all__ = [
    "BicubicDownsample",
    "BicubicDownsampleD",
    "BicubicDownsampleDict",
    "BicubicDownsampled",
    "CheckVolume",
    "CheckVolumeD",
    "CheckVolumeDict",
    "CheckVolumed",
    "DataConsistency",
    "DataConsistencyD",
    "DataConsistencyDict",
    "DataConsistencyd",
    "Decimate",
    "DecimateD",
    "DecimateDict",
    "Decimated",
    "DivisibleCrop",
    "DivisibleCropD",
    "DivisibleCropDict",
    "DivisibleCropd",
    "KSpaceLowPass",
    "KSpaceLowPassD",
    "KSpaceLowPassDict",
    "KSpaceLowPassd",
    "RandKSpaceLowPass",
    "RandKSpaceLowPassD",
    "RandKSpaceLowPassDict",
    "RandKSpaceLowPassd",
    "RandQuarterTurnD",
    "RandQuarterTurnDict",
    "RandQuarterTurnd",
    "RandResolution",
    "RandResolutionD",
    "RandResolutionDict",
    "RandResolutiond",
    "RandThickSlices",
    "RandThickSlicesD",
    "RandThickSlicesDict",
    "RandThickSlicesd",
    "ScaleByPercentile",
    "ScaleByPercentileD",
    "ScaleByPercentileDict",
    "ScaleByPercentiled",
    "UndoScaleD",
    "UndoScaleDict",
    "UndoScaled",
    "ZeroFill",
    "ZeroFillD",
    "ZeroFillDict",
    "ZeroFilld",
    "recorded_degradation",
]
