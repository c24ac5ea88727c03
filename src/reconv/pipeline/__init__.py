"""The run: the verbs in order, from a trained (or untrained) network to a smaller one, into a folder."""

from reconv.pipeline.config import Cut, RunConfig, Schooling
from reconv.pipeline.inputs import example_of, given_network, is_trained, load_images, load_network
from reconv.pipeline.runner import Manner, RunResult, run
from reconv.pipeline.school import train_only
from reconv.pipeline.stages import CutNetwork, choose_plan, read_scores, saliency_for
from reconv.pipeline.watch import Diary, Watcher

__all__ = [
    "Cut",
    "CutNetwork",
    "Diary",
    "Manner",
    "RunConfig",
    "RunResult",
    "Schooling",
    "Watcher",
    "choose_plan",
    "example_of",
    "given_network",
    "is_trained",
    "load_images",
    "load_network",
    "read_scores",
    "run",
    "saliency_for",
    "train_only",
]
