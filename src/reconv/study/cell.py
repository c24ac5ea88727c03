"""One cell of a study: what decides its result, and the hash that it is kept by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from reconv.compression import Compression
from reconv.data import canonical_data_set
from reconv.errors import ConfigError
from reconv.mappings import to_mapping
from reconv.networks import RANDOM, saved_model_in
from reconv.plan import Budget
from reconv.preprocessing import Preprocessing
from reconv.saliency import Criterion
from reconv.study.arms import Arm, arm_from_mapping, first_form
from reconv.study.peers import PEER, is_peer
from reconv.study.shared import Shared
from reconv.training import load_protocol
from reconv.training.protocol import LATER_KEYS
from reconv.zoo import find_trained

# Raised by hand whenever a change of the code changes what a cell computes: every older cell is then computed again.
RESULTS_VERSION = 1

UNPRUNED = Arm("unpruned")
FINGERPRINTS = ("fingerprint", "labels", "architecture", "images")  # of a network, which loading gives


def is_random(criterion: str) -> bool:
    """Whether a seed draws a criterion's scores, ours or the peer's."""
    return criterion == f"{PEER}random" or "seed" in _needs(criterion)


def needs_images(criterion: str) -> bool:
    """Whether a criterion's scores come from images."""
    return not _needs(criterion).isdisjoint(("moments", "gradients"))


def _needs(criterion: str) -> AbstractSet[str]:
    row = Criterion.registry.get(criterion)
    return row.needs if row else frozenset()


@dataclass(frozen=True)
class Network:
    """A trained network, and the images that it is for.

    Args:
        name: as tables show it. model, weights, arguments: as `load_network` takes them; `with_weights` finds weights.
        data_set, data_root: as `load_data` takes them; a name that it knows becomes that, however it was spelled.
        task, example, preprocessing: as of `RunConfig`.
        fingerprint: of the weights. labels: fingerprint of the data set's labels, split by split, and
            of the files of a folder.
        architecture: of a saved model, by whatever path it was given. images: the data set's own name, where a path was
            given. These four are found out by loading.
    """

    name: str
    model: str
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data_set: str = "cifar10"
    data_root: str | None = None
    task: str | None = None
    example: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    fingerprint: str = ""
    labels: str = ""
    architecture: str = ""
    images: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_set", canonical_data_set(self.data_set))

    def with_weights(self) -> Network:
        """The same, starting from what it asks for: `weights` is a file, "pretrained", "none" for random ones, or None.

        None is the trained network that comes with reconv, or a saved model's own.

        Raises:
            ConfigError: none comes with reconv.
        """
        if self.weights is not None:
            return replace(self, weights=None if self.weights.lower() in RANDOM else self.weights)
        if saved_model_in(self.model) is not None:
            return self
        shipped = None if self.arguments else find_trained(self.model, self.data_set)
        if shipped is None:
            raise ConfigError(
                f"{self.name}: no weights given, and no trained network for {self.data_set} comes with reconv; give "
                'weights (--weights F, or weights = "F" in a file), or "none" to study random ones'
            )
        return replace(self, weights=str(shipped.weights))

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint, self.labels))

    def to_json(self) -> dict[str, Any]:
        """What of it decides results; where files lie does not."""
        return {
            "model": self.architecture or self.model,
            "arguments": dict(self.arguments),
            "weights": self.fingerprint,
            "data_set": self.images or self.data_set,
            "labels": self.labels,
        }


@dataclass(frozen=True)
class Cell(Shared):
    """Everything that decides one result.

    Args:
        network: which; `criterion` "" leaves it unpruned.
        criterion: the name of a criterion, ours or a peer's.
        budget: as `Budget.parse` takes it, such as "macs=0.5"; or one of the paper's recipes, "cfg1".
        scheme: as `Compression` takes it.
        arm: what is done after pruning.
        split: whose accuracy is counted.
        seed: of everything random in it.
    """

    network: Network
    criterion: str = ""
    budget: str = ""
    scheme: str = ""
    arm: Arm = UNPRUNED
    split: str = "test"
    seed: int = 0

    @property
    def choice(self) -> str:
        """Budget, scheme, and what is unusual, as text."""
        return f"{self.budget} {self.scheme}{self.note}"

    @property
    def is_unpruned(self) -> bool:
        """Whether nothing is removed."""
        return not self.criterion

    @cached_property
    def compression(self) -> Compression:
        """What is done to the network; a peer's criterion is replaced by one of ours.

        Raises:
            ConfigError: settings that do not fit together.
        """
        recipe = recipe_in(self.budget)
        return Compression(
            criterion="random" if is_peer(self.criterion) else self.criterion,
            budget=Budget.parse([self.budget]) if recipe is None else None,
            recipe=recipe,
            scheme=self.scheme,  # type: ignore[arg-type]
            **self.options,
            images=self.arm.images,
            after=self.arm.after,
            verify=False,
            seed=self.seed,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Its settings as a JSON object, in the form of the first studies; protocols with all their values."""
        arm, after = self.arm, [self._with_protocol(to_mapping(step)) for step in self.arm.after]
        form = self._with_protocol(first_form(arm))
        if arm_from_mapping(arm.name, first_form(arm)).after != arm.after:
            form["after"] = after
        if not form["distilled"]:  # as it was before arms had teachers
            del form["distilled"]
        if not (arm.calibrates or self.looks_at_images):
            del form["images"]
        return {
            "version": RESULTS_VERSION,
            "network": self.network.to_json(),
            "criterion": self.criterion,
            "budget": self.budget,
            "scheme": self.scheme,
            **self.in_key,
            "arm": form,
            "split": self.split,
            "seed": self.seed if self.is_random else 0,
        }

    def _with_protocol(self, step: dict[str, Any]) -> dict[str, Any]:
        """A step with its protocol's values, since the file of that name may change."""
        if not step.get("protocol"):
            return step
        if step.get("labels"):  # as it was before trainings could do without
            step = {key: value for key, value in step.items() if key != "labels"}
        changes = {key: step[key] for key in ("epochs", "batch_size") if step.get(key) is not None}
        data_set = self.network.images or self.network.data_set
        protocol = asdict(load_protocol(step["protocol"], data_set, step.get("changes", {}) | changes))
        return step | {
            "protocol": {
                key: value
                for key, value in protocol.items()
                if key not in ("name", "description") and (value or key not in LATER_KEYS)
            }
        }

    @property
    def is_random(self) -> bool:
        """Whether its seed decides anything: scores, the images drawn, the order of a training."""
        return bool(self.arm.after) or is_random(self.criterion) or self.looks_at_images

    @property
    def looks_at_images(self) -> bool:
        """Whether images decide which channels go."""
        return not (self.is_unpruned or is_peer(self.criterion)) and self.compression.looks_at_images

    @cached_property
    def key(self) -> str:
        """The hash of the identity."""
        return hash_of(self.identity)

    def __str__(self) -> str:
        """One line, for progress."""
        if self.is_unpruned:
            return f"{self.network.name}, unpruned"
        return f"{self.network.name} {self.criterion} {self.choice}, {self.arm.name}, seed {self.seed}"


def recipe_in(budget: str) -> int | None:
    """The number of the paper's recipe that stands in place of a budget: 1 of "cfg1"."""
    number = budget.removeprefix("cfg")
    return int(number) if budget.startswith("cfg") and number.isdigit() else None


def hash_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 of settings as canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
