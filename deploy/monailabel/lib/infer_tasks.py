"""List the inference tasks: every model of each bundle and every model trained here, on the grids that it can make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdcsrn.errors import ConfigError, MdcsrnError
from mdcsrn.hashes import weight_files
from mdcsrn.inference.planning.models import find_model, model_names
from mdcsrn.networks import traits_of
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
        scale: refinement of each array axis of a model that makes no other; None: any.
    """

    name: str
    grid: str
    model: str
    bundle: Path | None
    about: str
    scale: tuple[int, int, int] | None = None


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
                offers += _offers(stem, model, home, about)
    return offers


def trained(folder: Path) -> list[Offer]:
    """Offers of the models that were trained here, of the two forms of each the ``.pt``."""
    files: dict[str, Path] = {}
    for path in weight_files(folder):
        files.setdefault(path.stem, path)
    about = "trained on this server's scans"
    return [offer for stem, path in files.items() for offer in _offers(stem, str(path), None, about)]


def _offers(stem: str, model: str, home: Path | None, about: str) -> list[Offer]:
    """Both grids; of a model that reads the acquired matrix the finer one alone, by its own factor."""
    scale = _fixed_scale(model, home)
    grids = GRIDS if scale is None else {FINER: f"refines the grid by {scale[0]} x {scale[1]} x {scale[2]}"}
    return [Offer(f"{stem}_{grid}", grid, model, home, f"{about}: {does}", scale) for grid, does in grids.items()]


def _fixed_scale(model: str, home: Path | None) -> tuple[int, int, int] | None:
    try:
        traits = traits_of(find_model(home, model).network)
    except MdcsrnError:
        return None  # damaged, or no generator: reported to the client that asks for it
    return traits.scale if traits.input_grid == "acquired" else None


def words(text: str) -> list[str]:
    """Parts of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]
