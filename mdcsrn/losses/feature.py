"""Perceptual loss: the distance of two images in the features of VGG19 (Johnson et al., Perceptual Losses for
Real-Time Style Transfer and Super-Resolution, 2016; Ledig et al., SRGAN, 2017).

MONAI's PerceptualLoss fetches its networks from the internet; this one reads a file.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.losses.vgg19 import vgg19_features

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DISTANCES = {"mse": functional.mse_loss, "l1": functional.l1_loss}


class FeatureLoss(nn.Module):
    """Mean distance of VGG19 features, plane by plane: d(phi(SR), phi(HR)).

    Planes along the first spatial axis are folded into the batch, one channel is repeated to three, and intensities
    are normalised as VGG19 was trained (range [0, 1], mean and deviation of ImageNet). It is computed in float32 even
    under autocast. The weights are not trained and are no part of checkpoints.

    Args:
        weights: file of VGG19, see :func:`mdcsrn.losses.vgg19.vgg19_features`.
        layer: convolution whose features are compared; ``conv5_4`` is SRGAN's VGG54, ``conv2_2`` its VGG22.
        activated: after the ReLU, as SRGAN; False: before it, as ESRGAN and SRResCycGAN.
        distance: ``mse`` (SRGAN; its features are divided by 12.75, so that its weight is 1 / 12.75^2 = 0.006) or
            ``l1`` (ESRGAN and SRResCycGAN).

    Raises:
        ConfigError: an unknown layer or distance.
        CheckpointError: the file cannot be used.

    Examples:
        >>> import tempfile
        >>> state = {"features.0.weight": torch.ones(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(state, f"{folder}/vgg19.pth")
        ...     loss = FeatureLoss(f"{folder}/vgg19.pth", "conv1_1", distance="l1")
        >>> image = torch.rand(2, 1, 3, 8, 8)
        >>> loss(image, image).item(), loss(image, image + 1).item() > 0
        (0.0, True)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: str | os.PathLike[str],
        layer: str = "conv5_4",
        activated: bool = False,
        distance: str = "mse",
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ConfigError("unknown distance of features", got=distance, allowed=", ".join(DISTANCES))
        self.features = vgg19_features(weights, layer, activated)
        self.distance = distance
        self.shrinks = 2 ** sum(isinstance(module, nn.MaxPool2d) for module in self.features)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """Scalar, differentiable with respect to the prediction alone.

        Args:
            prediction: (N, C, D, H, W) or (N, C, H, W), C 1 or 3, in units of the 99.9th percentile.
            reference: same shape.

        Raises:
            GeometryError: other shapes, or planes that the poolings leave nothing of.
        """
        if prediction.shape != reference.shape:
            raise GeometryError(
                "images of two shapes have no distance", got=tuple(prediction.shape), allowed=tuple(reference.shape)
            )
        with torch.autocast(prediction.device.type, enabled=False):
            with torch.no_grad():
                real = self.features(self._planes(reference))
            return DISTANCES[self.distance](self.features(self._planes(prediction)), real)

    def _planes(self, image: Tensor) -> Tensor:
        """(N D, 3, H, W) in the units of ImageNet."""
        height, width = image.shape[-2:]
        if image.ndim not in (4, 5) or image.shape[1] not in (1, 3) or min(height, width) < self.shrinks:
            raise GeometryError(
                "VGG19 does not take these images",
                got=tuple(image.shape),
                allowed=f"(N, 1 or 3, D, H, W) or (N, 1 or 3, H, W), planes of at least {self.shrinks} pixels a side",
            )
        planes = image.transpose(1, 2).flatten(0, 1) if image.ndim == 5 else image
        return (planes.to(self.mean.dtype).expand(-1, 3, -1, -1) - self.mean) / self.std


def feature_loss(
    weights: str | os.PathLike[str],
    perceptual_weight: float = 1.0,
    layer: str = "conv5_4",
    activated: bool = False,
    distance: str = "mse",
) -> FeatureLoss | None:
    """The perceptual loss of a training run, or None where its weight is 0: then no file is read.

    Args:
        weights: as all that follow `perceptual_weight`, see :class:`FeatureLoss`.
        perceptual_weight: weight of the loss in the run, >= 0.
        layer: convolution.
        activated: after the ReLU.
        distance: ``mse`` or ``l1``.

    Raises:
        ConfigError: a negative weight, or as :class:`FeatureLoss`.
        CheckpointError: as :class:`FeatureLoss`.

    Examples:
        >>> feature_loss("no such file", perceptual_weight=0) is None
        True
    """
    if perceptual_weight < 0:
        raise ConfigError("perceptual_weight", got=perceptual_weight, allowed=">= 0")
    return FeatureLoss(weights, layer, activated, distance) if perceptual_weight else None


class ContentLoss(nn.Module):
    """Voxel loss + w x perceptual loss: SRGAN's content loss, as the `voxel_loss` of a trainer.

    Args:
        voxel_loss: loss of (output, reference); None: L1.
        perceptual: :func:`feature_loss`, or None: the voxel loss alone.
        perceptual_weight: w, >= 0; SRGAN's is 0.006 for ``mse``, without a voxel loss of its own.

    Raises:
        ConfigError: a negative weight.

    Examples:
        >>> zeros, ones = torch.zeros(1, 1, 1, 4, 4), torch.ones(1, 1, 1, 4, 4)
        >>> ContentLoss()(zeros, ones).item()
        1.0
        >>> ContentLoss(perceptual=nn.MSELoss(), perceptual_weight=0.5)(zeros, ones).item()
        1.5
    """

    def __init__(
        self,
        voxel_loss: nn.Module | None = None,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.006,
    ) -> None:
        super().__init__()
        if perceptual_weight < 0:
            raise ConfigError("perceptual_weight", got=perceptual_weight, allowed=">= 0")
        self.voxel_loss = nn.L1Loss() if voxel_loss is None else voxel_loss
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """Scalar; see :class:`FeatureLoss` for shapes and units."""
        loss = self.voxel_loss(prediction, reference)
        if self.perceptual is None or self.perceptual_weight == 0:
            return loss
        return loss + self.perceptual_weight * self.perceptual(prediction, reference)
