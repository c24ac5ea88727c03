"""What the documentation tells to type can be typed: commands are understood, Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from reconv.cli.app import build_app

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name != "results.md")
RUNNABLE = (
    "concepts/graph.md",
    "concepts/proof.md",
    pytest.param("faq.md", marks=pytest.mark.slow),
    "how-to/from-torch-pruning.md",
    "how-to/own-training-loop.md",
    *(pytest.param(f"how-to/{name}.md", marks=pytest.mark.slow) for name in ("detectors", "without-labels")),
)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["reconv"] and "..." not in line]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    group: Any = typer.main.get_command(build_app())
    for words in commands(page):
        if not words[0].startswith("-") and "--help" not in words:
            group.commands[words[0]].make_context(words[0], words[1:])  # a UsageError if an option or value is wrong


@pytest.mark.parametrize("name", RUNNABLE)
def test_python_runs_from_top_to_bottom(
    name: str, own_registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(DOCS / name, "python")
    assert found
    names: dict[str, Any] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{name}, block {number + 1}", "exec"), names)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = set(re.findall(r"[\w./-]+\.(?:md|ipynb)", navigation))
    there = {path.relative_to(DOCS).as_posix() for kind in ("md", "ipynb") for path in DOCS.rglob(f"*.{kind}")}
    assert named == there
