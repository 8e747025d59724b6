"""Register k-space windows: the shape of the measured region and the weights inside it, one entry a window.

A window that is registered here can be named in every degradation, and every property test runs on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError

Profile = Callable[[Tensor, float | None], Tensor]


@dataclass(frozen=True)
class WindowParameter:
    """Range of the one parameter that a window may take.

    Attributes:
        default: value where none is given.
        low: smallest value.
        high: largest value.

    >>> WindowParameter(default=0.5, low=0.0, high=1.0).high
    1.0
    """

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Window:
    """One k-space window.

    Attributes:
        name: as a degradation states it.
        profile: weights at distances u from the centre, in units of the band edge (0 to 1), given the parameter in
            force: 1 at u = 0, within [0, 1], float64 in and out. None: every measured frequency has weight 1.
        parameter: range of the window's parameter; None: it takes none.
        radial: False: the passband is a box, and the weights are the product of the profile over the axes
            (separable). True: the passband is an ellipsoid, and the profile is of the radius.

    >>> Window("cosine", profile=lambda u, _: torch.cos(u * torch.pi / 2)).is_binary
    False
    """

    name: str
    profile: Profile | None = None
    parameter: WindowParameter | None = None
    radial: bool = False

    @property
    def is_binary(self) -> bool:
        """True where weights are 0 or 1: the low-pass and the consistency step are then orthogonal projections."""
        return self.profile is None


WINDOWS: dict[str, Window] = {}


def register_window(entry: Window) -> Window:
    """Add a window to the registry.

    Args:
        entry: the window.

    Returns:
        The entry.

    Raises:
        ConfigError: the name is taken.

    >>> register_window(Window("box"))
    Traceback (most recent call last):
        ...
    mdcsrn.errors.ConfigError: a k-space window of this name is registered | got: box | remedy: choose another name
    """
    if entry.name in WINDOWS:
        raise ConfigError("a k-space window of this name is registered", got=entry.name, remedy="choose another name")
    WINDOWS[entry.name] = entry
    return entry


def window_names(binary: bool | None = None) -> tuple[str, ...]:
    """Names of the registered windows.

    Args:
        binary: True: those with weights of 0 and 1 alone; False: those that apodise; None: all.

    >>> window_names(binary=True)
    ('box', 'ellipsoid')
    """
    return tuple(name for name, entry in WINDOWS.items() if binary is None or entry.is_binary == binary)


def find_window(name: str) -> Window:
    """Entry of a window.

    Raises:
        ConfigError: no window of this name is registered.

    >>> find_window("ellipsoid").radial
    True
    """
    if not isinstance(name, str) or name not in WINDOWS:
        raise ConfigError("unknown k-space window", got=name, allowed=", ".join(WINDOWS))
    return WINDOWS[name]


def check_window(kind: str, parameter: float | None) -> float | None:
    """Return the parameter in force for a window: its default where None is given.

    Args:
        kind: name of a registered window.
        parameter: of the window, or None.

    Raises:
        ConfigError: the window is unknown, takes no parameter, or the parameter is out of range.

    >>> check_window("tukey", None)
    0.5
    """
    allowed = find_window(kind).parameter
    if allowed is None:
        if parameter is not None:
            raise ConfigError(f"the window '{kind}' takes no parameter", got=parameter, remedy="leave it out")
        return None
    value = allowed.default if parameter is None else float(parameter)
    if not (math.isfinite(value) and allowed.low <= value <= allowed.high):
        limits = f"{allowed.low} to {allowed.high}"
        raise ConfigError(f"parameter of the window '{kind}' out of range", got=parameter, allowed=limits)
    return value


def _tukey(distance: Tensor, parameter: float | None) -> Tensor:
    """1 up to u = 1 - p, then a cosine to 0 at u = 1."""
    assert parameter is not None  # check_window gave the default
    if parameter == 0:
        return torch.ones_like(distance)
    return 0.5 * (1 + torch.cos(math.pi * ((distance - (1 - parameter)) / parameter).clamp(0, 1)))


def _hamming(distance: Tensor, parameter: float | None) -> Tensor:
    """0.54 + 0.46 cos(pi u)."""
    return 0.54 + 0.46 * torch.cos(math.pi * distance)


def _gaussian(distance: Tensor, parameter: float | None) -> Tensor:
    """exp(-u^2 / (2 p^2))."""
    assert parameter is not None  # check_window gave the default
    return torch.exp(-(distance**2) / (2 * parameter**2))


register_window(Window("box"))
register_window(Window("ellipsoid", radial=True))
register_window(Window("tukey", _tukey, WindowParameter(default=0.5, low=0.0, high=1.0)))
register_window(Window("hamming", _hamming))
register_window(Window("gaussian", _gaussian, WindowParameter(default=0.5, low=0.1, high=10.0)))
