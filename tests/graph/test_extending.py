"""What a user adds: the page that explains it runs, and what is wrong is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nets import NETS, Net, conv, head
from torch import nn

from reconv import registry
from reconv.errors import ConfigError, UnknownNameError
from reconv.graph import trace
from reconv.graph.rules import OPERATORS, register_rule
from reconv.graph.sizes import SIZES
from reconv.plan import Budget, choose
from reconv.refit import repair_with_report
from reconv.refit.chains import find_chains
from reconv.report import Figure, LayerFacts
from reconv.saliency import Criterion, criterion_named, score
from reconv.surgery import prune

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLE = torch.randn(1, 3, 8, 8)


@pytest.fixture(autouse=True)
def tables_as_they_were(own_registries: None) -> Iterator[None]:
    rules, sizes = dict(OPERATORS), list(SIZES)
    yield
    OPERATORS.clear()
    OPERATORS.update(rules)
    SIZES[:] = sizes
    registry.load_extensions.cache_clear()


def test_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
    (tmp_path / "page_on_extending.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = __import__("page_on_extending")
    assert (tmp_path / "small.frozen").is_file()
    facts: Any = SimpleNamespace(layers=[LayerFacts("stem", "", 16, 8)])
    (picture,) = Figure.registry["kept-widths"].pictures(facts)
    assert 'width="50.0"' in picture.drawing
    before, after = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  stem"))
    assert before.startswith(
        "  stem: 16 channels of 1 layer; mine.gated is not followed (gated at page_on_extending.py"
    )
    assert after == "  stem: 16 channels of 1 layer; free"
    _check_repair_through(page)


def _check_repair_through(page: Any) -> None:
    """The page's own operator lies between two layers that a repair refines together."""
    torch.manual_seed(0)
    model, images = page.Gated(), torch.randn(128, 3, 16, 16)
    graph = trace(model, page.example)
    plan = choose(graph, score(graph, "l2"), Budget(channels=0.6))
    small = prune(model, plan)
    repaired, report = repair_with_report(small, plan=plan, reference=model, images=images)
    assert not report.unrepaired
    assert {row.layer: row.jointly for row in report.layers} == {"end": "stem"}
    fresh = torch.randn(64, 3, 16, 16)
    before, after = ((net(fresh) - model(fresh)).square().mean() for net in (small, repaired))
    assert after < 0.5 * before
    register_rule("mine::gated", page.gated_rule)
    chains, _ = find_chains(trace(model, page.example), model)
    assert chains["end"].follows is None, "nothing is assumed of an operator whose row does not say so"


def test_one_of_each_kind_is_added_in_few_lines() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    kinds = {path.partition(":")[2] for path in registry.KINDS.values()}
    for kind in (*kinds, "register_rule", "register_adapter"):
        (first, *_) = [block for block in blocks if re.search(rf"register\((reconv\.)?{kind}\(|\.{kind}\(", block)]
        assert len([line for line in first.splitlines() if line]) <= 15, kind


def test_a_rule_by_the_name_of_another_operator() -> None:
    model = NETS["unfollowed_operator"][0]()
    register_rule("aten::renorm", "aten.relu")
    assert trace(model, EXAMPLE).groups[0].reason is None
    with pytest.raises(UnknownNameError, match=r"'aten\.relux' is not known; did you mean"):
        register_rule("aten.renorm", "aten.relux")


def two(second: int = 6) -> nn.Module:
    return Net(lambda m, x: head(m.end(m.a(x) * m.b(x).mean())), a=conv(3, 8), b=conv(3, second), end=conv(8, 4))


def test_an_axis_of_a_parameter_is_tied() -> None:
    assert [group.producers for group in trace(two(8), EXAMPLE).groups] == [("a",), ("b",), ("end",)]
    graph = trace(two(8), EXAMPLE, tie=[("a", ("b.weight", 0))])
    assert [group.producers for group in graph.groups] == [("a", "b"), ("end",)]


def test_ties_and_freezes_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"tie: b has 6 channels and a has 8; tie what has equally many"):
        trace(two(), EXAMPLE, tie=[("a", "b")])
    with pytest.raises(UnknownNameError, match=r"layer: 'aa' is not known; did you mean a\?"):
        trace(two(), EXAMPLE, tie=[("aa", "b")])
    with pytest.raises(UnknownNameError, match="parameter: 'gamma' is not known"):
        trace(two(), EXAMPLE, tie=[("a", ("gamma", 0))])
    with pytest.raises(ConfigError, match=r"axis 7 of a\.weight has no channels"):
        trace(two(), EXAMPLE, tie=[("b", ("a.weight", 7))])
    with pytest.raises(UnknownNameError, match=r"layer: 'layer4\.\*' is not known"):
        trace(two(), EXAMPLE, freeze=["layer4.*"])
    with pytest.raises(ConfigError, match=r"freeze: 'a' is one text; give a list of patterns, such as \['a'\]"):
        trace(two(), EXAMPLE, freeze="a")


def installed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("mine", value, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    registry.load_extensions.cache_clear()


def add_a_criterion() -> None:
    registry.register(Criterion("added", "by a package", of_layer=lambda layer: layer.filters.sum(1)))


def test_an_installed_package_adds_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, f"{__name__}:add_a_criterion")
    assert criterion_named("added").meaning == "by a package"


def test_a_package_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "no_such_package:register")
    said = r"extension 'mine': no_such_package:register of an installed package fails \(ModuleNotFoundError"
    with pytest.raises(ConfigError, match=said):
        trace(two(), EXAMPLE)
