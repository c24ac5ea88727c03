"""Every public name has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import reconv
from reconv.graph.sizes import SIZES

WITHOUT = frozenset({"ReconvError"})  # nothing to call
NEEDS = {"load_onnx": "onnxscript"}  # packages of an extra
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples_of(name: str) -> list[doctest.DocTest]:
    """The examples in the docstring of a function, or of a class and its public methods."""
    value = getattr(reconv, name)
    texts = {name: inspect.getdoc(value)}
    if inspect.isclass(value):
        texts |= {f"{name}.{key}": inspect.getdoc(member) for key, member in vars(value).items() if key[0] != "_"}
    parser = doctest.DocTestParser()
    tests = [parser.get_doctest(text or "", {}, key, None, 0) for key, text in texts.items()]
    return [test for test in tests if test.examples]


@pytest.fixture(autouse=True)
def registered(own_registries: None) -> Iterator[None]:
    """What examples register is taken out again."""
    adapters = list(SIZES)
    yield
    SIZES[:] = adapters


@pytest.mark.parametrize("name", reconv.__all__)
def test_its_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    examples = examples_of(name)
    assert examples or name in WITHOUT, f"reconv.{name} has no example in its docstring"
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    start = time.process_time()
    for example in examples:
        lines: list[str] = []
        result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=lines.append)
        assert result.failed == 0, "".join(lines)
    assert time.process_time() - start < 5  # of CPU time, also where a machine is at work; most take far less
