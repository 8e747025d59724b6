"""A phantom head with marks, its short scan and a stand-in for a restored volume, and a headless browser."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from mdcsrn.kspace import DegradationSpec, certify, degrade, project
from mdcsrn.notices import Notice
from mdcsrn.report.page import Page

SPEC = DegradationSpec(reduction=(1, 2, 2))
SPOTS = {"right": (38, 30, 22), "anterior": (24, 48, 22), "superior": (24, 30, 36)}  # R-A-S voxels


def head(shape: tuple[int, int, int] = (48, 60, 44), seed: int = 0) -> np.ndarray:
    """An ellipsoid of about 1000 with fine texture in faintly noisy air, float32."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 0.7)
    return ((radius < 0.82) * (700 + 300 * texture) + 2 * rng.standard_normal(shape)).astype(np.float32)


def passed(n: int) -> float:
    """Share of the frequencies |k| < n / 4: strictly, so that an even axis loses its unpaired sample."""
    return float((np.abs(np.fft.fftfreq(n, 1 / n)) < n / 4).mean())


def make_page(volume: np.ndarray, affine: np.ndarray, title: str = "phantom") -> Page:
    """Half of k-space on two axes, and half of the missing detail restored."""
    truth = torch.from_numpy(volume)
    low = degrade(truth, SPEC)
    restored = project(low + 0.5 * (truth - low), low, SPEC)
    invention = ndimage.gaussian_filter(np.abs((restored - low).numpy()), 1.5)
    return Page(
        title=title,
        before=low.numpy(),
        after=restored.numpy(),
        affine=affine,
        shares=(1.0, passed(volume.shape[1]), passed(volume.shape[2])),
        maps={"invention": invention},
        facts={"Decision": "Fill the outer band.", "Weights": "model.pt"},
        certificate=certify(restored, low, SPEC).to_dict(),
        notices=(Notice("spacing-outside-trained-range", "1.2 mm; trained on 0.7 to 1.0 mm"),),
    )


@pytest.fixture(scope="session")
def make_head() -> Callable[..., np.ndarray]:
    return head


@pytest.fixture(scope="session")
def phantom() -> np.ndarray:
    return head()


@pytest.fixture(scope="session")
def page(phantom: np.ndarray) -> Page:
    return make_page(phantom, np.diag([1.0, 1.2, 1.4, 1.0]))


@pytest.fixture(scope="session")
def page_maker() -> Callable[..., Page]:
    return make_page


@dataclasses.dataclass
class Browser:
    """Chromium with the network's and the console's records."""

    driver: Any

    def open(self, path: Path, wait: float = 60) -> str:
        """Load a page from disk; returns the state that its viewer comes to."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # what an earlier page left
        self.driver.get(path.as_uri())
        end = time.monotonic() + wait
        while time.monotonic() < end:
            state = self.state()
            if state in ("ready", "failed"):
                return state
            time.sleep(0.1)
        return "timeout"

    def state(self) -> str:
        return str(self.run("return document.getElementById('viewer').dataset.state"))

    def settled(self, wait: float = 30) -> None:
        """Wait until the viewer has loaded what was chosen, and the picture is drawn."""
        end = time.monotonic() + wait
        while self.state() != "ready" and time.monotonic() < end:
            time.sleep(0.05)
        assert self.state() == "ready"
        self.frames()

    def frames(self) -> None:
        """Let two frames pass."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 80)))"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def stage(self) -> np.ndarray:
        """What is seen of the viewer, RGB."""
        import io

        from PIL import Image

        element = self.driver.find_element("id", "viewer-stage")
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        self.frames()
        return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)

    def choose(self, control: str, value: object) -> None:
        """Set a control as a person would, and let the page take notice."""
        self.run(
            "const c = document.getElementById(arguments[0]); c.value = arguments[1];"
            "c.dispatchEvent(new Event('input')); c.dispatchEvent(new Event('change'));",
            control,
            str(value),
        )
        self.settled()


def start_browser(width: int = 1280, webgl: bool = True) -> Browser:
    """Start Chromium, or skip where it is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "--headless=new --no-sandbox --disable-dev-shm-usage --no-first-run --disable-background-networking "
        "--disable-component-update --disable-default-apps --disable-sync --hide-scrollbars "
        "--use-angle=swiftshader --enable-unsafe-swiftshader"
    )
    for flag in (*flags.split(), f"--window-size={width},1000"):
        options.add_argument(flag)
    if not webgl:
        options.add_argument("--disable-3d-apis")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    return Browser(webdriver.Chrome(options=options, service=service))


@pytest.fixture(scope="session")
def new_browser() -> Callable[..., Browser]:
    return start_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    started = start_browser()
    yield started
    started.driver.quit()
