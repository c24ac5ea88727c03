"""What a study computes: grids of settings, from a TOML file or the command line, and the cells that they come to.

title = "..."               # every key but networks and grids may be left out
split = "test"
reference = "l1"            # the criterion that others are compared with
latency = true

[networks.resnet20]
model = "resnet20"
weights = "resnet20.safetensors"   # or "pretrained", or "none"; left out: the trained network that comes with reconv
data_set = "cifar10"

[arms."repaired, 5 epochs"]        # a new arm: steps as those of `Compression.after`
after = ["repair", { step = "finetune", protocol = "short", epochs = 5, teacher = "base" }]

[[grids]]                          # computed in this order
networks = ["resnet20"]
criteria = ["nuclear", "l1", "random"]
budgets = ["macs=0.5"]
schemes = ["uniform", "allocated"]
arms = ["pruned only", "recalibrated", "repaired, 5 epochs"]
seeds = 1
random_seeds = 5
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from reconv.compression import Scheme
from reconv.errors import ConfigError, unknown_name
from reconv.files import PathLike, read_toml
from reconv.mappings import from_mapping, to_mapping
from reconv.networks import PRETRAINED, RANDOM
from reconv.plan import Budget
from reconv.report.numbers import counted
from reconv.saliency import criterion_named
from reconv.steps import Reinitialize, Repair
from reconv.study.arms import Arm, arm_from_mapping, arm_named, plain
from reconv.study.cell import FINGERPRINTS, Cell, Network, is_random, recipe_in
from reconv.study.peers import is_peer, peer_named, share_of_macs
from reconv.study.shared import Shared


@dataclass(frozen=True)
class Grid(Shared):
    """A full product of settings.

    Args:
        networks: names in the study's table. criteria: of `reconv list criteria`; or "torch-pruning:l1" and the like,
            by which the peer prunes (uniform only).
        budgets: what may remain, such as "macs=0.5", or one of the paper's recipes, "cfg1".
        schemes: as `Compression` takes them. arms: names in the table of arms.
        seeds: how many. random_seeds: how many for random criteria; None: as many.
    """

    networks: tuple[str, ...]
    criteria: tuple[str, ...]
    budgets: tuple[str, ...]
    schemes: tuple[Scheme, ...] = ("uniform",)
    arms: tuple[str, ...] = ("pruned only", "recalibrated")
    seeds: int = 1
    random_seeds: int | None = None

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
            if scheme not in get_args(Scheme):
                raise unknown_name("scheme", scheme, get_args(Scheme))


@dataclass(frozen=True)
class Study:
    """What is compared.

    Args:
        title: of the report. networks: by name. grids: in the order in which they are computed.
        arms: changed or added ones. split: whose accuracy is counted. reference: the criterion compared with.
        latency: measure the latency of the small networks too. description: a sentence or two for the report.
    """

    title: str
    networks: tuple[Network, ...]
    grids: tuple[Grid, ...]
    arms: tuple[Arm, ...] = ()
    split: Literal["test", "validation"] = "test"
    reference: str = "l1"
    latency: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", _criterion(self.reference))
        names = [network.name for network in self.networks]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"study: two networks are called {name!r}; give each a name of its own")
        by_plain: dict[str, str] = {}
        for arm in self.arms:
            other = by_plain.setdefault(plain(arm.name), arm.name)
            if other != arm.name:  # which a command line could not tell apart
                raise ConfigError(
                    f"study: arms {other!r} and {arm.name!r} differ in punctuation only; give them other names"
                )
        for grid in self.grids:
            for name in grid.networks:
                if name not in names:
                    raise unknown_name("study: network", name, names)
            for name in grid.arms:
                self.arm(name)
        if not self.grids:
            raise ConfigError("study: nothing to compute; give at least one [[grids]]")

    def arm(self, name: str) -> Arm:
        """The arm of this name, with the study's changes."""
        return arm_named(name, {arm.name: arm for arm in self.arms})

    def cells(self) -> list[Cell]:
        """All cells in order: first the unpruned networks, then grid by grid, seed by seed.

        Cells of other names of network or arm may be the same, by their hash: those are computed once, and shown each.
        """
        cells: dict[tuple[str, str, str], Cell] = {}
        used = {name for grid in self.grids for name in grid.networks}
        unpruned = (Cell(network, split=self.split) for network in self.networks if network.name in used)
        for cell in (*unpruned, *(cell for grid in self.grids for cell in self._cells_of(grid))):
            cells.setdefault((cell.key, cell.network.name, cell.arm.name), cell)
        return list(cells.values())

    def left_out(self) -> list[str]:
        """Combinations of the products that are left out, and why: a sentence per criterion and reason."""
        examples: dict[tuple[str, str], list[str]] = {}
        for grid in self.grids:
            for cell in self._product(grid, self.networks[0]):
                if why := why_not(cell):
                    text = f"{cell.choice}, {cell.arm.name}"
                    examples.setdefault((cell.criterion, why), []).append(text)
        return [
            f"{criterion}: {counted(len(texts), 'combination')} left out, such as {texts[0]}: {why}"
            for (criterion, why), texts in examples.items()
        ]

    def _product(self, grid: Grid, network: Network, seed: int = 0) -> Iterator[Cell]:
        for budget, scheme, criterion, arm in product(grid.budgets, grid.schemes, grid.criteria, grid.arms):
            yield Cell(network, criterion, budget, scheme, self.arm(arm), self.split, seed, **grid.options)

    def _cells_of(self, grid: Grid) -> Iterator[Cell]:
        by_name = {network.name: network for network in self.networks}
        random_seeds = grid.random_seeds or grid.seeds
        for name, seed in product(grid.networks, range(max(grid.seeds, random_seeds))):
            for cell in self._product(grid, by_name[name], seed):
                seeds = random_seeds if is_random(cell.criterion) else grid.seeds
                if seed < seeds and not why_not(cell) and (seed == 0 or cell.is_random):
                    yield cell

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without paths of this machine."""
        return {**to_mapping(self), "networks": {network.name: network.to_json() for network in self.networks}}


def why_not(cell: Cell) -> str:
    """Why this combination is left out of a product; "" where it is not."""
    if is_peer(cell.criterion):
        if cell.scheme != "uniform" or cell.options != Shared().options or share_of_macs(cell.budget) is None:
            return "the peer takes a share of MACs, uniform, without residual streams"
        if any(isinstance(step, Repair | Reinitialize) for step in cell.arm.after):
            return "a repair and random weights need a plan, which the peer does not give"
        return ""
    try:
        cell.compression  # noqa: B018
    except ConfigError as error:
        return str(error)
    return ""


def _criterion(name: str) -> str:
    return peer_named(name) if is_peer(name.lower()) else criterion_named(name).name


def _budget(text: str) -> str:
    if recipe_in(text) is not None:
        return text
    budget = Budget.parse([text])
    if budget.max_drop is not None:
        raise ConfigError(f"budget: {text}; a study compares networks of one size: give macs=0.5 or the like")
    if budget.latency is not None:
        raise ConfigError(
            f"budget: {text}; a time depends on the machine, and a cell does not; give macs=0.5 or the like"
        )
    return str(budget).replace(", ", ",")


def read_study(path: PathLike, *, weights_root: PathLike | None = None, data_root: str | None = None) -> Study:
    """A study from a TOML file.

    Args:
        path: of the file; relative paths of weights in it are looked for in `weights_root`, or beside it.
        weights_root, data_root: where weights and data sets lie on this machine.

    Raises:
        ReconvError: a file that cannot be read, or names what does not exist.
    """
    path = Path(path)
    values = read_toml(path)
    root = Path(weights_root or path.parent)
    networks = []
    for name, row in _tables(values, "networks").items():
        defaults = {"name": name, "model": name, "data_root": data_root}
        network = from_mapping(Network, row, f"networks.{name}", defaults=defaults, hidden=("name", *FINGERPRINTS))
        if network.weights is not None and network.weights not in (*RANDOM, PRETRAINED):
            network = replace(network, weights=str(root / network.weights))
        networks.append(network.with_weights())
    return _study({"title": path.stem, **values}, path.name, networks)


def study_from_json(values: Mapping[str, Any]) -> Study:
    """The study that `Study.to_json` wrote, without the paths of its weights and images."""
    networks = [
        Network(name, fingerprint=row["weights"], weights=None, **{key: row[key] for key in row if key != "weights"})
        for name, row in values["networks"].items()
    ]
    arms = {row["name"]: {key: row[key] for key in row if key != "name"} for row in values["arms"]}
    return _study({**values, "arms": arms}, "study", networks, strict=False)


def _study(values: Mapping[str, Any], where: str, networks: Sequence[Network], strict: bool = True) -> Study:
    grids = values.get("grids", [])
    if not isinstance(grids, list):
        raise ConfigError("grids: no list of tables; write [[grids]] above each, in two brackets")
    defaults = {"networks": tuple(network.name for network in networks)}
    parts = {
        "networks": tuple(networks),
        "arms": tuple(arm_from_mapping(name, row) for name, row in _tables(values, "arms").items()),
        "grids": tuple(from_mapping(Grid, row, f"grids, {i}", defaults=defaults) for i, row in enumerate(grids, 1)),
    }
    own = {key: value for key, value in values.items() if key not in parts}
    return from_mapping(Study, own, where, defaults=parts, strict=strict)


def _tables(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    tables = values.get(key, {})
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{key} = {tables!r}; give each a table of its name, such as [{key}.NAME]")
    return tables
