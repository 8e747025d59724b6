"""Restore data consistency after the network: put the measured k-space back, with a certificate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, certify, project
from mdcsrn.kspace.consistency import WINDOW_THRESHOLD
from mdcsrn.kspace.degradation import as_spec
from mdcsrn.transforms._volumes import plain, recorded_degradation, rewrap, tracked

CERTIFICATE_KEY = "consistency"


class DataConsistency(Transform):
    """Put the measured part of k-space back into a result; see :func:`mdcsrn.kspace.project`.

    Args:
        spec: the degradation that made the measurement, or its plain values; None: the one recorded in it.
        threshold: smallest window weight to divide by, in (0, 1].

    Raises:
        ConfigError: no degradation is given or recorded, or it has partial Fourier.
        GeometryError: the grids do not fit each other.

    >>> import torch
    >>> from mdcsrn.transforms import KSpaceLowPass
    >>> truth = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> measured = KSpaceLowPass({"reduction": [1, 2, 2]})(truth)
    >>> result = DataConsistency()(torch.zeros_like(truth), measured)
    >>> torch.allclose(result, measured, atol=1e-6)
    True
    >>> result.meta["consistency"]["before"]["relative_error"]
    1.0
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, spec: DegradationSpec | Mapping[str, Any] | None = None, threshold: float = WINDOW_THRESHOLD
    ) -> None:
        self.spec = None if spec is None else as_spec(spec)
        self.threshold = threshold

    def __call__(self, img: NdarrayOrTensor, measured: NdarrayOrTensor) -> Tensor:  # type: ignore[override]
        """Project.

        Args:
            img: the network's result, shape (C, D, H, W).
            measured: the degraded volume in the same unit, on the same grid or on the acquired one.

        Returns:
            The consistent result, shape as `img`, float32, on its device; the certificates before and after are in
            ``meta["consistency"]``.
        """
        spec = recorded_degradation(measured) if self.spec is None else self.spec
        result, source = tracked(img), tracked(measured)
        values = plain(result)
        reference = plain(source).to(values.device, values.dtype)
        before = certify(values, reference, spec, self.threshold)
        projected = project(values, reference, spec, self.threshold)
        after = certify(projected, reference, spec, self.threshold)
        out = rewrap(projected, result)
        if isinstance(out, MetaTensor):
            out.meta[CERTIFICATE_KEY] = {"before": before.to_dict(), "after": after.to_dict()}
        return out


class DataConsistencyd(MapTransform):
    """Dictionary version of :class:`DataConsistency`.

    Args:
        keys: the result, one or several keys.
        measured_key: the degraded volume, in the same unit as the result.
        spec: the degradation; None: the one recorded in the measured volume.
        raw_key: where the result before projection is kept, one for each key; None: nowhere.
        threshold: smallest window weight to divide by.
        allow_missing_keys: do not raise when a key is missing; `measured_key` must be there.

    >>> import torch
    >>> from mdcsrn.transforms import KSpaceLowPassd
    >>> data = {"image": torch.rand(1, 8, 8, 8), "pred": torch.zeros(1, 8, 8, 8)}
    >>> data = KSpaceLowPassd("image", {"reduction": [1, 2, 2]})(data)
    >>> data = DataConsistencyd("pred", raw_key="raw")(data)
    >>> torch.allclose(data["pred"], data["image"], atol=1e-6), float(data["raw"].max())
    (True, 0.0)
    """

    backend = DataConsistency.backend

    def __init__(
        self,
        keys: KeysCollection = "pred",
        measured_key: str = "image",
        spec: DegradationSpec | Mapping[str, Any] | None = None,
        raw_key: KeysCollection | None = None,
        threshold: float = WINDOW_THRESHOLD,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.measured_key = measured_key
        self.raw_keys: tuple[Hashable | None, ...] = (None,) * len(self.keys)
        if raw_key is not None:
            self.raw_keys = ensure_tuple(raw_key)
        if len(self.raw_keys) != len(self.keys):
            raise ConfigError("one raw_key for each key", got=self.raw_keys, allowed=len(self.keys))
        self.consistency = DataConsistency(spec, threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Project the volume under each key."""
        d = dict(data)
        if self.measured_key not in d:
            raise ConfigError("the measured volume is missing", got=self.measured_key, allowed=", ".join(map(str, d)))
        for key, raw_key in self.key_iterator(d, self.raw_keys):
            raw = d[key]
            d[key] = self.consistency(raw, d[self.measured_key])
            if raw_key is not None:
                d[raw_key] = raw
        return d


DataConsistencyD = DataConsistencyDict = DataConsistencyd
