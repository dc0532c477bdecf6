"""The site as a browser shows it: wide and narrow, light and dark."""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to look at the site")

BROWSER = os.environ.get("HANDGRAD_BROWSER") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed; HANDGRAD_BROWSER may name one"),
]
PAGES = (
    "index.html",
    "first-gpt.html",
    "backprop.html",
    "by-hand-and-tape.html",
    "optimizers.html",
    "tokenizers.html",
    "attention.html",
    "experiments/tokenizers.html",
    "running.html",
    "commands.html",
    "tensors.html",
    "reliability.html",
    "reference/ops/index.html",
    "reference/ops/multi_head_attention.html",
    "reference/nn.html",
)


class Server(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        """As hosts of static sites do it."""
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(Path(self.directory, "404.html").read_bytes())


@pytest.fixture(scope="module")
def address(whole_site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(whole_site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


class Reader:
    """A page in a window, and what it complained about."""

    def __init__(self, browser: Any, width: int, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("place", PAGES)
def test_a_page_fits_a_phone_and_nothing_complains(browser: Any, address: str, place: str) -> None:
    with Reader(browser, 390, "dark") as reader:
        reader.page.goto(f"{address}/{place}")
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390
        # What is wider than the page scrolls by itself; nothing else sticks out.
        cut = reader.page.evaluate(
            """() => [...document.querySelectorAll("article :is(p, li, h1, h2, h3, img, picture, .formula)")]
                .filter(one => one.getBoundingClientRect().right > 391 && !one.closest("table, pre, .md-nav"))
                .map(one => one.textContent.slice(0, 80))"""
        )
        assert cut == []
        too_wide = reader.page.evaluate(
            """() => [...document.querySelectorAll(".formula")]
                .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""
        )
        assert too_wide == []
        assert reader.complaints == []


@pytest.mark.parametrize("place", ["backprop.html", "by-hand-and-tape.html", "optimizers.html", "first-gpt.html"])
def test_code_is_not_clipped_at_1400_pixels(browser: Any, address: str, place: str) -> None:
    with Reader(browser, 1400) as reader:
        reader.page.goto(f"{address}/{place}")
        clipped = reader.page.evaluate(
            """() => [...document.querySelectorAll("article pre > code")]
                .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent.slice(0, 80))"""
        )
        assert clipped == []


def test_outputs_do_not_look_like_code(browser: Any, address: str) -> None:
    with Reader(browser, 1400) as reader:
        reader.page.goto(f"{address}/backprop.html")
        ground = "one => getComputedStyle(one).backgroundColor"
        code = reader.page.locator(".language-python code").first.evaluate(ground)
        output = reader.page.locator(".language-python + .language-text code").first.evaluate(ground)
        assert output != code


def test_the_bar_of_layer_norm_covers_its_symbols(browser: Any, address: str) -> None:
    with Reader(browser, 1400) as reader:
        reader.page.goto(f"{address}/backprop.html")
        bars = reader.page.locator(".line-over")
        assert bars.count() == 2
        for bar in bars.all():
            width, inner, line = bar.evaluate(
                """one => [one.getBoundingClientRect().width, one.firstElementChild.getBoundingClientRect().width,
                    parseFloat(getComputedStyle(one).borderTopWidth)]"""
            )
            assert width >= inner > 10
            assert line >= 0.5


def test_figures_have_a_version_for_a_phone(browser: Any, address: str) -> None:
    for width, name in ((390, "heads-line-narrow.svg"), (1400, "heads-line.svg")):
        with Reader(browser, width) as reader:
            reader.page.goto(f"{address}/attention.html")
            image = reader.page.locator("article picture img").first
            assert image.evaluate("one => one.currentSrc").endswith(f"figures/{name}")


def test_pictures_on_paper_are_not_white_at_night(browser: Any, address: str) -> None:
    for scheme, is_white in (("light", True), ("dark", False)):
        with Reader(browser, 1400, scheme) as reader:
            reader.page.goto(f"{address}/experiments/tokenizers.html")
            picture = reader.page.locator('article img[src$="curves-char.png"]')
            picture.scroll_into_view_if_needed()
            reader.page.wait_for_function("one => one.complete", arg=picture.element_handle())
            corner = reader.page.evaluate(
                """async bytes => {
                    const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)], {type: "image/png"}));
                    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
                    canvas.drawImage(bitmap, 0, 0);
                    return [...canvas.getImageData(2, 2, 1, 1).data];
                }""",
                list(picture.screenshot()),
            )
            assert (min(corner[:3]) > 240) == is_white, corner
            assert is_white or max(corner[:3]) < 40


@pytest.mark.parametrize(("way", "leads_to"), [("Learn", "A first GPT"), ("Train", None)])
def test_the_home_page_has_two_ways_in(browser: Any, address: str, way: str, leads_to: str | None) -> None:
    with Reader(browser, 1400) as reader:
        reader.page.goto(f"{address}/index.html")
        assert reader.page.locator("article .language-sh + .language-text").count() == 3
        assert reader.page.locator("article figure img").evaluate("one => one.complete && one.naturalWidth > 0")
        reader.page.locator("article .ways strong a", has_text=way).click()
        heading = reader.page.locator("article h1").inner_text()
        assert "A GPT in NumPy" not in heading
        assert leads_to is None or leads_to in heading


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("softmax", "reference/ops/softmax.html"),
        ("layer norm", "reference/ops/layer_norm.html"),
        ("cross entropy", "reference/ops/cross_entropy.html"),
        ("bits per character", "experiments/tokenizers.html"),
        ("train", "commands.html"),
    ],
)
def test_the_search_shows_first_what_is_meant(browser: Any, address: str, query: str, first: str) -> None:
    with Reader(browser, 1400) as reader:
        reader.page.goto(f"{address}/index.html")
        reader.page.locator("input.md-search__input").click()
        reader.page.keyboard.type(query)
        result = reader.page.locator(".md-search-result__item").first
        result.wait_for()
        reader.page.wait_for_timeout(500)  # the list grows while one types
        assert (result.locator("a").first.get_attribute("href") or "").partition("?")[0].endswith(first)
        assert result.locator("pre").count() == 0
        assert reader.complaints == []


def test_an_address_without_a_page_leads_on(browser: Any, address: str) -> None:
    with Reader(browser, 1400) as reader:
        answer = reader.page.goto(f"{address}/no/such/page.html")
        assert answer.status == 404
        article = reader.page.locator("article")
        assert "no such page" in article.inner_text()
        article.get_by_role("link", name="Backpropagation").click()
        assert "Backpropagation" in reader.page.locator("article h1").inner_text()


def test_pages_of_operations_are_short(browser: Any, address: str) -> None:
    with Reader(browser, 1400) as reader:
        for name in ("softmax", "multi_head_attention", "conv2d"):
            reader.page.goto(f"{address}/reference/ops/{name}.html")
            assert reader.page.evaluate("document.documentElement.scrollHeight") < 8000
