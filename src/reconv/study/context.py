"""What the cells of one network share: network, images, and a cache of scores, error curves and plans.

Nothing here decides a result.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from reconv.cache import Cache
from reconv.compression import Compression
from reconv.data import DataSet
from reconv.data.splits import TensorSplit
from reconv.errors import ConfigError
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph, trace
from reconv.pipeline import compress
from reconv.preprocessing import Preprocessing
from reconv.provenance import provenance_of
from reconv.results.fingerprints import images_fingerprint
from reconv.results.result import Result
from reconv.runlog import RunLog
from reconv.runs import RunConfig, load_inputs
from reconv.store import Store
from reconv.study.cell import Network, hash_of
from reconv.training import device_named
from reconv.training.evaluation import check_fits
from reconv.zoo import find_model
from reconv.zoo.code import code_of


class _Unmeasured(RunLog):
    """Of cells, which are measured at their end only."""

    measures = False


class NetworkContext:
    """One network on one device, with what several cells need.

    Args:
        network: which. device: where cells are computed.
    """

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.network = network
        self.device = device_named(device)
        kept = ("model", "weights", "arguments", "data_set", "data_root", "task", "example", "preprocessing")
        given = load_inputs(RunConfig(**{name: getattr(network, name) for name in kept}), RunLog())
        if given.data is None or not given.data.labelled:
            raise ConfigError(f"{network.name}: a study counts right answers; give images with labels")
        own = [name for name in ("metric", "loss") if getattr(given, name) is not None]
        if own:
            raise ConfigError(
                f"{network.task}: defines {' and '.join(own)}, which a study does not use: it counts right answers and "
                "trains by cross-entropy; give a file without, or compress with `reconv run`"
            )
        self.data: DataSet = given.data
        self.model = given.network.to(self.device).eval()
        check_fits(self.model, self.data)
        self.cache = Cache()
        self.graph: ChannelGraph = self.cache.get(
            "graph", None, lambda: trace(self.model, self.data.example().to(self.device))
        )

    def compress(self, compression: Compression, store: Store | None = None) -> Result:
        """The network compressed, sharing what other cells have computed."""
        return compress(
            self.model,
            self.data,
            compression,
            example=self.graph.inputs,
            log=_Unmeasured(),
            store=store,
            cache=self.cache,
        )

    @cached_property
    def fingerprinted(self) -> Network:
        """The network with the fingerprints that cells are known by."""
        return replace(
            self.network,
            fingerprint=tensors_fingerprint(self.model.state_dict()),
            labels=_data_fingerprint(self.data),
            architecture=_architecture(self.network.model, self.model),
            images=", ".join([self.data.name, *_settings(self.network.preprocessing)]),
        )

    def prunable(self, *, streams: bool = False) -> frozenset[str]:
        """Layers whose output channels may go: those within blocks, or those of residual streams."""
        groups = (group for group in self.graph.groups if not group.reason and bool(group.stream) == streams)
        return frozenset(layer for group in groups for layer in group.producers)


def context_for(network: Network, device: str) -> NetworkContext:
    """The context of a network in this process; the last two are kept.

    Raises:
        ConfigError: the files here are not those that the network was identified by.
    """
    context = _context(replace(network, fingerprint="", labels="", architecture="", images=""), device)
    actual = context.fingerprinted
    if network.fingerprint and (network.fingerprint, network.labels) != (actual.fingerprint, actual.labels):
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


def _settings(preprocessing: Preprocessing) -> list[str]:
    """What the user says of how images become inputs."""
    return [f"{name} {value}" for name, value in asdict(preprocessing).items() if value is not None]


def _architecture(name: str, model: torch.nn.Module) -> str:
    """What a saved model is: the name that it was built by, and the hash of that with everything done to it since; what
    a class in a file is: the hash of the file. Empty for other models."""
    source, own_name = find_model(name)
    if source.name == "file":
        code = Path(code_of(own_name)).expanduser().read_text(encoding="utf-8")
        return f"{own_name.rpartition(':')[2]}, code {hash_of({'code': code})[:16]}"
    if not source.has_weights:
        return ""
    description = provenance_of(model).to_json()
    built_by = (description["model"] or {}).get("name", "model")
    return f"{built_by}, saved, {hash_of({key: value for key, value in description.items() if key != 'notes'})[:16]}"
