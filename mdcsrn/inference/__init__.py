"""Inference over whole volumes: exact tiles and the MONAI inferer that runs them."""

from mdcsrn.inference.inferer import ExactTiledInferer
from mdcsrn.inference.tiling import Tile, plan_core, plan_tiles

__all__ = ["ExactTiledInferer", "Tile", "plan_core", "plan_tiles"]
