"""State how a prediction is run, and which settings change its voxels."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

Effect = Literal["voxels", "series", "none"]


def setting(default: Any, effect: Effect) -> Any:
    """A dataclass field that declares what it has a say in.

    Args:
        default: its default value.
        effect: ``voxels`` where results made under two values are not interchangeable, so that ``--resume`` makes them
            anew; ``series`` where only a derived DICOM series differs; ``none``.
    """
    return field(default=default, metadata={"effect": effect})


def values_with_effect(settings: Any, effect: Effect) -> dict[str, Any]:
    """Plain values of the fields of a settings object that were declared with this effect.

    Args:
        settings: a dataclass whose fields are made by :func:`setting`.
        effect: see there.

    Returns:
        Value by name, tuples as lists.

    >>> values_with_effect(RunSettings(backend="eager"), "voxels")["backend"]
    'eager'
    """
    values = {f.name: getattr(settings, f.name) for f in fields(settings) if f.metadata["effect"] == effect}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class RunSettings:
    """How a prediction is run.

    Attributes:
        backend: ``auto`` (the fastest here whose error against float32 is small) or a name.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        max_memory: GiB for the whole process; None: 70 % of what is free, 6 GiB at most. Tiles are exact: it changes
            no voxel.
        region: ``head`` (outside it the network adds nothing and costs nothing) or ``all``.
        uncertainty: also run the eight flips, for the maps ``mean`` and ``spread``.
        maps: also make the map ``invention``.
        strict: warnings are errors.
    """

    backend: str = setting("auto", "voxels")
    precision: str = setting("auto", "voxels")
    device: str = setting("auto", "voxels")
    max_memory: float | None = setting(None, "none")
    region: str = setting("head", "voxels")
    uncertainty: bool = setting(False, "voxels")
    maps: bool = setting(True, "none")
    strict: bool = setting(False, "none")
