"""Build one HTML file that shows a result: it opens from disk, loads nothing from a network, stays below 25 MB."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

import mdcsrn
from mdcsrn.errors import MissingDependencyError, OutputError
from mdcsrn.files import atomic_write_text
from mdcsrn.optional import install_command
from mdcsrn.report import sections as parts
from mdcsrn.report.glossary import glossary
from mdcsrn.report.page import Page
from mdcsrn.report.prediction import page_of_output, page_of_prediction
from mdcsrn.report.preview import Preview, make_preview

__all__ = ["page_of_output", "page_of_prediction", "render", "write_page"]

MAX_PAGE_BYTES = 25_000_000  # bytes of the file
NIIVUE = "niivue-0.69.0"
KEPT_RELATIVE_ERROR = 1e-5  # relative error of a float result inside the measured band that still counts as kept
NOTE = "Grey levels are rounded to 8 bits and the field is cropped to the head."
TEMPLATES = ("base", "page", "study")
MARKUP_BYTES = 200_000  # bytes for markup around the pictures


@dataclass(frozen=True)
class Consistency:
    """What the page says of the certificate."""

    kept: bool
    title: str
    lines: Sequence[str]


def write_page(path: str | os.PathLike[str], page: Page, largest: int = MAX_PAGE_BYTES) -> None:
    """Write a page in one step.

    Args:
        path: .html file; its folder is made.
        page: what to show.
        largest: bytes that the file may have; previews in the viewer are reduced to fit.

    Raises:
        DataError: no head is found.
        MissingDependencyError: jinja2 or matplotlib is not installed.
        OutputError: the file cannot be written, or cannot be made so small.
    """
    text = render(page, largest)
    write_text(path, text, largest)


def write_text(path: str | os.PathLike[str], text: str, largest: int = MAX_PAGE_BYTES) -> None:
    """Write the text of a page in one step; raises OutputError where it is too large or cannot be written."""
    size = len(text.encode("utf-8", "backslashreplace"))  # as it is written
    if size > largest:
        raise OutputError(f"the report {path} is too large", got=f"{size} bytes", allowed=f"{largest}")
    atomic_write_text(path, text)


def render(page: Page, largest: int = MAX_PAGE_BYTES) -> str:
    """The text of a page; arguments and errors as for :func:`write_page`."""
    environment = environment_of_pages()
    from markupsafe import Markup

    subject = parts.Subject.of(page)
    sections = _sections(subject)
    scripts = [asset(f"assets/{NIIVUE}.umd.js"), asset("templates/viewer.js")]
    licences = asset(f"assets/{NIIVUE}.LICENSES.txt")
    figures = sum(len(drawn.source) for section in sections for drawn in section.figures)
    spent = figures + sum(len(text.encode()) for text in (*scripts, licences)) + MARKUP_BYTES
    preview = _preview(subject, max(1, (largest - spent) * 3 // 4))
    layers = [
        {"id": f"layer-{index}", "data": base64.b64encode(layer.data).decode()}
        for index, layer in enumerate(preview.layers)
    ]
    return environment.get_template("page.html.j2").render(
        title=page.title,
        subtitle=_subtitle(page),
        software=f"mdcsrn {mdcsrn.__version__}",
        policy=policy(scripts),
        style=Markup(asset("templates/page.css")),
        summary=_summary(page),
        consistency=consistency(page),
        notices=page.notices,
        sections=sections,
        facts=page.facts,
        glossary=glossary(page.comparison is not None, tuple(page.maps)),
        preview_note=" ".join(
            ("Grey levels are rounded to 8 bits and the field is cropped to the head.", *preview.notes)
        ),
        settings=_settings(subject, preview),
        layers=layers,
        scripts=[Markup(text) for text in scripts],  # shipped files, not the user's text
        licences=licences,
        niivue_version=NIIVUE.removeprefix("niivue-"),
    )


def policy(scripts: Sequence[str]) -> str:
    """Content security policy: these scripts and embedded pictures, nothing from anywhere else."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


def consistency(page: Page) -> Consistency:
    """The certificate in plain words."""
    certificate = page.certificate
    if page.unchanged:
        return Consistency(True, "Nothing was changed", ["The result is the input, voxel by voxel."])
    if certificate is None and page.comparison is not None:
        return Consistency(
            False, "Data consistency was not checked", ["What was measured is not known (--low, --degrade)."]
        )
    if certificate is None:
        return Consistency(
            False,
            "Data consistency is off",
            ["Nothing guarantees that this result agrees with what was measured. Compare it with the input."],
        )
    error = float(certificate["relative_error"])
    stored = certificate.get("relative_error_stored")
    lines = [
        f"Inside the measured band the result and the scan differ by a relative {error:.1e}: "
        + (
            "what was measured is in the result, to rounding."
            if error <= KEPT_RELATIVE_ERROR
            else "more than rounding explains."
        )
    ]
    if stored is not None:
        lines.append(f"As stored in the file, after rounding to its number type: {float(stored):.1e}.")
    series = certificate.get("relative_error_series")
    if series is not None:
        lines.append(f"As stored in the DICOM series, after rounding to its slope: {float(series):.1e}.")
    if certificate.get("bound_share") is not None:
        lines.append(
            f"This binds {100 * float(certificate['bound_share']):.1f} % of the result's k-space; the rest is restored."
        )
    kept = error <= KEPT_RELATIVE_ERROR
    return Consistency(
        kept, "What was measured is kept" if kept else "The result departs from what was measured", lines
    )


def _sections(subject: parts.Subject) -> list[parts.Section]:
    listed = [parts.pictures_section(subject)]
    if subject.page.comparison is not None:
        from mdcsrn.report.evaluation_sections import evaluation_sections

        listed += evaluation_sections(subject)
    listed += [parts.kspace_section(subject), parts.slices_section(subject), parts.differences_section(subject)]
    return listed


def _preview(subject: parts.Subject, budget: int) -> Preview:
    page = subject.page
    maps = {parts.MAP_TEXT.get(name, name): array for name, array in page.maps.items() if name != "mean"}
    return make_preview(page.volumes, maps, page.affine, subject.mask, subject.peak, budget)


def _settings(subject: parts.Subject, preview: Preview) -> dict[str, Any]:
    """What the viewer's script reads."""
    centre = subject.scene({}).centre
    fractions, extent = [], []
    spacing = np.sqrt((np.asarray(subject.page.affine)[:3, :3] ** 2).sum(axis=0))
    for world, (axis, sign) in enumerate(zip(subject.order, subject.signs, strict=True)):
        part = preview.box[axis]
        size = part.stop - part.start
        voxel = centre[world] if sign > 0 else subject.page.after.shape[axis] - 1 - centre[world]
        share = (voxel - part.start + 0.5) / size
        fractions.append(float(np.clip(share if sign > 0 else 1 - share, 0, 1)))
        extent.append(float(size * spacing[axis]))
    layers = [
        {
            "id": f"layer-{index}", "name": layer.name, "kind": layer.kind, "shape": list(layer.shape),
            "header": base64.b64encode(layer.header).decode(), "step": layer.step, "relative": layer.relative,
            "filtered": layer.filtered,
        }
        for index, layer in enumerate(preview.layers)
    ]  # fmt: skip
    planes = subject.scene(subject.page.volumes).planes
    across = planes[0].across if len(planes) == 1 else None  # one plane fills the viewer
    return {"layers": layers, "centre": fractions, "extent": extent, "across": across}


def _subtitle(page: Page) -> str:
    kind = "Evaluation against a reference" if page.comparison is not None else "Super-resolution report"
    spacing = np.sqrt((np.asarray(page.affine)[:3, :3] ** 2).sum(axis=0))
    size = " × ".join(map(str, page.after.shape))
    return f"{kind} · {size} voxels of {' × '.join(f'{edge:.2f}' for edge in spacing)} mm"


def _summary(page: Page) -> list[str]:
    if page.unchanged:
        lines = []
    elif page.comparison is None:
        lines = ["Fine detail in this result was estimated by a network; it was not measured."]
    else:
        lines = [f"{page.after_name} and other methods, each held against the reference."]
    return [*lines, page.facts["Decision"]] if "Decision" in page.facts else lines


def asset(name: str) -> str:
    """Text of a shipped file of this room, such as ``templates/page.css``."""
    return files("mdcsrn.report").joinpath(name).read_text(encoding="utf-8")


def environment_of_pages() -> Any:
    """The templates of all pages; text is escaped.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError("the HTML report needs jinja2", remedy=install_command("report")) from error
    loader = DictLoader({f"{name}.html.j2": asset(f"templates/{name}.html.j2") for name in TEMPLATES})
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
