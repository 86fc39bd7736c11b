"""Pages in headless Chromium: nothing is asked of the network, tables sort, colors switch, a phone shows everything."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.reports.synthetic import make_run
from tests.reports.test_audit_page import EVIL, audit_of

from holdfast.experiments.summary import summarise
from holdfast.reports.audit_page import write_audit
from holdfast.reports.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: holdfast[browser]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    run = make_run(environments=("north", "south", EVIL, "east"), command=f"holdfast run {EVIL}")
    return {
        "report": write_report(run, folder / "report.html", summary=summarise(run)),
        "audit": write_audit(audit_of(EVIL), folder / "audit.html"),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """``opened("report", width=360)``: the page, which must stay silent and ask for nothing."""
    contexts, heard = [], []

    def open_it(name: str, *, width: int = 1100, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or heard.append(request.url))
        page.goto(pages[name].as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert heard == []


@pytest.mark.parametrize("name", ["report", "audit"])
@pytest.mark.parametrize("width", [360, 768, 1100])
def test_no_page_is_wider_than_its_window(opened: Any, name: str, width: int) -> None:
    page = opened(name, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["report", "audit"])
def test_what_a_user_wrote_is_shown_as_text(opened: Any, name: str) -> None:
    page = opened(name)
    assert EVIL in page.evaluate("document.body.innerText")
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 1


def test_a_click_sorts_by_the_value_and_another_one_turns_it_round(opened: Any) -> None:
    page = opened("report")
    table = page.locator("#results table").first
    heads = table.locator("thead th")
    column = next(k for k in range(heads.count()) if "test" in heads.nth(k).inner_text().split())

    def values() -> list[float]:
        cells = table.locator(f"tbody tr > :nth-child({column + 1}) .value").all_inner_texts()
        return [float(text.replace("−", "-")) for text in cells]

    before = values()
    heads.nth(column).locator("button").click()
    assert heads.nth(column).get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    heads.nth(column).locator("button").press("Enter")
    assert heads.nth(column).get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True)
    heads.nth(0).locator("button").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert heads.nth(column).get_attribute("aria-sort") is None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2", "10", "−3", "–", "1,000"], ["−3", "2", "10", "1,000", "–"]),
        (["1e-5", "0.2", "∞", "−∞", ""], ["−∞", "1e-5", "0.2", "∞", ""]),
        (["b", "a 10", "a 9"], ["a 9", "a 10", "b"]),
    ],
)
def test_numbers_texts_and_what_is_missing_have_their_order(opened: Any, texts: list[str], expected: list[str]) -> None:
    page = opened("audit")
    # The page's own function, on a table of the test's.
    page.evaluate(
        """texts => {
            const script = document.querySelector('script').textContent;
            document.body.innerHTML = '<table><thead><tr><th>x</th></tr></thead><tbody></tbody></table>';
            for (const text of texts) document.querySelector('tbody').insertRow().insertCell().textContent = text;
            const again = document.createElement('script');
            again.textContent = script;
            document.body.append(again);
        }""",
        texts,
    )
    page.locator("th button").click()
    assert page.locator("td").all_inner_texts() == expected


def test_colors_follow_the_system_and_the_button_switches_them(opened: Any) -> None:
    def paper(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = opened("report", color_scheme="light"), opened("report", color_scheme="dark")
    assert paper(light) == "rgb(253, 252, 249)"
    assert paper(dark) == "rgb(23, 24, 27)"
    light.locator("button.theme").click()
    assert paper(light) == paper(dark)
    assert light.locator("button.theme").inner_text() == "Light"


def test_on_paper_everything_is_open_and_light(opened: Any) -> None:
    page = opened("report", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("button.theme").is_visible()


@pytest.mark.parametrize("name", ["report", "audit"])
def test_headings_go_down_one_step_at_a_time_and_every_button_has_a_name(opened: Any, name: str) -> None:
    page = opened(name)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(text.strip() for text in page.locator("button").all_text_contents())
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Any, scheme: str) -> None:
    """Contrast of at least 4.5, as WCAG 2.2 asks at level AA."""
    page = opened("report", color_scheme=scheme)
    colors = page.evaluate(
        """() => ['--ink', '--soft', '--link', '--good', '--bad', '--paper'].map(name => {
            const probe = document.body.appendChild(document.createElement('span'));
            probe.style.color = `var(${name})`;
            return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
        })"""
    )

    def luminance(rgb: list[float]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    *inks, paper = map(luminance, colors)
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5
