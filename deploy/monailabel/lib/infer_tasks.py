"""List the inference tasks: every model of each bundle and every model trained here, on its own grid and finer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdcsrn.errors import ConfigError
from mdcsrn.hashes import weight_files
from mdcsrn.inference.planning.models import model_names
from mdcsrn.resources import bundle_folder, read_metadata, shipped_bundles

SAME, FINER = "same_grid", "finer_grid"
GRIDS = {SAME: "fills the empty outer band of k-space, grid unchanged", FINER: "refines the grid"}


@dataclass(frozen=True)
class Offer:
    """One infer task.

    Attributes:
        name: what a client asks for: bundle, model where it is not the bundle's default, and grid.
        grid: ``same_grid`` or ``finer_grid``.
        model: name of a model of the bundle, or a file of weights.
        bundle: its folder; None for a file.
        about: one sentence.
    """

    name: str
    grid: str
    model: str
    bundle: Path | None
    about: str


def bundles(chosen: str = "") -> list[Path]:
    """Folders of bundles.

    Args:
        chosen: names of shipped bundles or folders, separated by commas; empty: every one that is shipped.

    Raises:
        ConfigError: no such bundle, or two of one name.
    """
    homes = [bundle_folder(one) for one in words(chosen)] if chosen.strip() else shipped_bundles()
    names = [home.resolve().name for home in homes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("bundles of one name", got=", ".join(twice), remedy="rename a folder")
    return homes


def shipped(homes: Sequence[Path], chosen: str = "") -> list[Offer]:
    """Offers of the bundles' own models.

    Args:
        homes: folders of bundles.
        chosen: names of models, separated by commas; empty: all.

    Raises:
        ConfigError: a name that no bundle has.
    """
    wanted = words(chosen)
    names = {home: model_names(home) for home in homes}
    known = sorted({name for listed in names.values() for name in listed})
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigError("no such model in any bundle", got=", ".join(unknown), allowed=", ".join(known) or "none")
    offers = []
    for home, listed in names.items():
        about = str(read_metadata(home).get("task", home.name))
        for place, model in enumerate(listed):
            if not wanted or model in wanted:
                stem = home.resolve().name if place == 0 else f"{home.resolve().name}_{model}"
                offers += [Offer(f"{stem}_{g}", g, model, home, f"{about}: {does}") for g, does in GRIDS.items()]
    return offers


def trained(folder: Path) -> list[Offer]:
    """Offers of the models that were trained here, of the two forms of each the ``.pt``."""
    offers: dict[str, Offer] = {}
    for path in weight_files(folder):
        for grid, does in GRIDS.items():
            name = f"{path.stem}_{grid}"
            offers.setdefault(name, Offer(name, grid, str(path), None, f"trained on this server's scans: {does}"))
    return list(offers.values())


def words(text: str) -> list[str]:
    """Parts of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]
