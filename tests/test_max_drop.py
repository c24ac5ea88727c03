"""The smallest network that loses little enough: found on one half of the held-out images, certified on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconv
import reconv.runs
from my_net_files import write_my_net
from reconv import Budget, Compression
from reconv.bounds import upper_difference, upper_share
from reconv.budget import Cost
from reconv.drop import Judge, losses, search, set_aside
from reconv.errors import BudgetError, ConfigError, UnknownNameError
from reconv.quality import quality_for
from reconv.training import Metric

FREE = Compression("l1", budget=Budget(max_drop=10.0), after=())


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Of its eight channels four are always zero."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
    with torch.no_grad():
        made[0].weight[:4] = 0.01 * made[0].weight[:4]
        made[0].bias[:4] = -1.0
    return made


@pytest.fixture(scope="module")
def images() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(400, 3, 4, 4)


def test_channels_that_do_nothing_go_and_the_rest_stays(net: nn.Module, images: Tensor) -> None:
    result = reconv.compress(net, images, FREE)
    certificate = result.certificate
    assert certificate is not None
    assert certificate.holds
    assert result.model[0].out_channels == 4
    assert certificate.drop == 0
    assert certificate.images == 100  # a quarter of all: half is held out, half of that certifies
    assert certificate.bound == pytest.approx(100 * upper_share(0, 100))
    assert certificate.method == "Clopper-Pearson"
    smaller = [share for share, _, fits in certificate.tried if not fits]
    assert all(share < certificate.share for share in smaller)
    assert any(str(certificate) in note for note in result.log.notes)


def test_widths_may_be_by_error_curves_and_networks_repaired(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RESOLUTION", 0.3)
    repaired = Compression("l1", budget=FREE.budget, scheme="allocated", images=50, after=(reconv.Repair(),))
    result = reconv.compress(net, images, repaired)
    assert result.certificate is not None
    assert [share for share, _, _ in result.certificate.tried] == [0.5, 0.25]
    assert result.plan.request == f"keep macs={result.certificate.share:g}"
    stages = [row.stage for row in result.log.rows]
    assert stages.count("predict errors") == 2  # for the search, and as it is found again in the cache
    assert stages[-1] == "certify"


def test_the_certifying_images_are_looked_at_once_and_by_nothing_else(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Judge] = []
    of = Judge.of
    monkeypatch.setattr(Judge, "of", lambda self, model: (seen.append(self), of(self, model))[1])
    result = reconv.compress(net, images, FREE)
    assert result.certificate is not None
    assert len({id(judge) for judge in seen}) == 2
    assert sum(judge is seen[-1] for judge in seen) == 1
    assert len(seen) == 1 + len(result.certificate.tried)
    first, last = (judge.quality.data for judge in (seen[0], seen[-1]))
    assert first is not None
    assert last is not None
    rows = {tuple(image.flatten().tolist()) for image in first.validation.images}
    assert not any(tuple(image.flatten().tolist()) in rows for image in last.validation.images)
    assert result.data is not None
    assert len(result.data.validation) == 100


def test_with_labels_the_answers_are_paired(net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        labels = net(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % 5  # a tenth is wrong
    data = {"train": (images[:100], labels[:100]), "validation": (images[100:], labels[100:])}
    result = reconv.compress(net, data, FREE)
    assert result.certificate is not None
    assert result.certificate.quality == "top-1"
    assert result.certificate.bound == pytest.approx(100 * upper_difference(0, 0, 150))


def test_a_metric_is_bootstrapped_and_lower_may_be_better(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_REPLICATES", 200)
    monkeypatch.setattr(search, "RESOLUTION", 0.1)
    with torch.no_grad():
        targets = net(images)
    data = {"train": (images[:100], targets[:100]), "validation": (images[100:], targets[100:])}
    other = nn.Sequential(*net[:3], nn.Linear(32, 5))
    for whole in (False, True):
        error = Metric(lambda a, b: (a - b).square().mean(), "error", higher_is_better=False, whole=whole)
        result = reconv.compress(net, data, FREE, metric=error)
        assert result.certificate is not None
        assert "bootstrap" in result.certificate.method
        assert result.certificate.holds
        assert result.model[0].out_channels <= 4
        judge = Judge(net, quality_for(net, set_aside(result.data, FREE)[0], error, None))
        drop = judge.of(other)
        assert 0 < drop.value < drop.bound()


@pytest.mark.parametrize("labelled", [False, True])
def test_too_few_images_are_refused_with_the_number_that_would_do(
    net: nn.Module, images: Tensor, labelled: bool
) -> None:
    labels = torch.zeros(400, dtype=torch.long)
    data: Any = {"train": (images[:200], labels[:200]), "validation": (images[200:], labels[200:])}
    strict = Compression("l1", budget=Budget(max_drop=1.0), after=())
    with pytest.raises(ConfigError, match=r"max_drop=1: with 100 images .* at least ([\d,]+) .*max_drop=") as caught:
        reconv.compress(net, data if labelled else images, strict)
    needed = int(str(caught.value).partition("at least ")[2].split()[0].replace(",", ""))
    n = needed // (2 if labelled else 4)
    bound = (
        (lambda n: upper_difference(0, 0, n, search.SEARCH_LEVEL))
        if labelled
        else (lambda n: upper_share(0, n, search.SEARCH_LEVEL))
    )
    assert bound(n) <= 0.01 < bound(n - 1)


def test_a_network_of_which_nothing_may_go_is_refused(images: Tensor) -> None:
    torch.manual_seed(0)
    tight = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 50))
    with pytest.raises(BudgetError, match=r"no smaller network was found.*give more images"):
        reconv.compress(tight, images, FREE)


def test_what_is_not_certified_says_so_and_ends_the_command(
    net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reconv.cli.app import main

    monkeypatch.chdir(tmp_path)
    write_my_net()
    monkeypatch.setattr(search, "SEARCH_LEVEL", 1e-9)  # anything is little enough
    monkeypatch.setattr(search, "RESOLUTION", 0.3)
    words = ["prune", "my_net.py:make", "--weights", "w.pth", "--data-set", "digits", "--criterion", "l1"]
    words += ["--scheme", "uniform", "--max-drop", "1", "--no-repair", "--no-finetune", "--save-path", "P"]
    assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "not certified" in error
    assert "cannot be used for that again" in error
    facts = reconv.runs.load_facts(Path("P"))
    assert facts.certificate is not None
    assert not facts.certificate.holds
    assert main([*words[:-1], "Q", "--budget", "macs=0.5"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_budgets_read_and_write_what_may_be_lost() -> None:
    budget = Budget.parse(["max-drop=1", "minimize=latency"])
    assert budget == Budget(max_drop=1.0, minimize="latency")
    assert Budget.from_plain(budget.to_plain(), "budget") == budget
    assert Compression.from_mapping(Compression(budget=budget).to_mapping()).budget == budget
    assert budget.measured == ("latency",)
    assert budget.at(0.5) == Budget(latency=0.5)
    assert Budget(max_drop=2).minimize == "macs"
    assert str(budget) == "max_drop=1, minimize=latency"
    assert {"macs", "latency", "params", "size"} <= {cost.name for cost in Cost.registry}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Budget(max_drop=0.0), ConfigError),
        (lambda: Budget(max_drop=1.0, macs=0.5), ConfigError),
        (lambda: Budget(minimize="macs"), ConfigError),
        (lambda: Budget(max_drop=1.0, minimize="speed"), UnknownNameError),
        (lambda: Budget.parse(["max_drop=much"]), ConfigError),
        (lambda: Compression(budget=Budget(max_drop=1.0), rounds=2), ConfigError),
    ],
)
def test_budgets_that_cannot_be(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_a_plan_needs_an_amount(net: nn.Module) -> None:
    graph = reconv.trace(net, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ConfigError, match=r"reconv\.compress"):
        reconv.choose(graph, reconv.score(graph, "l1"), Budget(max_drop=1.0))
