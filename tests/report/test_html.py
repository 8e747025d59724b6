"""What a page holds and says: complete, self-contained, escaped, within its budget."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mdcsrn.errors import ConfigError, DataError, GeometryError, MissingDependencyError, OutputError
from mdcsrn.report.html import consistency, render, write_page
from mdcsrn.report.page import Page

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Reader(HTMLParser):
    """Elements with their attributes, texts of scripts, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID and tag not in ("path",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "path":
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def text(page: Page) -> str:
    return render(page)


@pytest.fixture(scope="module")
def reader(text: str) -> Reader:
    return Reader(text)


def test_is_one_whole_document(text: str, reader: Reader) -> None:
    assert text.startswith("<!doctype html>")
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in reader.named("a") if str(a.get("href")).startswith("#")}
    assert targets <= set(ids)
    labels = {a.get("aria-label") for a in reader.named("input")} | {"in a label"}
    assert "Position of the line between the left and the right picture, percent" in labels
    assert reader.named("html")[0]["lang"] == "en"


def test_nothing_is_loaded_from_elsewhere(text: str, reader: Reader) -> None:
    for tag, attributes in reader.elements:
        for key in ("src", "href", "data", "action", "poster", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (tag, key, str(value)[:60])
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_policy_names_the_scripts_of_the_page_and_no_other(reader: Reader) -> None:
    policy = next(a["content"] for a in reader.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    described = list(zip(reader.named("script"), reader.scripts, strict=True))
    run = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for a, s in described if "type" not in a}
    assert allowed == run
    assert len(run) == 2
    for rule in ("default-src 'none'", "connect-src 'none'", "base-uri 'none'"):
        assert rule in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy


def test_every_picture_has_words(reader: Reader) -> None:
    images = reader.named("img")
    assert len(images) >= 6
    for image in images:
        assert len(str(image["alt"])) > 20
        kind, data = str(image["src"]).split(";base64,")
        content = base64.b64decode(data, validate=True)
        assert content.startswith(b"\x89PNG") if kind == "data:image/png" else b"<svg" in content[:600]


def test_says_what_it_knows(reader: Reader, page: Page) -> None:
    assert page.certificate is not None
    for phrase in (
        "Research use only", "What was measured is kept", f"{page.certificate['relative_error']:.1e}",
        "Warning: spacing-outside-trained-range", "1.2 mm; trained on 0.7 to 1.0 mm", "Fill the outer band.",
        "48 × 60 × 44 voxels of 1.00 × 1.20 × 1.40 mm",
        "100 % left–right, 48 % back–front, 48 % bottom–top; 23 % in all",
        "Glossary", "Invention map", "BSD 2-Clause License",
    ):  # fmt: skip
        assert phrase in reader.text, phrase
    assert "Spread map" not in reader.text, "no word for what is not there"
    assert "PSNR" not in reader.text


def test_a_name_that_is_no_utf_8_makes_a_page(page: Page, tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", dataclasses.replace(page, title="P01\udcff"))
    assert "P01\\udcff" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_names_from_outside_are_text(page: Page) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&"
    hostile = dataclasses.replace(
        page, title=evil, facts={evil: evil}, before_name=evil, maps={evil: page.maps["invention"]}
    )
    reader = Reader(render(hostile))
    assert len(reader.named("script")) == 2 + 1 + 3
    assert all("onerror" not in a for _, a in reader.elements)
    assert "alert(1)" in reader.text


@pytest.mark.parametrize(
    ("certificate", "unchanged", "kept", "title"),
    [
        ({"relative_error": 3e-7, "bound_share": 0.25}, False, True, "What was measured is kept"),
        ({"relative_error": 3e-3}, False, False, "The result departs from what was measured"),
        (None, False, False, "Data consistency is off"),
        (None, True, True, "Nothing was changed"),
    ],
)
def test_certificate_in_words(page: Page, certificate, unchanged: bool, kept: bool, title: str) -> None:
    said = consistency(dataclasses.replace(page, certificate=certificate, unchanged=unchanged))
    assert (said.kept, said.title) == (kept, title)
    rounded = {"relative_error": 3e-7, "relative_error_stored": 4e-4}
    lines = consistency(dataclasses.replace(page, certificate=rounded)).lines
    assert any("4.0e-04" in line for line in lines)
    lines = consistency(dataclasses.replace(page, certificate={**rounded, "relative_error_series": 5e-4})).lines
    assert any("DICOM series" in line and "5.0e-04" in line for line in lines)


def test_an_unchanged_volume_makes_a_page(page: Page, tmp_path: Path) -> None:
    same = dataclasses.replace(
        page, after=page.before, maps={}, certificate=None, notices=(), unchanged=True, shares=(1.0, 1.0, 1.0)
    )
    write_page(tmp_path / "same.html", same)
    words = Reader((tmp_path / "same.html").read_text()).text
    assert "The result is the input" in words
    assert "No warnings." in words
    unknown = Reader(render(dataclasses.replace(same, shares=None))).text
    assert "It is not known which part of k-space was measured" in unknown


def test_is_the_same_each_time(page: Page, text: str) -> None:
    assert render(page) == text


def test_budget_is_kept_by_smaller_previews(page: Page, text: str, tmp_path: Path) -> None:
    limit = len(text.encode()) - 60_000
    write_page(tmp_path / "small.html", page, limit + 200_000)
    content = (tmp_path / "small.html").read_text()
    assert len(content.encode()) <= limit + 200_000
    assert "so that the file stays small" in content
    assert "so that the file stays small" not in text
    with pytest.raises(OutputError, match="too large"):
        write_page(tmp_path / "tiny.html", page, 1_000_000)
    assert [p.name for p in tmp_path.iterdir()] == ["small.html"]


def test_bad_pages_are_refused(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GeometryError, match="after"):
        dataclasses.replace(page, after=page.after[1:])
    with pytest.raises(GeometryError, match="invention"):
        dataclasses.replace(page, maps={"invention": page.before[..., 1:]})
    with pytest.raises(ConfigError, match="shares"):
        dataclasses.replace(page, shares=(1.0, 0.0, 1.0))
    nothing = np.zeros_like(page.after)
    with pytest.raises(DataError):
        write_page(tmp_path / "a.html", dataclasses.replace(page, before=nothing, after=nothing, maps={}))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_page(tmp_path / "file" / "a.html", page)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match="jinja2"):
        write_page(tmp_path / "a.html", page)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
