"""What is written for people is short and spelled one way: sentences under thirty words, American English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = {"results.md"}  # by benchmarks/studies/publish.py: its sentences list every criterion
PAGES = sorted([*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").rglob("*.md") if page.name not in GENERATED)])
MOST = 29  # words
BRITISH = re.compile(
    r"\b\w*(?:(?:un)?labelled|towards|colour|behaviour|neighbour|favour|grey|centre|artefact|catalogue|whilst|learnt"
    r"|modelled|cancelled|(?:optimi|normali|quanti|initiali|generali|summari|recogni|minimi|maximi|organi|utili)s(?:e|ed|es|ing|ation)|analyse)\b",
    re.IGNORECASE,
)


def sentences(text: str) -> Iterator[str]:
    """Of paragraphs and lists; code, tables, headings and the addresses of links are left out."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=[#|])", text):
        if not block.startswith(("    ", "#", "!", "<")) and not block.lstrip().startswith("|"):
            plain = re.sub(r"`[^`]*`", "`", re.sub(r"\]\([^)]*\)", "]", " ".join(block.split())))
            yield from re.split(r"(?<=[.?!:;])[\"*)]*\s+(?=[\"*(]*[A-Z\[`])|(?<=[.?!])[*)]+\s+", plain)


def words(sentence: str) -> int:
    """How many; a piece of code is one."""
    return len(re.findall(r"`|[A-Za-z0-9%][\w.,%/'-]*", sentence))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short_and_american(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [sentence for sentence in sentences(text) if words(sentence) > MOST] == []
    assert BRITISH.findall(text) == []


def test_what_is_long_or_british_is_seen() -> None:
    long = "We " + "count " * MOST + "words."
    text = (
        f"# {long}\n\nShort.\n{long} Short again.\n\n```python\n{long}\n```\n\n| {long} |\n|---|\n\n- item\n- {long}\n"
    )
    assert [sentence for sentence in sentences(text) if words(sentence) > MOST] == [long, f"- {long}"]
    assert BRITISH.search("unlabelled images")
    assert not BRITISH.search("a revised exercise")
