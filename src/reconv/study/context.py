"""What the cells of one network share: network, images, scores, error curves, plans; each made once a process.

Nothing here decides a result: every value is a function of the arguments that it is asked by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from reconv.data import DataSet, calibration_images, load_data
from reconv.data.splits import TensorSplit
from reconv.errors import ConfigError
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph, trace
from reconv.networks import load_network, saved_model_in
from reconv.plan import ALLOCATED, Budget, ErrorCurves, Plan, choose, choose_widths
from reconv.provenance import provenance_of
from reconv.refit import Settings as RepairSettings
from reconv.refit import curves_of, error_curves, gather_moments
from reconv.results.fingerprints import images_fingerprint
from reconv.saliency import Moments, Saliency, score
from reconv.study.cell import Cell, Network, hash_of, is_random, needs_images
from reconv.training import device_named
from reconv.training.evaluation import check_fits, normalization_for
from reconv.zoo import load_recipe

_RECONSTRUCTION = "reconstruction"
_KEPT = 16  # of each kind; scores and curves are small


class NetworkContext:
    """One network on one device, with everything that several cells need.

    Args:
        network: which. device: where cells compute.
    """

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.network = network
        self.device = device_named(device)
        self.data: DataSet = load_data(network.data_set, network.data_root, download=True)
        model = load_network(
            network.model,
            network.weights,
            network.arguments,
            channels=self.data.input_size[0],
            classes=self.data.num_classes,
        )
        self.model = model.to(self.device).eval()
        check_fits(self.model, self.data)
        self.graph: ChannelGraph = trace(self.model, self.data.example().to(self.device))
        self.scores = lru_cache(4 * _KEPT)(self._scores)
        self.images = lru_cache(2)(self._images)
        self._moments = lru_cache(1)(self._gathered)
        self.curves = lru_cache(_KEPT)(self._curves)
        self.plan = lru_cache(4)(self._plan)

    @cached_property
    def fingerprinted(self) -> Network:
        """The network with the fingerprints that cells are known by."""
        return replace(
            self.network,
            fingerprint=tensors_fingerprint(self.model.state_dict()),
            labels=_data_fingerprint(self.data),
            architecture="" if saved_model_in(self.network.model) is None else _architecture(self.model),
            images=self.data.name,
        )

    @cached_property
    def prunable(self) -> frozenset[str]:
        """Layers whose output channels may go while residual streams stay whole."""
        groups = (group for group in self.graph.groups if not group.reason and not group.stream)
        return frozenset(layer for group in groups for layer in group.producers)

    @cached_property
    def streams(self) -> frozenset[str]:
        """Layers of residual streams, whose output channels may go where streams are cut too."""
        groups = (group for group in self.graph.groups if not group.reason and group.stream)
        return frozenset(layer for group in groups for layer in group.producers)

    def _scores(self, criterion: str, seed: int) -> Saliency:
        return score(self.graph, criterion, seed=seed)

    def _scores_of(self, criterion: str, number: int, seed: int) -> Saliency:
        """Scores, with the seed and the images only where they decide something, so that others are shared."""
        if needs_images(criterion):
            return score(self.graph, criterion, moments=self._moments(number, seed))
        return self.scores(criterion, seed if is_random(criterion) else 0)

    def _images(self, number: int, seed: int) -> Tensor:
        """Calibration images, normalized, on the network's device."""
        normalization = normalization_for(self.model, self.data)
        return calibration_images(self.data, number, seed, normalization=normalization).to(self.device)

    def _gathered(self, number: int, seed: int) -> Mapping[str, Moments]:
        return gather_moments(self.graph, self.images(number, seed), RepairSettings(seed=seed))

    def _curves(self, criterion: str, number: int, seed: int, coupled: bool) -> ErrorCurves:
        """Predicted error of each group as its channels go in the criterion's order."""
        moments = self._moments(number, seed)
        if criterion == _RECONSTRUCTION:
            return error_curves(self.graph, moments, coupled=coupled)
        return curves_of(self.graph, self._scores_of(criterion, number, seed), moments, coupled=coupled)

    def plan_of(self, cell: Cell) -> Plan:
        """The plan that a cell asks for, whatever its arm."""
        return self.plan(
            cell.criterion, cell.budget, cell.scheme, cell.coupled, cell.seed if cell.is_random else 0, cell.arm.images
        )

    def _plan(self, criterion: str, budget: str, scheme: str, coupled: bool, seed: int, number: int) -> Plan:
        if scheme == ALLOCATED:
            curves = self.curves(criterion, number, seed, coupled)
            return choose(self.graph, curves, Budget.parse([budget]), coupled=coupled)
        scores = self._scores_of(criterion, number, seed)
        if budget.startswith("cfg"):
            convolutions = {layer.name: layer.out_channels for layer in self.graph.layers if layer.kind == "conv"}
            spec = provenance_of(self.model).spec
            recipe = load_recipe(spec.name if spec else self.network.model, int(budget[3:]))
            return choose_widths(self.graph, scores, recipe.widths(convolutions))
        return choose(self.graph, scores, Budget.parse([budget]), scheme=scheme, coupled=coupled)  # type: ignore[arg-type]


def context_for(network: Network, device: str) -> NetworkContext:
    """The context of a network in this process; the last two are kept.

    Raises:
        ConfigError: the files here are not those that the network was identified by.
    """
    context = _context(replace(network, fingerprint="", labels="", architecture="", images=""), device)
    found = context.fingerprinted
    if network.fingerprint and (network.fingerprint, network.labels) != (found.fingerprint, found.labels):
        raise ConfigError(
            f"{network.name}: the weights or images here are not those of the study; give the same files everywhere"
        )
    return context


@lru_cache(2)
def _context(network: Network, device: str) -> NetworkContext:
    return NetworkContext(network, device)


def _data_fingerprint(data: DataSet) -> str:
    """Of the labels where the images are known by the data set's name, else of the files too."""
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    if all(isinstance(split, TensorSplit) for split in splits.values()):
        return tensors_fingerprint({name: split.labels for name, split in splits.items()})
    return images_fingerprint(data)[1]


def clear_contexts() -> None:
    """Drop what this process keeps."""
    _context.cache_clear()


def _architecture(model: torch.nn.Module) -> str:
    """What a saved model is: the name that it was built by, and the hash of that with everything done to it since."""
    description = provenance_of(model).to_json()
    name = (description["model"] or {}).get("name", "model")
    return f"{name}, saved, {hash_of({key: value for key, value in description.items() if key != 'notes'})[:16]}"


def with_random_weights(context: NetworkContext, seed: int) -> torch.nn.Module:
    """The same architecture, whole, with random weights.

    Raises:
        ConfigError: a saved model that was cut before, which no name builds.
    """
    data, network, provenance = context.data, context.network, provenance_of(context.model)
    if provenance.edits:
        raise ConfigError(
            f"{network.name}: fresh weights of a network that was cut before; give the whole one, or leave the arm out"
        )
    fresh = load_network(
        provenance.spec.name if provenance.spec else network.model,
        None,
        {**_arguments(context), **network.arguments},
        channels=data.input_size[0],
        classes=data.num_classes,
        seed=seed,
    )
    return fresh.to(context.device)


def _arguments(context: NetworkContext) -> dict[str, object]:
    """What the weights said about the architecture, such as the kind of shortcut."""
    spec = provenance_of(context.model).spec
    left_out = ("num_classes", "in_channels", "in_chans")
    return {} if spec is None else {key: value for key, value in spec.arguments.items() if key not in left_out}
