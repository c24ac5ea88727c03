"""The reports in a browser: nothing is asked for, nothing complains, everything can be reached, at every width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from chromium import PROGRAM, Page, browser
from examples import run_facts, study_facts, study_series

from reconv.report import render, render_study

WIDTHS = (360, 800, 1280)
PAGES = {
    "run": lambda: render(run_facts(), study_series()),
    "run of many classes": lambda: render(run_facts(30, 90)),
    "study": lambda: render_study(study_facts()),
}

OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"

# Every color that text has, against what is behind it, by WCAG 2: 4.5 to 1.
TOO_LITTLE_CONTRAST = """(() => {
    const color = text => {  // red, green, blue, opacity: all from 0 to 1
        const parts = text.match(/[\\d.]+/g).map(Number), whole = text.startsWith('rgb') ? 255 : 1;
        return [...parts.slice(0, 3).map(v => v / whole), parts[3] ?? 1]; };
    const over = (top, below) => below.map((v, i) => top[i] * top[3] + v * (1 - top[3]));
    const behind = e => e ? over(color(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : [1, 1, 1];
    const light = c => { const [r, g, b] = c.slice(0, 3)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ink = e => getComputedStyle(e)[e.localName === 'text' ? 'fill' : 'color'];
    const contrast = e => { const a = light(color(ink(e))), b = light(behind(e));
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
    return [...document.querySelectorAll('p, td, th, span, li, summary, figcaption, caption, text')]
        .filter(e => e.textContent.trim() && contrast(e) < 4.5)
        .map(e => `${e.tagName} ${e.className} ${e.textContent}: ${contrast(e).toFixed(2)}`);
})()"""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


def test_asks_for_nothing_and_complains_of_nothing(page: Page, file: Path) -> None:
    page.requests.clear()
    page.complaints.clear()
    for dark in (False, True):
        for width in WIDTHS:
            page.show(file.as_uri(), width, dark)
    assert {address for address in page.requests if not address.startswith("data:")} == {file.as_uri()}
    assert page.complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_fits_the_window(page: Page, file: Path, width: int) -> None:
    page.show(file.as_uri(), width)
    assert page.value("document.documentElement.scrollWidth") <= width
    # Text that is drawn outside of its picture is cut off, or lies on its neighbor.
    outside = """[...document.querySelectorAll('figure svg:not([preserveAspectRatio]) text')].filter(t => {
        if (t.closest('.scroll')) return false;
        const a = t.getBoundingClientRect(), b = t.closest('figure').getBoundingClientRect();
        return a.width && (a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1);
    }).map(t => t.textContent)"""
    assert page.value(outside) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_lies_on_another(page: Page, file: Path, width: int) -> None:
    page.show(file.as_uri(), width)
    overlapping = """[...document.querySelectorAll('svg')].flatMap(svg => {
        const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
        return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([_, b]) =>
            a.left < b.right && b.left < a.right && a.top < b.bottom - 2 && b.top < a.bottom - 2)
            .map(([other]) => `${one} / ${other}`));
    })"""
    assert page.value(overlapping) == []


def test_pictures_and_links_have_names(page: Page, file: Path) -> None:
    page.show(file.as_uri(), 1280)
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node.get("role", {}).get("value") in ("image", "img", "link", "table", "region")
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    headings = page.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))
    assert page.value("document.documentElement.lang") == "en"


def test_a_column_of_the_strip_opens_its_layer_by_keyboard(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(render(run_facts()), encoding="utf-8")
    page.show(file.as_uri(), 1280)
    for _ in range(40):
        page.press("Tab")
        if page.value("document.activeElement.closest('svg') !== null"):
            break
    target = page.value("document.activeElement.getAttribute('href')")
    assert target.startswith("#layer-")
    details = f"document.querySelector('{target}').closest('details')"
    assert page.value(f"{details}.open") is False
    page.press("Enter")
    assert page.value(f"{details}.open") is True


@pytest.mark.parametrize("width", WIDTHS)
def test_text_in_pictures_can_be_read(page: Page, file: Path, width: int) -> None:
    page.show(file.as_uri(), width)
    page.value(OPEN_ALL)
    small = """[...document.querySelectorAll('svg text')].filter(t => {
        const m = t.getScreenCTM();
        return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(m.a, m.b) < 9;
    }).map(t => t.textContent)"""
    assert page.value(small) == []


@pytest.mark.parametrize("name", ["run", "run of many classes", "study"])
def test_what_scrolls_can_be_reached_and_says_what_it_is(page: Page, tmp_path: Path, name: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGES[name](), encoding="utf-8")
    page.show(file.as_uri(), 360)
    page.value(OPEN_ALL)
    unreached = """[...document.querySelectorAll('*')].filter(e =>
        ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
        && !(e.tabIndex === 0 && e.getAttribute('role') === 'region' && e.ariaLabel)).map(e => e.outerHTML)"""
    assert page.value(unreached) == []
    outside = """[...document.querySelectorAll('.scroll')].flatMap(s => {
        s.scrollLeft = 1e6;
        const window_ = s.getBoundingClientRect();
        return [...s.querySelectorAll('caption:not(.unseen), tbody th')].filter(c => {
            const box = c.getBoundingClientRect();
            return box.left < window_.left - 1 || box.right > window_.right + 1;
        }).map(c => c.textContent);
    })"""
    assert page.value(outside) == []


def test_columns_of_the_strip_are_wide_enough_for_a_finger(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(render(run_facts()), encoding="utf-8")
    page.show(file.as_uri(), 360)
    widths = page.value("[...document.querySelectorAll('.strip a .hit')].map(r => r.getBoundingClientRect().width)")
    assert min(widths) >= 24 - 0.1  # coordinates are rounded
    page.value("[...document.querySelectorAll('.strip a')].at(-1).focus({focusVisible: true})")
    last = "document.activeElement.getBoundingClientRect()"
    scroller = "document.activeElement.closest('.scroll').getBoundingClientRect()"
    assert page.value(f"{last}.right <= {scroller}.right + 1 && {last}.left >= {scroller}.left")
    assert page.value("getComputedStyle(document.activeElement.querySelector('.hit')).strokeWidth") == "3px"


def test_paper_shows_what_is_open_in_dark_ink(page: Page, file: Path) -> None:
    page.show(file.as_uri(), 718, dark=True, media="print")
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.value(TOO_LITTLE_CONTRAST) == []
    assert page.value("document.documentElement.scrollWidth") <= 718
    cut = """[...document.querySelectorAll('td, th, caption:not(.unseen), text, pre')].filter(e => {
        const box = e.getBoundingClientRect();
        if (e.closest('details:not([open]) > :not(summary)')) return false;
        return !e.checkVisibility() || box.right > 719 || box.left < -1
            || (e.localName !== 'text' && e.scrollWidth > e.clientWidth + 1);
    }).map(e => `${e.tagName} ${e.textContent}`)"""
    assert page.value(cut) == []
    shown = """[...document.querySelectorAll('details:not([open]) > :not(summary)')]
        .filter(e => e.checkVisibility({contentVisibilityAuto: true})).map(e => e.outerHTML)"""
    assert page.value(shown) == []


def test_colors_follow_the_system(page: Page, file: Path) -> None:
    found = set()
    for dark in (False, True):
        page.show(file.as_uri(), 800, dark)
        found.add(page.value("getComputedStyle(document.body).backgroundColor"))
    assert len(found) == 2


def test_contrast_of_text(page: Page, file: Path) -> None:
    for dark in (False, True):
        page.show(file.as_uri(), 800, dark)
        assert page.value(TOO_LITTLE_CONTRAST) == []
