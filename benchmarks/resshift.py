"""ResShift: four-step diffusion from the interpolated plane to the sharp one, on MONAI's diffusion components.

Z. Yue, J. Wang, C. C. Loy: ResShift: Efficient diffusion model for image super-resolution by residual shifting, NeurIPS
2023 (arXiv 2307.12348). The chain moves x_0 towards y_0 by shifting their difference and adds noise on the way,

    q(x_t | x_0, y_0) = N(x_0 + eta_t (y_0 - x_0), kappa^2 eta_t I),

so that sampling starts at y_0 and not at pure noise; a network predicts x_0 from x_t, y_0 and t.

Deviations: images instead of the latents of an autoencoder (pixel unshuffle by 2 stands in for its smaller grid);
MONAI's DiffusionModelUNet instead of a Swin UNet; the network predicts x_0 - y_0, starts at zero and reads x_t - y_0
in units of its standard deviation; kappa is chosen for images whose 99.9th percentile is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.inferers import DiffusionInferer
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import NoiseSchedules
from monai.networks.schedulers.scheduler import Scheduler
from torch import Tensor, nn
from torch.nn import functional

STEPS = 4
RESIDUAL = 0.04  # RMS of x_0 - y_0 in the head, in units of the 99.9th percentile: bicubic has 28 dB at x2
CELL = 2  # edge of the pixels that become channels


def shifts(steps: int, least: float, last: float, power: float) -> np.ndarray:
    """eta_1 ... eta_T: their square roots grow geometrically from sqrt(least) to sqrt(last), (steps,).

    sqrt(eta_t) = sqrt(eta_1) b^(((t - 1) / (T - 1))^p), with b = sqrt(eta_T / eta_1); p < 1 grows fast at first.

    >>> shifts(4, least=0.01, last=0.999, power=0.3).round(3).tolist()
    [0.01, 0.274, 0.59, 0.999]
    """
    exponent = np.linspace(0, 1, steps) ** power
    return np.asarray(least * (last / least) ** exponent)


@NoiseSchedules.add_def(
    "residual_shifting", "Share of x_0 in the mean of x_t, which a residual shift leaves: 1 - eta_t"
)
def _residual_shifting(
    num_train_timesteps: int, least: float = 0.01, last: float = 0.999, power: float = 0.3
) -> tuple[Tensor, ...]:
    kept = 1 - shifts(num_train_timesteps, least, last, power)
    alphas = kept / np.concatenate(([1.0], kept[:-1]))
    return tuple(torch.from_numpy(values).float() for values in (1 - alphas, alphas, kept))


class ResidualShifting(Scheduler):
    """The chain of ResShift as a scheduler of MONAI: step numbers count from 0, x_1 of the paper is number 0.

    Args:
        steps: T.
        kappa: standard deviation of the noise at eta = 1, in the unit of the images.
        least: eta_1; (0.2 / 2)^2 in the authors' four-step models.
        last: eta_T.
        power: p, see :func:`shifts`.

    >>> scheduler = ResidualShifting(kappa=0.2)
    >>> scheduler.timesteps.tolist()
    [3, 2, 1, 0]
    >>> x_0, y_0 = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    >>> round(float(scheduler.shift(x_0, y_0, torch.zeros_like(x_0), torch.tensor([0])).mean()), 4)
    0.99
    """

    def __init__(
        self, steps: int = STEPS, kappa: float = 0.2, least: float = 0.01, last: float = 0.999, power: float = 0.3
    ) -> None:
        super().__init__(steps, "residual_shifting", least=least, last=last, power=power)
        self.kappa = kappa
        self.eta = torch.from_numpy(shifts(steps, least, last, power)).float()

    def shift(self, x_0: Tensor, y_0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of a training pair: x_0 + eta_t (y_0 - x_0) + kappa sqrt(eta_t) noise.

        Args:
            x_0: the reference, (N, C, H, W).
            y_0: the interpolated plane, same shape.
            noise: standard normal, same shape.
            timesteps: numbers 0 ... T - 1, (N,).
        """
        eta = self.eta[timesteps].view(-1, *[1] * (x_0.ndim - 1))
        return x_0 + eta * (y_0 - x_0) + self.kappa * eta.sqrt() * noise

    def start(self, y_0: Tensor, noise: Tensor) -> Tensor:
        """x_T without x_0, of which 1 - eta_T is left out: y_0 + kappa sqrt(eta_T) noise."""
        return y_0 + self.kappa * self.eta[-1].sqrt() * noise

    def posterior(self, x_0: Tensor, x_t: Tensor, timestep: int) -> tuple[Tensor, float]:
        """Mean and variance of q(x_{t-1} | x_t, x_0, y_0), which do not need y_0.

        (eta_{t-1} / eta_t) x_t + (alpha_t / eta_t) x_0 and kappa^2 (eta_{t-1} / eta_t) alpha_t, where alpha_t = eta_t -
        eta_{t-1} and eta_0 = 0: the last step returns x_0 and adds no noise.
        """
        eta = float(self.eta[timestep])
        before = float(self.eta[timestep - 1]) if timestep else 0.0
        share = before / eta
        return share * x_t + (1 - share) * x_0, self.kappa**2 * share * (eta - before)

    def step(self, model_output: Tensor, timestep: int, sample: Tensor) -> tuple[Tensor, Tensor]:
        """One step back, x_{t-1} and the predicted x_0; noise comes from torch's own generator.

        Args:
            model_output: predicted x_0.
            timestep: number of the step, T - 1 ... 0.
            sample: x_t.
        """
        mean, variance = self.posterior(model_output, sample, int(timestep))
        return (mean + math.sqrt(variance) * torch.randn_like(mean) if variance else mean), model_output

    def spread(self, residual: float) -> Tensor:
        """Standard deviation of x_t - y_0 at each step, where that of x_0 - y_0 is `residual`; (T,)."""
        return ((1 - self.eta) ** 2 * residual**2 + self.kappa**2 * self.eta).sqrt()


class ResShift(nn.Module):
    """Predicts x_0 from x_t and y_0: y_0 + residual * UNet((x_t - y_0) / spread_t, y_0, t).

    Args:
        scheduler: gives the spread of x_t around y_0.
        channels: of the UNet's levels.
        blocks: residual blocks a level.
        residual: RMS of x_0 - y_0, in the unit of the images.

    >>> network = ResShift(ResidualShifting(), channels=(16, 16))
    >>> planes = torch.rand(1, 2, 8, 12)
    >>> torch.equal(network(planes, torch.tensor([3])), planes[:, 1:])  # at first the interpolated plane
    True
    """

    def __init__(
        self,
        scheduler: ResidualShifting,
        channels: Sequence[int] = (64, 96, 96),
        blocks: int = 1,
        residual: float = RESIDUAL,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.multiple = CELL * 2 ** (len(channels) - 1)  # of the sizes of a plane
        self.spread: Tensor
        self.register_buffer("spread", scheduler.spread(residual), persistent=False)
        self.body = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=2 * CELL**2,
            out_channels=CELL**2,
            num_res_blocks=blocks,
            channels=channels,
            attention_levels=[False] * len(channels),
            norm_num_groups=16,
            num_head_channels=channels[-1],  # of the attention between the halves, which MONAI always has
        )

    def forward(self, x: Tensor, timesteps: Tensor, context: None = None) -> Tensor:
        """x_t and y_0, (N, 2, H, W), sizes divisible by `multiple`, steps (N,) or (1,) -> x_0, (N, 1, H, W)."""
        x_t, y_0 = x.chunk(2, dim=1)
        spread = self.spread[timesteps.long()].view(-1, 1, 1, 1)
        cells = functional.pixel_unshuffle(torch.cat(((x_t - y_0) / spread, y_0), dim=1), CELL)
        cells = cells.contiguous(memory_format=torch.channels_last)
        return y_0 + self.residual * functional.pixel_shuffle(self.body(cells, timesteps), CELL).float()


@torch.inference_mode()
def sample(network: ResShift, scheduler: ResidualShifting, y_0: Tensor, seed: int, multiple: int = 8) -> Tensor:
    """One draw of x_0 given y_0.

    Args:
        network: x_t and y_0, steps -> x_0, see :class:`ResShift`.
        scheduler: that it was trained with.
        y_0: interpolated planes, (N, 1, H, W), the 99.9th percentile of their volume is 1; any size.
        seed: of the noise; the state of torch's own generator is left as it was.
        multiple: planes are padded at the far end up to it, with their last values.

    Returns:
        Planes of the same shape.
    """
    height, width = y_0.shape[-2:]
    padded = functional.pad(y_0, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x_t = scheduler.start(padded, torch.randn_like(padded))
        drawn: Tensor = DiffusionInferer(scheduler).sample(
            x_t, network, conditioning=padded, mode="concat", verbose=False
        )
    return drawn[..., :height, :width]
