"""The targets of the benchmark, each answered from the figures: met, missed, or not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from judge import Method
from study import Row, mean, select, values
from work import flops_per_voxel

from mdcsrn.networks import MDCSRN

SETTINGS = ("2x2 (2,2,1)", "2x2 (1,2,2)")
GAIN, GAIN_WITHOUT_GPU = 2.0, 1.5  # dB over zero-filled, head, mean
CLOSE = 0.3  # dB: a GAN under its parent, the universal model under the specialist
LIKE_OURS = 2.0  # times our work per voxel: the peers that ours must beat
PARENTS = {"gan": "model", "ours-gan": "ours"}
SPECIALISTS = {
    "universal": "ours-s2d-222",
    "model": "specialist",
}  # --weights specialist=FILE: the start of the shipped one


@dataclass(frozen=True)
class Target:
    """One line of the answer.

    Attributes:
        setting: of the benchmark.
        words: what is asked, with the figures.
        met: the answer.
    """

    setting: str
    words: str
    met: bool


def targets(rows: Sequence[Row], methods: Sequence[Method]) -> list[Target]:
    """Every target that the figures can answer, with consistency on.

    Args:
        rows: of :func:`study.make_rows`.
        methods: those that were judged.

    Returns:
        Nothing for a setting or a pair of methods that was not judged.
    """
    named = {method.name: method for method in methods}
    found = []
    for setting in SETTINGS:
        head, volume = (partial(_of, select(rows, setting=setting, region=r, variant="")) for r in ("head", "volume"))
        ours = [m for m in methods if m.family == "ours" and head(m.name, "psnr")]
        found += [Target(setting, *_gain(m, head(m.name, "gain"))) for m in ours if m.name not in PARENTS]
        for child, parent, what in ((c, p, "its L1 parent") for c, p in PARENTS.items()):
            if head(child, "psnr") and head(parent, "psnr"):
                found.append(Target(setting, *_under(named[child], what, head(child, "psnr"), head(parent, "psnr"))))
                spectra = [mean(volume(name, "power_error")) for name in (child, parent)]
                words = f"{named[child].title}: spectrum nearer to the reference's than its parent's"
                numbers = f"power error {spectra[0]:.2f} against {spectra[1]:.2f} dB"
                found.append(Target(setting, f"{words}: {numbers}", spectra[0] < spectra[1]))
        for child, parent in SPECIALISTS.items():
            if head(child, "psnr") and head(parent, "psnr"):
                pair = head(child, "psnr"), head(parent, "psnr")
                found.append(Target(setting, *_under(named[child], "the 2x2 specialist", *pair)))
        trained = [m for m in ours if m.voxels]  # in this benchmark, with the peers' budget: not the shipped ones
        peers = [m for m in methods if m.family == "peer"]
        found += _peers(setting, trained, peers, {m: head(m, "psnr") for m in named})
    return found


def _of(rows: Sequence[Row], method: str, metric: str) -> list[float]:
    return values(select(rows, method=method), metric)


def _gain(method: Method, gains: Sequence[float]) -> tuple[str, bool]:
    least, average = min(gains), mean(gains)
    words = f"{method.title}: mean gain at least {GAIN} dB ({GAIN_WITHOUT_GPU} without a GPU), above 0 on every subject"
    return f"{words}: {average:+.2f}, least {least:+.2f} dB", average >= GAIN_WITHOUT_GPU and least > 0


def _under(method: Method, what: str, psnr: Sequence[float], other: Sequence[float]) -> tuple[str, bool]:
    difference = mean(psnr) - mean(other)
    return f"{method.title}: at most {CLOSE} dB under {what}: {difference:+.2f} dB", difference >= -CLOSE


def _peers(
    setting: str, ours: Sequence[Method], peers: Sequence[Method], psnr: Mapping[str, Sequence[float]]
) -> list[Target]:
    """Our best against every peer of up to twice the work of the plain mDCSRN."""
    if not ours:
        return []
    best = max(ours, key=lambda method: mean(psnr[method.name]))
    found = []
    for peer in peers:
        if not psnr[peer.name]:
            continue
        work = flops_per_voxel(peer.network) / flops_per_voxel(MDCSRN())
        if work <= LIKE_OURS:
            difference = mean(psnr[best.name]) - mean(psnr[peer.name])
            words = f"{best.title} above {peer.title} ({work:.2f} times mDCSRN's work): {difference:+.2f} dB"
            found.append(Target(setting, words, difference > 0))
    return found


def lines(found: Sequence[Target]) -> list[str]:
    """As Markdown."""
    if not found:
        return []
    marks = {True: "met", False: "**missed**"}
    body = [f"- {target.setting}, {target.words}: {marks[target.met]}." for target in found]
    return ["### Targets", "", "Head mask, mean PSNR, consistency on.", "", *body, ""]
