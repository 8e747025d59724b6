"""Transform between image and k-space (centred, orthonormal), and change the sampling grid through k-space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError

VOLUME_DIMS = (-3, -2, -1)


def fft(x: Tensor, dims: Sequence[int] = VOLUME_DIMS) -> Tensor:
    """Image to k-space: centred, orthonormal (a unitary operator, so energies are equal on both sides).

    Args:
        x: image, real or complex, shape (..., D, H, W). Index n // 2 is the origin of each transformed axis.
        dims: axes to transform.

    Returns:
        k-space, complex, same shape; the zero frequency is at index n // 2 (see :func:`frequencies`).

    >>> spectrum = fft(torch.ones(4, 4, 4))
    >>> float(spectrum[2, 2, 2].real), float(spectrum.abs().sum())
    (8.0, 8.0)
    """
    dims = tuple(dims)
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=dims), dim=dims, norm="ortho"), dim=dims)


def ifft(k: Tensor, dims: Sequence[int] = VOLUME_DIMS) -> Tensor:
    """k-space to image: the inverse, and the adjoint, of :func:`fft`.

    Args:
        k: k-space, shape (..., D, H, W), the zero frequency at index n // 2 of each transformed axis.
        dims: axes to transform.

    Returns:
        Image, complex, same shape.

    >>> image = torch.rand(4, 5, 6)
    >>> torch.allclose(ifft(fft(image)).real, image, atol=1e-6)
    True
    """
    dims = tuple(dims)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(k, dim=dims), dim=dims, norm="ortho"), dim=dims)


def frequencies(n: int, device: torch.device | str | None = None) -> Tensor:
    """Integer frequencies of the centred grid, cycles per field of view: -(n // 2) ... (n - 1) // 2, shape (n,).

    >>> frequencies(5).tolist(), frequencies(4).tolist()
    ([-2, -1, 0, 1, 2], [-2, -1, 0, 1])
    """
    return torch.arange(n, device=device) - n // 2


def resample_grid(volume: Tensor, shape: Sequence[int]) -> Tensor:
    r"""Change the sampling grid by a centred crop or zero-filling of k-space; the field of view stays.

    New sample j of an axis n -> m lies at old index :math:`(j - \lfloor m/2 \rfloor)\, n/m + \lfloor n/2 \rfloor`; the
    affine of :func:`grid_affine` says exactly that. Intensities are multiplied by :math:`\sqrt{\prod m / \prod n}`, so
    that the mean is kept. A real image stays real: zero-filling splits the unpaired Nyquist sample of an even axis in
    half between -n/2 and +n/2, and a crop to an even axis folds the two into their sum, so crop after fill returns
    the input.

    Args:
        volume: image, real or complex, shape (..., D, H, W).
        shape: the new (D, H, W), each at least 1.

    Returns:
        Image of shape (..., *shape), same dtype.

    Raises:
        GeometryError: `shape` is not three sizes of at least 1.
        ConfigError: the volume is of whole numbers.

    >>> image = torch.rand(4, 6, 8, dtype=torch.float64)
    >>> fine = resample_grid(image, (4, 12, 16))
    >>> tuple(fine.shape), torch.allclose(fine.mean(), image.mean())
    ((4, 12, 16), True)
    >>> torch.allclose(resample_grid(fine, (4, 6, 8)), image)
    True
    """
    return _change_grid(volume, shape, fold=1.0, split=0.5)


def decimate(volume: Tensor, factor: Sequence[int]) -> Tensor:
    """Crop k-space to the grid whose sample j lies at index r j: what a network that refines by r reads.

    :func:`resample_grid` puts sample j of an axis of m samples at index r j where m is even, and at r j + r // 2 where
    m is odd, since the origin of a grid is its sample n // 2. Here it is r j for both. Of a volume without frequencies
    above the new grid's the result is every r-th sample.

    Args:
        volume: image, real or complex, shape (..., D, H, W); its sizes are multiples of `factor`.
        factor: r of each axis, whole numbers >= 1.

    Returns:
        Image of shape (..., D / r, H / r, W / r), same dtype.

    Raises:
        GeometryError: a size is no multiple of its factor.

    >>> wave = torch.cos(2 * torch.pi * torch.arange(10) / 10).expand(1, 1, 10)
    >>> torch.allclose(decimate(wave, (1, 1, 2)), wave[..., ::2], atol=1e-6)
    True
    """
    old, factors = tuple(volume.shape[-3:]), tuple(factor)
    if len(factors) != 3 or min(factors) < 1 or any(n % r for n, r in zip(old, factors, strict=True)):
        raise GeometryError("a grid is decimated by divisors of its sizes", got=f"{old} by {factors}")
    new = [n // r for n, r in zip(old, factors, strict=True)]
    shifts = [(m % 2) * (r // 2) for m, r in zip(new, factors, strict=True)]
    if any(shifts):
        volume = volume.roll(shifts, VOLUME_DIMS)
    return resample_grid(volume, new)


def align_samples(volume: Tensor, factor: Sequence[int]) -> Tensor:
    """Move the samples of an acquired volume to index r j of the result, as :func:`decimate` places them.

    On an axis of odd size a k-space crop has sample j at r j + r // 2 (:func:`resample_grid`): it is moved by r // 2 of
    the result's samples, exactly, since an odd axis has no Nyquist sample. Axes of even size stay as they are.

    Args:
        volume: acquired, real or complex, shape (..., D, H, W).
        factor: r of each axis, whole numbers >= 1.

    Returns:
        Same shape and dtype; the volume itself where nothing moves.

    >>> fine = torch.cos(2 * torch.pi * torch.arange(10) / 10).expand(1, 1, 10)
    >>> acquired = resample_grid(fine, (1, 1, 5))
    >>> torch.allclose(align_samples(acquired, (1, 1, 2)), fine[..., ::2], atol=1e-6)
    True
    """
    for axis, r in enumerate(factor):
        shape = list(volume.shape[-3:])
        if shape[axis] % 2 and r > 1:
            shape[axis] *= r
            alone = [r if other == axis else 1 for other in range(3)]
            volume = decimate(resample_grid(volume, shape), alone)
    return volume


def resample_grid_adjoint(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Adjoint of :func:`resample_grid` for an operator that took `shape` to this volume's grid.

    Satisfies <resample_grid(x, m), y> = <x, resample_grid_adjoint(y, n)> in the plain inner product; with `scale` the
    ratio of voxel counts, it differs from the inverse grid change only by that factor and at Nyquist samples.

    Args:
        volume: on the new grid, real or complex, shape (..., D, H, W).
        shape: the old (D, H, W).

    Returns:
        Volume of shape (..., *shape), same dtype.

    >>> x, y = torch.rand(4, 4, 6, dtype=torch.float64), torch.rand(4, 4, 9, dtype=torch.float64)
    >>> left = (resample_grid(x, (4, 4, 9)) * y).sum()
    >>> torch.allclose(left, (x * resample_grid_adjoint(y, (4, 4, 6))).sum())
    True
    """
    old = math.prod(volume.shape[-3:])
    new = math.prod(int(m) for m in shape)
    return _change_grid(volume, shape, fold=0.5, split=1.0) * (old / new)


def _change_grid(volume: Tensor, shape: Sequence[int], fold: float, split: float) -> Tensor:
    old, new = tuple(volume.shape[-3:]), tuple(int(m) for m in shape)
    if len(new) != 3 or min(new) < 1:
        raise GeometryError("a grid has three axes of at least one sample", got=tuple(shape))
    dims = [d for d, n, m in zip(VOLUME_DIMS, old, new, strict=True) if n != m]
    if not dims:
        return volume.clone()
    if not (volume.is_floating_point() or volume.is_complex()):
        raise ConfigError("a grid change needs a floating-point volume", got=volume.dtype, remedy="convert to float32")
    # Axis by axis: a separable operator, and each transform runs over the smallest array it can.
    result = volume
    for dim in dims:
        n, m = old[dim], new[dim]
        k = _resize_axis(fft(result, (dim,)), dim, n, m, fold, split)
        result = ifft(k, (dim,)) * math.sqrt(m / n)
        if not volume.is_complex():
            result = result.real
    return result.contiguous()


def _resize_axis(k: Tensor, dim: int, n: int, m: int, fold: float, split: float) -> Tensor:
    """Centred crop or pad of one axis of k-space with the Nyquist rule of :func:`resample_grid`."""
    if m > n:
        before = m // 2 - n // 2
        padded = k.new_zeros([m if d == dim % k.ndim else s for d, s in enumerate(k.shape)])
        padded.narrow(dim, before, n).copy_(k)
        if n % 2 == 0:  # the sample at -n/2 also stands for +n/2
            nyquist = k.narrow(dim, 0, 1) * split
            padded.narrow(dim, before, 1).copy_(nyquist)
            padded.narrow(dim, before + n, 1).copy_(nyquist)
        return padded
    start = n // 2 - m // 2
    cropped = k.narrow(dim, start, m).clone()
    if m % 2 == 0:  # fold +m/2 onto -m/2; on the old grid +m/2 is at start + m, which exists since m < n
        both = (k.narrow(dim, start, 1) + k.narrow(dim, start + m, 1)) * fold
        cropped.narrow(dim, 0, 1).copy_(both)
    return cropped


def grid_affine(affine: Tensor, old_shape: Sequence[int], new_shape: Sequence[int]) -> Tensor:
    """Affine of the grid made by :func:`resample_grid`: it states where the new samples are.

    Args:
        affine: voxel index to millimetres, shape (4, 4), float64 advised.
        old_shape: (D, H, W) of the old grid.
        new_shape: (D, H, W) of the new grid.

    Returns:
        Affine of the new grid, shape (4, 4), same dtype.

    >>> grid_affine(torch.eye(4, dtype=torch.float64), (9, 9, 9), (9, 9, 18))[2].tolist()  # half the voxel size
    [0.0, 0.0, 0.5, -0.5]
    """
    affine = torch.as_tensor(affine)
    to_old = torch.eye(4, dtype=torch.float64)
    for axis, (n, m) in enumerate(zip(old_shape, new_shape, strict=True)):
        to_old[axis, axis] = n / m
        to_old[axis, 3] = n // 2 - (m // 2) * n / m
    return (affine.to(torch.float64) @ to_old.to(affine.device)).to(affine.dtype)


def refined_affine(affine: Tensor, scale: Sequence[float]) -> Tensor:
    """Affine of a grid with r samples for each old one, of which the first lies where it was; see :func:`decimate`.

    Args:
        affine: voxel index to millimetres, shape (4, 4).
        scale: r per axis; 1/r for the grid that :func:`decimate` makes.

    Returns:
        Affine of the new grid, shape (4, 4), same dtype.

    >>> refined_affine(torch.eye(4, dtype=torch.float64), (1, 2, 2)).diagonal().tolist()
    [1.0, 0.5, 0.5, 1.0]
    """
    affine = torch.as_tensor(affine)
    steps = torch.tensor([*(1 / r for r in scale), 1.0], dtype=torch.float64, device=affine.device)
    return (affine.to(torch.float64) * steps).to(affine.dtype)
