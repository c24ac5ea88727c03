"""What `compress` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from reconv.artifacts import save
from reconv.compression import Compression
from reconv.cost import file_size
from reconv.data import DataSet
from reconv.deploy import Exported
from reconv.files import PathLike, write_atomically
from reconv.graph import ChannelGraph, trace
from reconv.html_table import Bar, html_table
from reconv.plan import Plan
from reconv.quality import Quality
from reconv.report import Certificate, NetworkAccuracy, Round, RunFacts, render
from reconv.report.numbers import percent
from reconv.results.deployed import Deployed, accuracies_with, exported_files, int8_of, latency_in_runtimes
from reconv.results.facts import Naming, facts_of
from reconv.results.measure import BATCHES, Pair, measure_pair
from reconv.runlog import RunLog
from reconv.saliency import Saliency
from reconv.training import EpochRecord

LARGEST_BATCH = max(BATCHES)  # that a network is run on


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A smaller network, and how it came about.

    Args:
        base, model: the network before and after.
        graph, scores, plan: of the network before: its channels, their scores, and which of them stay.
        compression: what was asked for.
        verified: how far removing was from zeroing, relative; None: not proved.
        rounds: one entry per round, where there were several.
        log: stages and notes. history: the epochs of each training, by its title.
        data: the images. quality: what networks are measured by.
        pruned_only: fingerprint of the weights right after pruning.
        exported: files that the smaller network was written to, compared with it.
        certificate: what the smallest network loses, on images that it was not found by, where that was asked for.

    Example:
        >>> import torch, reconv
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
        >>> result = reconv.compress(net, None, example=torch.zeros(1, 3, 8, 8))
        >>> print(result)
        Result: 50.00 % of MACs, 50.68 % of parameters left; nuclear, uniform
    """

    base: nn.Module
    model: nn.Module
    graph: ChannelGraph
    scores: Saliency
    plan: Plan
    compression: Compression
    verified: float | None
    rounds: tuple[Round, ...]
    log: RunLog
    history: Mapping[str, tuple[EpochRecord, ...]]
    data: DataSet | None
    quality: Quality
    pruned_only: str
    exported: tuple[Exported, ...] = ()
    certificate: Certificate | None = None

    @cached_property
    def figures(self) -> Pair:
        """Both networks, tested on images not used before and timed, when they are first asked for."""
        names = [layer.name for layer in self.graph.layers]
        return measure_pair((self.base, self.model), names, self.quality, self.graph.inputs, self.log)

    @cached_property
    def deployed(self) -> Deployed:
        """Latency in the runtimes that were asked for, and accuracy in int8, when they are first asked for."""
        config, models = self.compression.timing, (self.base, self.model)
        budgeted = self.compression.has_latency_budget
        runtimes = latency_in_runtimes(models, self.graph.inputs, config, self.exported, self.log, budgeted=budgeted)
        int8, pair, data = int8_of(self.exported), self.figures, self.quality.data
        accuracies: tuple[NetworkAccuracy, ...] = ()
        if int8 is not None and pair.predictions is not None and data is not None:
            with self.log.stage("test int8"):
                accuracies = accuracies_with(int8, self.model, pair.predictions, data, pair.split)
        return Deployed(exported_files(self.exported), runtimes, accuracies)

    def facts(
        self, naming: Naming = Naming(), *, measure: bool = True, file_bytes: tuple[int, int] | None = None
    ) -> RunFacts:
        """Everything that a report shows.

        Args:
            naming: what network and data are called, and the command that does it again.
            measure: test and time both networks. file_bytes: of the saved networks; None: as computed.
        """
        sizes = file_bytes or (file_size(self.graph), file_size(trace(self.model, self.graph.inputs)))
        deployed = self.deployed if measure else Deployed(exported_files(self.exported))
        facts = facts_of(self, naming, self.figures if measure else None, sizes)
        facts = replace(facts, exported=deployed.files, runtimes=deployed.runtimes, accuracies=deployed.accuracies)
        return replace(facts, certificate=self.certificate)

    def save(self, folder: PathLike, *, overwrite: bool = False) -> None:
        """Save the smaller network with its plan, as `reconv.load` reads it.

        Raises:
            ArtifactError: the folder exists, or cannot be written.
        """
        save(self.model, folder, plan=self.plan, overwrite=overwrite)

    def report(self, file: PathLike) -> RunFacts:
        """Write a report, one HTML file; both networks are tested and timed for it.

        Raises:
            ArtifactError: it cannot be written.
        """
        facts = self.facts()
        write_atomically(Path(file), render(facts))
        return facts

    def __repr__(self) -> str:
        macs, params = (percent(after / before) for before, after in (self.plan.macs, self.plan.params))
        return f"Result: {macs} of MACs, {params} of parameters left; {self.plan.criterion}, {self.plan.scheme}"

    def _repr_html_(self) -> str:
        costs = (("MACs", *self.plan.macs), ("parameters", *self.plan.params))
        rows = [
            (name, before, after, Bar(after / (before or 1), percent(after / (before or 1))))
            for name, before, after in costs
        ]
        return html_table(repr(self), ("", "before", "after", "left"), rows, self.plan.notes)
