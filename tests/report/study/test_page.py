"""The page of a study in a real browser: it loads nothing, fits a narrow window, and marks where methods cross."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdcsrn.report.study.page import render_study
from mdcsrn.report.study.run import BINS, Middle, SliceCurve, Study


def made_study() -> Study:
    """Two methods over 21 slices: the network falls below bicubic beyond 75 % of the head, and at 30 degrees."""
    study = Study("1x2x2 box", (0.0, 30.0), ("bicubic",), ("network",))
    position = np.linspace(0, 100, 21)
    for angle in study.angles:
        for name, psnr in (("bicubic", np.full(21, 30.0)), ("network", 33.75 - position / 20 - angle / 10)):
            ssim = psnr / 40
            study.curves.append(SliceCurve("T1w", "a", angle, "head", name, np.arange(21), position, psnr, ssim))
    for name in study.methods:
        study.counts["T1w", "head", name] = np.bincount([BINS // 2] * 9 + [BINS // 2 + 40], minlength=BINS)
    picture = np.random.default_rng(0).uniform(0, 100, (1, 40, 50)).astype(np.float32)
    volumes = {"reference": picture, "bicubic": picture + 2, "network": picture + 1}
    study.middles["T1w"] = Middle("a", 0.0, volumes, np.eye(4), {"head": picture > 10}, 100.0)
    study.directions["T1w"] = {"left to right"}
    return study


def test_crossings_are_said_in_words_and_marked() -> None:
    text = render_study(made_study(), "Study")
    # Mean over the angles: 33.75 - 1.5 - position / 20 = 30 at 45 %.
    assert "T1w, head: network -0.25 dB over bicubic; slices at or below bicubic: 45–100 %." in text
    assert "30°" in text
    assert "Bars at the foot" in text


def test_browser_shows_it_without_a_network_or_sideways_scroll(browser, tmp_path: Path) -> None:
    page = tmp_path / "study.html"
    page.write_text(render_study(made_study(), "Study"))
    browser.requests()
    browser.driver.get(page.as_uri())
    try:
        for width in (1280, 500):
            browser.driver.set_window_size(width, 900)
            sizes = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            assert sizes[0] <= sizes[1]
    finally:
        browser.driver.set_window_size(1280, 1000)
    images = browser.run("return [...document.images].map((i) => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(images) == 4
    assert all(complete and wide > 200 and words > 20 for complete, wide, words in images)
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith(("data:", "blob:"))] == [page.as_uri()]
