"""Restore whole volumes: plans, exact tiles and slabs, and one call for all of it.

Names are imported when they are asked for: the MONAI inferer brings MONAI along, which the command line does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdcsrn.lazy import attributes

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction, predict
    from mdcsrn.inference.planning.settings import RunSettings
    from mdcsrn.inference.planning.task import Plan, Task, make_plan
    from mdcsrn.inference.running.inferer import ExactTiledInferer
    from mdcsrn.inference.running.tiling import Tile, plan_core, plan_tiles

__all__ = [
    "ExactTiledInferer",
    "Plan",
    "Prediction",
    "RunSettings",
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
        "ExactTiledInferer": "running.inferer",
        "Plan": "planning.task",
        "Prediction": "pipeline",
        "RunSettings": "planning.settings",
        "Task": "planning.task",
        "Tile": "running.tiling",
        "make_plan": "planning.task",
        "plan_core": "running.tiling",
        "plan_tiles": "running.tiling",
        "predict": "pipeline",
    },
)
