"""Total variation, and the difference of the gradients of two images, as SRResCycGAN trains with (Umer and Micheloni,
Deep Cyclic Generative Adversarial Residual Convolutional Networks for Real Image Super-Resolution, 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError, GeometryError

PLANE = (-2, -1)  # vertical and horizontal, in the planes that a 2D network sees


def total_variation(image: Tensor, axes: Sequence[int] = PLANE) -> Tensor:
    """Sum over axes of the mean |x[i + 1] - x[i]|: anisotropic total variation a voxel.

    Args:
        image: float, (N, C, D, H, W) or (N, C, H, W), any unit.
        axes: axes to take differences along; one of a single voxel adds nothing.

    Returns:
        Scalar, >= 0, in the unit of the image.

    Raises:
        GeometryError: an axis is not there.

    Examples:
        Each step of a ramp along the last axis is 1; there is none along the other.

        >>> total_variation(torch.arange(4.0).expand(1, 1, 3, 4)).item()
        1.0
    """
    if any(not -image.ndim <= axis < image.ndim for axis in axes):
        raise GeometryError(
            "an axis of the total variation is not there", got=tuple(axes), allowed=f"{image.ndim} axes"
        )
    steps = [image.diff(dim=axis).abs().mean() for axis in axes if image.shape[axis] > 1]
    return torch.stack(steps).sum() if steps else image.sum() * 0


class TotalVariationLoss(nn.Module):
    """Mean |grad SR - grad HR|_1: how far the edges of two images differ, whatever their level.

    Differences are linear, so this is the total variation of SR - HR.

    Args:
        axes: see :func:`total_variation`; the default is the plane of a 2D network.

    Raises:
        ConfigError: no axis, or one twice.

    Examples:
        A constant offset has no gradient; a ramp of slope 1 differs by 1 at each step.

        >>> flat = torch.zeros(1, 1, 1, 4, 4)
        >>> loss = TotalVariationLoss()
        >>> loss(flat + 3, flat).item(), loss(flat + torch.arange(4.0), flat).item()
        (0.0, 1.0)
    """

    def __init__(self, axes: Sequence[int] = PLANE) -> None:
        super().__init__()
        if not axes or len(set(axes)) != len(axes):
            raise ConfigError("axes of the total variation", got=tuple(axes), allowed="one or more, each once")
        self.axes = tuple(axes)

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """Scalar; both (N, C, D, H, W) or (N, C, H, W), in units of the 99.9th percentile."""
        if prediction.shape != reference.shape:  # broadcasting would compare each voxel with others
            raise GeometryError(
                "images of two shapes have no difference", got=tuple(prediction.shape), allowed=tuple(reference.shape)
            )
        return total_variation(prediction - reference, self.axes)
