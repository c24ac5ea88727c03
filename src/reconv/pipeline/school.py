"""`train_only`: one training into a folder, by one process or by many that a launcher started."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from reconv.files import write_json
from reconv.pipeline import stages
from reconv.pipeline.config import RunConfig
from reconv.pipeline.folder import RunFolder
from reconv.pipeline.inputs import given_network, load_images, teacher_of
from reconv.pipeline.runner import Manner
from reconv.pipeline.watch import Diary
from reconv.report.numbers import counted, percent
from reconv.training import (
    Evaluation,
    Trained,
    check_trackers,
    connected,
    device_named,
    evaluate,
    first_process_first,
    is_first_process,
    wait_for_all,
)

_PLAIN = Manner()
_OF_TRAINING = ("model", "weights", "arguments", "data_set", "data_root", "finetune", "seed", "device")


def train_only(
    config: RunConfig, folder: Path | str, stage: str, manner: Manner = _PLAIN
) -> tuple[Trained, Evaluation]:
    """Train the given network as `config.finetune` says; the result is the folder's `model/`.

    Under `torchrun` or `accelerate launch` every process calls this alike; the first one writes.

    Args:
        config: its network, images, fine-tuning, seed and device matter; nothing is cut.
        folder, manner: as for `run`.
        stage: what the training is called.

    Returns:
        The training, and the last epoch's figures on the test images, which are looked at once, at the end.

    Raises:
        ReconvError: as for `run`.
    """
    diary = Diary(manner.watcher)
    place = RunFolder(Path(folder), config.device, manner.watcher.progress, manner.trackers)
    settings = {key: value for key, value in config.to_json().items() if key in _OF_TRAINING}
    check_trackers(manner.trackers, place.path)
    teacher_of(config.finetune, config)
    place.check(settings, overwrite=manner.overwrite, resume=manner.resume)
    with connected(config.device):
        device = device_named(config.device)
        with first_process_first():
            data = load_images(config)
        model = given_network(config, data, diary).to(device)
        if is_first_process():
            place.begin(settings, overwrite=manner.overwrite, resume=manner.resume)
        wait_for_all()
        trained = stages.school(model, data, config.finetune, stage, config, place.session(stage), diary)
        with diary.stage("test") as entry:
            tested = evaluate(trained.model, data, "test")
            entry.note = f"{counted(len(data.test), 'image')}, once: top-1 {percent(tested.top1)}"
        if is_first_process():
            place.save_model("model", trained.model)
            place.forget_checkpoints(stage)
            history = [record.to_json() for record in trained.history]
            write_json(place.metrics, {"history": history, "test": asdict(tested)})
        wait_for_all()
    return trained, tested
