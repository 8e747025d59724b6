"""Inference over whole volumes: what to restore, exact tiles and slabs, and one call for all of it.

Names are imported when they are asked for: the MONAI inferer brings MONAI along, which the command line does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdcsrn.lazy import attributes

if TYPE_CHECKING:
    from mdcsrn.inference.inferer import ExactTiledInferer
    from mdcsrn.inference.pipeline import Prediction, predict
    from mdcsrn.inference.task import Plan, Task, make_plan
    from mdcsrn.inference.tiling import Tile, plan_core, plan_tiles

__all__ = [
    "ExactTiledInferer",
    "Plan",
    "Prediction",
    "Task",
    "Tile",
    "make_plan",
    "plan_core",
    "plan_tiles",
    "predict",
]

__getattr__ = attributes(
    __name__,
    {
        "ExactTiledInferer": "inferer",
        "Plan": "task",
        "Prediction": "pipeline",
        "Task": "task",
        "Tile": "tiling",
        "make_plan": "task",
        "plan_core": "tiling",
        "plan_tiles": "tiling",
        "predict": "pipeline",
    },
)
