"""Tests of a report's page in a real browser (`make test-browser`). Screenshots are saved in pytest's tmp_path."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SWEEP = """
name: small-networks-with-a-name-that-is-rather-longer-than-names-of-sweeps-are
question: |
  Does a small network memorize, or does it rather generalize-with-one-very-long-word-of-a-hundred-letters-or-so?
  A second line.
fixed: {data: digits, dataset_size: 100, depth: 1}
grid:
  width: [2, 4]
  label_noise: [0, 0.5]
  learning_rate: [0.012345678, 1e6]
  weight_decay: [0, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4, 1e-3, 2e-3]
  epochs: [1, 3]
figures:
  - {kind: heatmap, x: width, y: label_noise, value: test_accuracy, where: {epochs: 3, weight_decay: 0}, facet: learning_rate}
  - {kind: lines, x: weight_decay, y: test_error, where: {epochs: 3, learning_rate: 0.012345678, width: 2, label_noise: 0}}
  - {kind: curves, hue: label_noise, where: {width: 4, learning_rate: 0.012345678, weight_decay: 0}}
"""  # noqa: E501
BINARIES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = 400, 1280
BY_EYE = 4.5
"""The minimum contrast between text and its background (WCAG 2.2, 1.4.3)."""

CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
  const pen = canvas.getContext("2d", { willReadFrequently: true })
  const over = (colours) => {
    pen.clearRect(0, 0, 1, 1)
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1) }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)
  }
  const bright = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const found = []
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim()) continue
    const grounds = []
    for (let at = node.parentElement; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor)
    const canvasColour = matchMedia("(prefers-color-scheme: dark)").matches ? "black" : "white"
    const ground = [canvasColour, ...grounds]
    const pair = [over(ground), over([...ground, getComputedStyle(node.parentElement).color])].map(bright)
    found.push([node.data.trim(), (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)])
  }
  return found
}"""

SPILLS = """() => [...document.querySelectorAll("body, body *")]
  .filter((at) => (at.getBoundingClientRect().right > innerWidth + 0.5
    || (at.scrollWidth > at.clientWidth && getComputedStyle(at).overflowX !== "visible")))
  .map((at) => `${at.tagName} ${at.textContent.trim().slice(0, 40)}`)"""

IMAGES = """() => [...document.images].map((image) => ({
  alt: image.alt, natural: image.naturalWidth / image.naturalHeight, shown: image.width / image.height,
  declared: image.getAttribute("width") / image.getAttribute("height"), sharp: image.naturalWidth / image.width,
}))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a small sweep, half of which diverges, with the program, and return the page of its report."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "sweep.yaml").write_text(SWEEP)
    for command in (("run", "--inline"), ("report", "--out", "page")):
        subprocess.run(
            [sys.executable, "-m", "memsweep", command[0], "sweep.yaml", *command[1:]], cwd=folder, check=True
        )
    return folder / "page" / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Imported in the fixture, so that this module can be collected where playwright is not installed.
    from playwright.sync_api import sync_playwright

    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.fail(f"no browser: none of {', '.join(BINARIES)} is on the path; `make test-browser` installs chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=binary)
        yield started
        started.close()


@pytest.fixture(
    params=[(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")], ids=lambda p: f"{p[0]}-{p[1]}"
)
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """Open an empty page in a window with the width and colour scheme of the parameter."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def shown(page: Page, report: Path) -> dict[str, list[str]]:
    """Load the report completely, and return the browser's complaints and its requests."""
    seen: dict[str, list[str]] = {"complaints": [], "requests": []}
    page.on("console", lambda message: seen["complaints"].append(message.text))
    page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
    page.on("requestfailed", lambda request: seen["complaints"].append(request.url))
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.goto(report.as_uri(), wait_until="networkidle")
    return seen


def test_it_loads_whole_quietly_and_from_its_own_folder(
    page: Page, report: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seen = shown(page, report)
    page.screenshot(path=tmp_path / f"{request.node.callspec.id}.png", full_page=True)
    assert seen["complaints"] == []
    figures = sorted(path.as_uri() for path in (report.parent / "figures").glob("*.png"))
    assert sorted(seen["requests"]) == sorted([report.as_uri(), *figures])
    images: list[dict[str, Any]] = page.evaluate(IMAGES)
    assert len(images) == len(figures) == 3
    for image in images:
        assert len(image["alt"]) > 40
        assert image["shown"] == pytest.approx(image["natural"], rel=0.02)
        assert image["declared"] == pytest.approx(image["natural"], rel=0.02)
        assert image["sharp"] > 1


def test_nothing_is_wider_than_the_window(page: Page, report: Path) -> None:
    shown(page, report)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(SPILLS) == []


def test_all_text_stands_out_from_its_ground(page: Page, report: Path) -> None:
    shown(page, report)
    contrasts = page.evaluate(CONTRASTS)
    assert {"Status", "Figures", "Definition", "Provenance", "diverged"} <= {text for text, _ in contrasts}
    assert [(text, contrast) for text, contrast in contrasts if contrast < BY_EYE] == []


def test_the_scheme_is_the_readers(page: Page, report: Path) -> None:
    shown(page, report)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(", "))) / 3
    assert lightness < 60 if dark else lightness > 200


def test_these_tests_see_what_is_wrong(page: Page, report: Path) -> None:
    """A page with deliberate defects fails the checks above."""
    worse = report.with_name("worse.html")
    added = """<p style="color: #808080; background: #909090">pale</p><p style="width: 200vw">wide</p>
      <img src="gone.png" alt=""><script>console.error("loud")</script>"""
    worse.write_text(report.read_text().replace("</main>", f"{added}</main>"))
    seen = shown(page, worse)
    assert "loud" in seen["complaints"]
    assert any(complaint.endswith("gone.png") for complaint in seen["complaints"])
    assert [text for text, contrast in page.evaluate(CONTRASTS) if contrast < BY_EYE] == ["pale"]
    assert any(spill.endswith("wide") for spill in page.evaluate(SPILLS))
    assert not page.evaluate("document.documentElement.scrollWidth <= innerWidth")
