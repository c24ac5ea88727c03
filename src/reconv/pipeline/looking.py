"""What unlabelled images serve for in a run: criteria, widths by predicted error, repair."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from reconv.data import DataSet, calibration_images
from reconv.data.unlabelled import unlabelled_images
from reconv.errors import ConfigError
from reconv.graph import ChannelGraph
from reconv.pipeline.config import RunConfig
from reconv.pipeline.watch import Diary
from reconv.plan import Plan
from reconv.provenance import Normalization, provenance_of
from reconv.refit import (
    RepairReport,
    Settings,
    dead_leaves,
    gather_moments,
    repair_with_report,
)
from reconv.report.numbers import counted
from reconv.saliency import Moments

LEAVES = "leaves"


def needs_data_set(config: RunConfig) -> bool:
    """Whether the run's own training images are looked at."""
    return config.calibration is None and (config.repair or config.cut.looks_at_images)


def calibration(config: RunConfig, graph: ChannelGraph, data: DataSet | None) -> Tensor:
    """The images that a run calibrates on, normalized as its network expects, without labels.

    Raises:
        ConfigError: neither network nor data set says how images are normalized. DataError: images that cannot be used.
    """
    known = provenance_of(graph.model).normalization or (None if data is None else data.normalization)
    if config.calibration is None:
        assert data is not None  # see needs_data_set
        return calibration_images(data, config.images, config.seed, normalization=known)
    size = tuple(graph.example[0][1:])
    if len(size) != 3:
        raise ConfigError(f"calibration: the network takes {size}, not images; leave --calibration out")
    channels, height, width = size
    normalization = known or _unknown(channels)
    if config.calibration == LEAVES:
        return dead_leaves(config.images, (height, width), normalization=normalization, seed=config.seed)
    return unlabelled_images(
        config.calibration,
        config.images,
        (channels, height, width),
        normalization=normalization,
        root=config.data_root,
        seed=config.seed,
    )


def _unknown(channels: int) -> Normalization:
    raise ConfigError(
        f"calibration: how images of {channels} channels are normalized for this network is not known; "
        "save the network with its normalization, or give --data-set of what it was trained on"
    )


def moments_for(
    graph: ChannelGraph, config: RunConfig, data: DataSet | None, diary: Diary
) -> Mapping[str, Moments] | None:
    """What every layer reads, where the choice of channels or widths asks for it."""
    if not config.cut.looks_at_images:
        return None
    with diary.stage("look at images") as stage:
        images = calibration(config, graph, data)
        moments = gather_moments(graph, images, Settings(seed=config.seed))
        stage.note = f"{counted(len(moments), 'layer')}, {counted(len(images), 'image')} without labels"
    return moments


def repaired(
    small: nn.Module, plan: Plan, config: RunConfig, data: DataSet | None
) -> tuple[nn.Module, RepairReport, str]:
    """A cut network repaired as a run asks for it, what became of every layer, and by what."""
    reference, images = plan.graph.model, calibration(config, plan.graph, data)
    settings = Settings(seed=config.seed)
    model, report = repair_with_report(small, plan=plan, reference=reference, images=images, settings=settings)
    source = "training images" if config.calibration is None else f"images ({config.calibration})"
    return model, report, f"on {len(images):,} {source}, labels unread"
