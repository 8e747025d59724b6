"""Compare candidates and baselines fairly: on one grid, scored by one set of stated definitions."""

from mdcsrn.evaluation.baselines import BASELINES, BICUBIC, ZERO_FILLED, baselines, check_baselines, upsample
from mdcsrn.evaluation.comparison import SR, SR_RAW, Row, compare, degradation_label
from mdcsrn.evaluation.handler import ComparisonTable
from mdcsrn.evaluation.table import as_dict, paired_gain, render, summarise, write_csv, write_json

__all__ = [
    "BASELINES",
    "BICUBIC",
    "SR",
    "SR_RAW",
    "ZERO_FILLED",
    "ComparisonTable",
    "Row",
    "as_dict",
    "baselines",
    "check_baselines",
    "compare",
    "degradation_label",
    "paired_gain",
    "render",
    "summarise",
    "upsample",
    "write_csv",
    "write_json",
]
