"""The documentation site in a browser: no warning as it is built, searched without a network, as wide as its window."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Page, browser

ROOT = Path(__file__).parents[2]
SCREEN = 800  # pixels
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if PROGRAM is None:
        pytest.skip("no Chromium")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_pages_that_are_opened_as_files_are_searched(site: Path, page: Page) -> None:
    page.show((site / "index.html").as_uri(), 1280)
    page.value(
        "const open = document.querySelector('#__search');"
        "const query = document.querySelector('[data-md-component=search-query]');"
        "open.checked = true; open.dispatchEvent(new Event('change', {bubbles: true}));"
        "query.focus(); query.value = 'residual'; query.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))"
    )
    deadline = time.monotonic() + 30
    while not (found := page.value("document.querySelectorAll('.md-search-result__item').length")):
        assert time.monotonic() < deadline, "nothing was found"
        time.sleep(0.2)
    assert found > 3


def test_no_page_is_wider_than_its_window_and_no_notebook_longer_than_fifteen_screens(site: Path, page: Page) -> None:
    for name in ("index", "faq", "criteria", "measured", "how-to/twice-as-fast"):
        for width in (360, 800, 1280):
            page.show((site / f"{name}.html").as_uri(), width)
            assert page.value("document.documentElement.scrollWidth") <= width, (name, width)
    notebooks = sorted((site / "notebooks").glob("*.html"))
    assert len(notebooks) == 3
    for notebook in notebooks:
        page.show(notebook.as_uri(), 1280)
        assert page.value("document.documentElement.scrollHeight") <= 15 * SCREEN, notebook.name
