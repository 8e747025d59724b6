"""The page in a real browser, from disk: it renders, answers, asks no network for anything, and works without WebGL."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nibabel.eulerangles import euler2mat

from mdcsrn.report.html import write_page
from mdcsrn.report.page import Page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, page: Page) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, page)
    return path


def beside_the_line(browser, picture: np.ndarray, side: int) -> np.ndarray:
    """What lies left (-1) or right (1) of the line in each plane: 70 columns, those next to it left out."""
    marks = browser.run("return document.getElementById('viewer-lines').getAttribute('d')")
    places = [round(float(x)) for x in re.findall(r"M([\d.]+)", marks)]
    assert len(places) == 3
    return np.concatenate([picture[:, slice(*sorted((x + side * 12, x + side * 82)))] for x in places], axis=1)


def test_renders_without_a_network_or_an_error(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    browser.settled()
    picture = browser.stage()
    grey = picture.mean(axis=2)
    assert grey.std() > 30, "the planes are drawn"
    for tile in np.array_split(grey, 3, axis=1):
        assert (tile > 60).mean() > 0.2, "each of the three planes shows the head"
    images = browser.run("return [...document.images].map((i) => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(images) >= 6
    assert all(complete and width > 200 and words > 20 for complete, width, words in images)
    assert browser.console() == []
    asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
    assert asked == [report.as_uri()]
    assert (
        browser.run("return performance.getEntriesByType('resource').filter((e) => /^http/.test(e.name)).length") == 0
    )


def test_the_policy_stops_what_is_not_in_the_file(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    outcome = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), (e) => done(String(e)))"
    )
    assert "sent" not in outcome
    assert any("Content Security Policy" in line for line in browser.console())
    ran = browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.injected = 1'; document.body.append(s);"
        "return window.injected === undefined"
    )
    assert ran, "a script that is not the page's own does not run"


def test_swipe_shows_more_or_less_of_the_left_picture(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    shots = {}
    for value in (0, 100, 50):  # the line of the last one says where to look
        browser.choose("viewer-swipe", value)
        shots[value] = browser.stage()
    assert np.abs(shots[0] - shots[100]).mean() > 1, "the two pictures differ"
    for side, same, other in ((-1, 100, 0), (1, 0, 100)):  # left of the line "before", right of it "after"
        here, alike, unlike = (beside_the_line(browser, shots[value], side) for value in (50, same, other))
        assert np.abs(here - alike).mean() < 0.1 < np.abs(here - unlike).mean()


def test_slider_and_flip_work_from_the_keyboard(browser, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    assert browser.open(report) == "ready"
    slider = browser.driver.find_element("id", "viewer-swipe")
    before = browser.stage()
    slider.send_keys(Keys.ARROW_RIGHT * 12)
    browser.frames()
    assert slider.get_attribute("value") == "62"
    assert np.abs(browser.stage() - before).mean() > 0.05
    assert "62 %" in browser.driver.find_element("id", "viewer-swipe-value").text
    browser.driver.find_element("id", "viewer-flip").send_keys(Keys.ENTER)
    assert slider.get_attribute("value") == "0"


def test_maps_lie_on_top(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    plain = browser.stage()
    options = browser.run("return [...document.getElementById('viewer-overlay').options].map((o) => o.value)")
    assert options == ["", "difference", "map-0"]
    colours = {}
    for value in options[1:]:
        browser.choose("viewer-overlay", value)
        picture = browser.stage()
        colours[value] = np.ptp(picture, axis=2)
        assert (colours[value] > 60).mean() > (np.ptp(plain, axis=2) > 60).mean() + 0.02, f"{value} is coloured"
        assert (colours[value] > 60).mean() < 0.4, "small values stay faint"
    assert not np.array_equal(colours["difference"], colours["map-0"])
    browser.choose("viewer-opacity", 0)
    assert np.abs(browser.stage() - plain).mean() < 1
    browser.choose("viewer-overlay", "")
    assert np.abs(browser.stage() - plain).mean() < 0.1
    assert browser.console() == []


def test_a_click_moves_both_pictures(browser, report: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    assert browser.open(report) == "ready"
    place = browser.driver.find_element("id", "viewer-place")
    before, text = browser.stage(), place.text
    assert "mm" in text
    assert "before (zero-filled): " in text
    canvas = browser.driver.find_element("id", "canvas-right")
    ActionChains(browser.driver).move_to_element_with_offset(canvas, -350, 40).click().perform()
    browser.settled()
    assert place.text != text
    after = browser.stage()
    for side in (-1, 1):  # left of the line is one picture, right of it the other
        assert np.abs(beside_the_line(browser, after, side) - beside_the_line(browser, before, side)).mean() > 1


@pytest.mark.parametrize(("angles", "flips"), [((0.2, -0.15, 0.25), (-1, 1, -1)), ((0.1, 0.0, -0.2), (-1, -1, 1))])
def test_right_is_right_whatever_the_affine(
    browser, tmp_path: Path, page_maker: Callable[..., Page], angles: tuple[float, ...], flips: tuple[int, ...]
) -> None:
    """A head with one bright side, stored in several orientations: the side shows on the same side of the page."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 44, 36)], indexing="ij")
    inside = sum(g**2 for g in grid) < 0.7
    volume = (inside * (300 + 700 * ((grid[0] > 0.2) & (grid[2] > 0)))).astype(np.float32)
    stored = np.ascontiguousarray(volume[tuple(slice(None, None, flip) for flip in flips)].transpose(2, 0, 1))
    affine = np.eye(4)
    turned = euler2mat(*angles) @ np.diag([1.3 * flip for flip in flips])
    affine[:3, :3] = turned[:, [2, 0, 1]]
    affine[:3, 3] = (5, -9, 30)
    write_page(tmp_path / "p.html", page_maker(stored, affine))
    assert browser.open(tmp_path / "p.html") == "ready"
    browser.settled()
    coronal = np.array_split(browser.stage().mean(axis=2), 3, axis=1)[1]
    rows, middle = coronal.shape[0], coronal.shape[1] // 2
    quarters = {
        (place, side): coronal[part, columns_].mean()
        for place, part in (("top", slice(0, rows // 2)), ("bottom", slice(rows // 2, None)))
        for side, columns_ in (("left", slice(0, middle)), ("right", slice(middle, None)))
    }
    assert max(quarters, key=lambda key: quarters[key]) == ("top", "right")
    assert quarters["top", "right"] > 1.3 * quarters["top", "left"]


def test_narrow_page_has_no_sideways_scroll(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    try:
        for width in (800, 500):  # the second with the planes two by two
            browser.driver.set_window_size(width, 900)
            browser.settled()
            sizes = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            assert sizes[0] <= sizes[1] <= width
            grey = browser.stage().mean(axis=2)
            assert grey.std() > 20
            marks = browser.run("return document.getElementById('viewer-lines').getAttribute('d')")
            assert len(set(re.findall(r"M[\d.]+ ([\d.]+)", marks))) == (1 if width == 800 else 2), "rows of planes"
    finally:
        browser.driver.set_window_size(1280, 1000)


def test_without_webgl_the_pictures_remain(new_browser, report: Path) -> None:
    plain = new_browser(webgl=False)
    try:
        assert plain.open(report) == "failed"
        message = plain.driver.find_element("id", "viewer-message")
        assert message.is_displayed()
        assert "WebGL" in message.text
        assert not plain.driver.find_element("id", "viewer-stage").is_displayed()
        assert plain.driver.find_element("css selector", "#pictures img").is_displayed()
        assert plain.console() == []
    finally:
        plain.driver.quit()


def test_without_scripts_the_pictures_remain(new_browser, report: Path) -> None:
    plain = new_browser()
    try:
        plain.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        plain.driver.get(report.as_uri())
        assert "JavaScript" in plain.driver.find_element("css selector", "noscript p").text
        assert plain.driver.find_element("css selector", "#pictures img").is_displayed()
    finally:
        plain.driver.quit()


def test_prints_pictures_instead_of_the_viewer(browser, report: Path) -> None:
    assert browser.open(report) == "ready"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.driver.find_element("id", "viewer").is_displayed()
        assert browser.driver.find_element("css selector", "#pictures img").is_displayed()
        printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert base64.b64decode(printed["data"])[:5] == b"%PDF-"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.long
def test_a_large_head_fits_and_opens(
    browser, tmp_path: Path, make_head: Callable[..., np.ndarray], page_maker: Callable[..., Page]
) -> None:
    """256 × 320 × 320 voxels with texture and noise everywhere: the worst that can be packed."""
    path = tmp_path / "large.html"
    write_page(path, page_maker(make_head((256, 320, 320)), np.diag([0.7, 0.7, 0.7, 1.0])))
    assert path.stat().st_size <= 25_000_000
    assert browser.open(path, wait=240) == "ready"
    assert browser.stage().std() > 30
    assert browser.console() == []
