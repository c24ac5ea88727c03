"""What a study asks: grids of settings, from a TOML file or the command line, and the cells that they come to.

title = "..."               # every key but networks and grids may be left out
split = "test"
reference = "l1"            # the criterion that others are compared with
latency = true

[networks.resnet20]
model = "resnet20"
weights = "resnet20.safetensors"   # or "pretrained", or "none"; left out: the trained network that comes with reconv
data_set = "cifar10"

[arms."short fine-tune"]    # changes an arm, or makes a new one
epochs = 2

[[grids]]                   # computed in this order
networks = ["resnet20"]
criteria = ["nuclear", "l1", "random"]
budgets = ["macs=0.5"]
schemes = ["uniform", "allocated"]
arms = ["pruned only", "recalibrated"]
seeds = 1
random_seeds = 5
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from reconv.errors import ConfigError, unknown_name
from reconv.files import PathLike, read_toml
from reconv.pipeline.inputs import PRETRAINED, RANDOM
from reconv.plan import ALLOCATED, SCHEMES, Budget
from reconv.refit.criteria import IMAGE_CRITERIA
from reconv.report.numbers import counted
from reconv.saliency import criterion_named
from reconv.study.arms import Arm, arm_from_table, arm_named, plain
from reconv.study.cell import Cell, Network, is_random
from reconv.study.peers import is_peer, peer_named, share_of_macs
from reconv.study.tabled import as_table, from_table

STUDY_SCHEMES = (*SCHEMES, ALLOCATED)
_SPLITS = ("test", "validation")
_NO_FILE = (*RANDOM, PRETRAINED)


@dataclass(frozen=True)
class Grid:
    """A full product of settings.

    Args:
        networks: names in the study's table. criteria: of `CRITERIA`, or of `IMAGE_CRITERIA`, such as
            "reconstruction"; "torch-pruning:l1" and its like, which the peer cuts (uniform only).
        budgets: what may be left, such as "macs=0.5", or one of the paper's configurations, "cfg1".
        schemes: "uniform", "global", "knapsack", "allocated". arms: names in the table of arms.
        seeds: how many. random_seeds: how many for random criteria; None: as many.
        coupled: cut residual streams too.
    """

    networks: tuple[str, ...]
    criteria: tuple[str, ...]
    budgets: tuple[str, ...]
    schemes: tuple[str, ...] = ("uniform",)
    arms: tuple[str, ...] = ("pruned only", "recalibrated")
    seeds: int = 1
    random_seeds: int | None = None
    coupled: bool = False

    def __post_init__(self) -> None:
        for name in ("networks", "criteria", "budgets", "schemes", "arms"):
            if not getattr(self, name):
                raise ConfigError(f"study: a grid has no {name}; give at least one")
        for name, value in (("seeds", self.seeds), ("random_seeds", self.random_seeds)):
            if value is not None and value < 1:
                raise ConfigError(f"study: {name}={value}; give at least 1")
        object.__setattr__(self, "criteria", tuple(dict.fromkeys(map(_criterion, self.criteria))))
        object.__setattr__(self, "budgets", tuple(dict.fromkeys(map(_budget, self.budgets))))
        for scheme in self.schemes:
            if scheme not in STUDY_SCHEMES:
                raise unknown_name("scheme", scheme, STUDY_SCHEMES)


@dataclass(frozen=True)
class Study:
    """What is asked.

    Args:
        title: of the report. networks: by name. grids: in the order in which they are computed.
        arms: changed or added ones. split: whose accuracy is counted. reference: the criterion compared with.
        latency: measure the small architectures' latency too. description: a sentence or two for the report.
    """

    title: str
    networks: tuple[Network, ...]
    grids: tuple[Grid, ...]
    arms: tuple[Arm, ...] = ()
    split: str = "test"
    reference: str = "l1"
    latency: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise unknown_name("split", self.split, _SPLITS)
        object.__setattr__(self, "reference", _criterion(self.reference))
        known = [network.name for network in self.networks]
        twice = next((name for name in known if known.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"study: two networks are called {twice!r}; give each a name of its own")
        _check_names([arm.name for arm in self.arms])
        for grid in self.grids:
            for name in grid.networks:
                if name not in known:
                    raise unknown_name("study: network", name, known)
            for name in grid.arms:
                self.arm(name)
        if not self.grids:
            raise ConfigError("study: nothing to compute; give at least one [[grids]]")

    def arm(self, name: str) -> Arm:
        """The arm of this name, with the study's changes."""
        return arm_named(name, {arm.name: arm for arm in self.arms})

    def cells(self) -> list[Cell]:
        """All cells in order: first the whole networks, then grid by grid, seed by seed.

        Cells of other names of network or arm may be the same, by their hash: those are computed once, and shown each.
        """
        found: dict[tuple[str, str, str], Cell] = {}
        used = {name for grid in self.grids for name in grid.networks}
        wholes = (Cell(network, split=self.split) for network in self.networks if network.name in used)
        for cell in (*wholes, *(cell for grid in self.grids for cell in self._cells_of(grid))):
            found.setdefault((cell.key, cell.network.name, cell.arm.name), cell)
        return list(found.values())

    def left_out(self) -> list[str]:
        """What of the products is left out, and why: a sentence a criterion and reason."""
        found: dict[tuple[str, str], list[str]] = {}
        for grid in self.grids:
            for budget, scheme, criterion, arm in product(grid.budgets, grid.schemes, grid.criteria, grid.arms):
                why = why_not(criterion, scheme, self.arm(arm), budget, grid.coupled)
                if why:
                    words = f"{budget} {scheme}{' coupled' * grid.coupled}, {self.arm(arm).name}"
                    found.setdefault((criterion, why), []).append(words)
        return [
            f"{criterion}: {counted(len(words), 'combination')} left out, such as {words[0]}: {why}"
            for (criterion, why), words in found.items()
        ]

    def _cells_of(self, grid: Grid) -> Iterator[Cell]:
        by_name = {network.name: network for network in self.networks}
        random_seeds = grid.random_seeds or grid.seeds
        for name, seed in product(grid.networks, range(max(grid.seeds, random_seeds))):
            for budget, scheme, criterion, arm in product(grid.budgets, grid.schemes, grid.criteria, grid.arms):
                if seed >= (random_seeds if is_random(criterion) else grid.seeds):
                    continue
                if why_not(criterion, scheme, self.arm(arm), budget, grid.coupled):
                    continue
                cell = Cell(by_name[name], criterion, budget, scheme, grid.coupled, self.arm(arm), self.split, seed)
                if seed == 0 or cell.is_random:
                    yield cell

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without paths of this machine."""
        networks = {network.name: network.to_json() for network in self.networks}
        return {
            "title": self.title,
            "description": self.description,
            "split": self.split,
            "reference": self.reference,
            "latency": self.latency,
            "networks": networks,
            "arms": [asdict(arm) for arm in self.arms],
            "grids": [asdict(grid) for grid in self.grids],
        }


def _check_names(arms: Sequence[str]) -> None:
    """Refuse arms that a command line could not tell apart."""
    by_plain: dict[str, str] = {}
    for name in arms:
        other = by_plain.setdefault(plain(name), name)
        if other != name:
            raise ConfigError(f"study: arms {other!r} and {name!r} differ in punctuation only; give them other names")


def why_not(criterion: str, scheme: str, arm: Arm, budget: str, coupled: bool) -> str:
    """Why this combination is left out of a product; "" where it is not."""
    if is_peer(criterion):
        if scheme != "uniform" or coupled or share_of_macs(budget) is None:
            return "the peer is asked for a share of MACs, uniform, residual streams whole"
        if arm.mend == "repair" or arm.fresh:
            return "a repair and fresh weights need a plan, which the peer does not give"
    if budget.startswith("cfg") and (scheme != "uniform" or coupled):
        return "a configuration says all widths"
    return ""


def _criterion(name: str) -> str:
    if name.lower() in IMAGE_CRITERIA:
        return name.lower()
    if is_peer(name.lower()):
        return peer_named(name)
    return criterion_named(name).name


def _budget(text: str) -> str:
    if text.startswith("cfg") and text[3:].isdigit():
        return text
    budget = Budget.parse([text])
    if budget.latency is not None:
        raise ConfigError(
            f"budget: {text}; a time depends on the machine, and a cell does not; give macs=0.5 or the like"
        )
    return str(budget).replace(", ", ",")


def read_study(path: PathLike, *, weights_root: Path | None = None, data_root: str | None = None) -> Study:
    """A study from a TOML file.

    Args:
        path: of the file; relative paths of weights in it are looked for in `weights_root`, or beside it.
        weights_root, data_root: where weights and data sets lie on this machine.

    Raises:
        ReconvError: a file that cannot be read, or says what there is not.
    """
    place = Path(path)
    values = read_toml(place)
    root = weights_root or place.parent
    own_arms = as_table(values.pop("arms", {}), "arms")
    networks = tuple(
        _network(name, row, root, data_root) for name, row in as_table(values.pop("networks", {}), "networks").items()
    )
    parts = {
        "arms": tuple(arm_from_table(name, row) for name, row in own_arms.items()),
        "networks": networks,
        "grids": _grids(values.pop("grids", []), {"networks": tuple(network.name for network in networks)}),
    }
    return from_table(Study, values, place.name, defaults={"title": place.stem, **parts})


def study_from_json(values: Mapping[str, Any]) -> Study:
    """The study that `Study.to_json` told, without the paths of its weights and images."""
    networks = tuple(
        Network(
            name,
            row["model"],
            None,
            row["arguments"],
            row["data_set"],
            fingerprint=row["weights"],
            labels=row["labels"],
        )
        for name, row in values["networks"].items()
    )
    arms = tuple(from_table(Arm, row, "arms") for row in values["arms"])
    own = {key: values[key] for key in ("title", "split", "reference", "latency", "description")}
    return Study(networks=networks, grids=_grids(values["grids"]), arms=arms, **own)


def _grids(rows: Any, defaults: Mapping[str, Any] | None = None) -> tuple[Grid, ...]:
    if not isinstance(rows, list):
        raise ConfigError(
            "grids: no list of tables; write [[grids]] above each, in two brackets, since there may be several"
        )
    return tuple(from_table(Grid, row, f"grids, {i}", defaults=defaults) for i, row in enumerate(rows, start=1))


def _network(name: str, row: Any, root: Path, data_root: str | None) -> Network:
    hidden = ("name", "fingerprint", "labels", "architecture", "images")
    network = from_table(Network, row, f"networks.{name}", defaults={"name": name, "model": name}, hidden=hidden)
    weights = network.weights
    if weights is not None and weights not in _NO_FILE and not Path(weights).is_absolute():
        weights = str(root / weights)
    return replace(network, weights=weights, data_root=network.data_root or data_root).with_weights()
