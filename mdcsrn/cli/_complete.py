"""Shell completion of options with known values: names of bundles, models, presets, backends, people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

# As in mdcsrn.inference.backends, which would import torch at every press of the key; a test holds them equal.
BACKENDS = ("auto", "cuda", "openvino", "compile", "eager", "onnxruntime")
PRECISIONS = ("auto", "int8", "bfloat16", "float16", "float32")
DEVICES = ("auto", "cpu", "cuda")
FORMS = ("torchscript", "pt2", "onnx", "openvino", "safetensors", "tensorrt")
FORM_PRECISIONS = ("float32", "bfloat16", "float16", "int8")
SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Names = Callable[[click.Context], Iterable[str]]


def among(values: Sequence[str]) -> Complete:
    """Offer fixed words."""
    return offer(lambda ctx: values)


def among_list(values: Sequence[str]) -> Complete:
    """Offer fixed words for a list with commas: the last one is completed."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [CompletionItem(f"{before}{comma}{v}") for v in values if v.startswith(last) and v not in given]

    return complete


def offer(names: Names, otherwise: str = "") -> Complete:
    """Offer names that are looked up when the key is pressed.

    Args:
        names: from what stands on the command line so far.
        otherwise: ``file`` or ``dir`` where no name begins like that; empty: nothing.
    """

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in _without_errors(names, ctx) if name.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type=otherwise)] if otherwise else [])

    return complete


def _without_errors(names: Names, ctx: click.Context) -> list[str]:
    """A key press shows no error: what cannot be looked up is not offered."""
    from mdcsrn.errors import MdcsrnError

    try:
        return list(names(ctx))
    except (MdcsrnError, OSError):
        return []


def _bundles(ctx: click.Context) -> list[str]:
    from mdcsrn.resources import shipped_bundles

    return [home.name for home in shipped_bundles()]


def _models(ctx: click.Context) -> list[str]:
    from mdcsrn.inference.planning.models import model_names

    return model_names(ctx.params.get("bundle"))


def _presets(ctx: click.Context) -> list[str]:
    from mdcsrn.resources import folder

    return sorted(file.stem for file in (folder("configs") / "degradation").glob("*.yaml"))


def _labels(key: str) -> Names:
    """Labels of a BIDS dataset, from the names of its folders."""

    def find(ctx: click.Context) -> list[str]:
        # Before an option that lacks its value click has not given the words their names yet.
        root = Path(ctx.params.get("bids_dir") or next(iter(ctx.args), "."))
        pattern = "sub-*" if key == "sub" else "sub-*/ses-*"
        return sorted({place.name.removeprefix(f"{key}-") for place in root.glob(pattern) if place.is_dir()})

    return find


bundles = offer(_bundles, "dir")
models = offer(_models, "file")
presets = offer(_presets, "file")
participants = offer(_labels("sub"))
sessions = offer(_labels("ses"))
