"""Checkpoints: complete or not there; killed at any moment, a training goes on to the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import Recorder, listening
from tiny import QUIET, assert_same_weights, protocol, tiny_data, tiny_net
from torch import nn

from reconv.errors import ArtifactError, TrainingError
from reconv.files import read_metadata, read_tensors, write_tensors
from reconv.training import Trained, train
from reconv.training.checkpoint import checkpoints_in, read_checkpoint

EVERYTHING: dict[str, Any] = {"epochs": 4, "ema": 0.9, "mixup": 0.3, "schedule": "cosine", "flip": True}


class KilledError(Exception):
    pass


def killed_at(step: int, folder: Path, **keys: Any) -> None:
    def die() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train(tiny_net(), tiny_data(), protocol(**keys), session=listening(Recorder(step, die), folder=folder))


def resumed(folder: Path, recorder: Recorder | None = None, **keys: Any) -> Trained:
    session = listening(recorder or Recorder(), folder=folder, resume=True)
    return train(tiny_net(), tiny_data(), protocol(**keys), session=session)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("step", [0, 4, 11])
def test_whatever_step_it_dies_at_the_result_is_the_same(tmp_path: Path, optimizer: str, step: int) -> None:
    keys = EVERYTHING | {"optimizer": optimizer}
    whole = train(tiny_net(), tiny_data(), protocol(**keys), session=QUIET)
    killed_at(step, tmp_path, **keys)
    assert_same_weights(resumed(tmp_path, **keys).model, whole.model)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_finished_training_is_only_read(tmp_path: Path) -> None:
    whole = resumed(tmp_path)
    recorder = Recorder()
    again = resumed(tmp_path, recorder)
    assert recorder.steps == []
    assert again.history == whole.history
    assert_same_weights(again.model, whole.model)


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    train(tiny_net(), tiny_data(), protocol(epochs=5), session=replace(QUIET, folder=tmp_path, keep=3))
    assert [path.name for path in checkpoints_in(tmp_path)] == [f"step-{n:09d}.safetensors" for n in (9, 12, 15)]
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".jsonl"}


def test_resuming_what_never_began_begins(tmp_path: Path) -> None:
    whole = train(tiny_net(), tiny_data(), protocol(), session=QUIET)
    assert_same_weights(resumed(tmp_path / "new").model, whole.model)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def another_file(path: Path) -> None:
    write_tensors(path, {"weight": torch.zeros(2)})


@pytest.mark.parametrize("damage", [truncate, scramble, another_file])
def test_an_unreadable_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole = train(tiny_net(), tiny_data(), protocol(epochs=4), session=QUIET)
    killed_at(10, tmp_path, epochs=4)
    damage(checkpoints_in(tmp_path)[-1])
    recorder = Recorder()
    result = resumed(tmp_path, recorder, epochs=4)
    assert "step-000000009.safetensors" in recorder.notes[0]
    assert "Going on from the checkpoint before it" in recorder.notes[0]
    assert recorder.steps[0].step == 6
    assert_same_weights(result.model, whole.model)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    killed_at(4, tmp_path)
    (tmp_path / ".step-000000006.safetensors.0a1b2c3d.part").write_bytes(b"half")
    resumed(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_if_none_can_be_read_it_says_so(tmp_path: Path) -> None:
    killed_at(4, tmp_path)
    for path in checkpoints_in(tmp_path):
        truncate(path)
    with pytest.raises(TrainingError, match="none of its 1 checkpoints can be read; start without resuming"):
        resumed(tmp_path)


def test_a_resumed_training_knows_its_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconv.training.engine import Engine

    killed_at(4, tmp_path)
    nan = torch.tensor(torch.nan)
    monkeypatch.setattr(Engine, "step", lambda *arguments: (nan, nan, 0.05))
    with pytest.raises(TrainingError, match=r"step 4 is nan.*the last good checkpoint is .*step-000000003"):
        resumed(tmp_path)


def test_a_full_disk_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconv.training import checkpoint

    written = 0

    def full(*arguments: Any) -> None:
        nonlocal written
        written += 1
        if written == 2:
            raise ArtifactError("step: cannot be written: no space left on the device.")
        write_tensors(*arguments)

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    recorder = Recorder()
    train(tiny_net(), tiny_data(), protocol(epochs=3), session=listening(recorder, folder=tmp_path))
    assert "no space left on the device. Training goes on; the last good checkpoint is" in recorder.notes[0]
    assert "step-000000003" in recorder.notes[0]
    assert [read_checkpoint(path).step for path in checkpoints_in(tmp_path)] == [3, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.06}, "protocol.learning_rate 0.05 there, 0.06 now"),
        ({"epochs": 3}, "protocol.epochs 2 there, 3 now"),
    ],
)
def test_another_trainings_checkpoint_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    killed_at(4, tmp_path)
    with pytest.raises(TrainingError, match=f"a checkpoint of another training: {message}; resume with the same"):
        resumed(tmp_path, **change)


def test_another_seed_net_or_data_is_refused(tmp_path: Path) -> None:
    killed_at(4, tmp_path)
    session = replace(QUIET, folder=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="seed 0 there, 1 now"):
        train(tiny_net(), tiny_data(), protocol(), seed=1, session=session)
    with pytest.raises(TrainingError, match="data 'rows of 48 training images' there, 'rows of 32"):
        train(tiny_net(), tiny_data(32), protocol(), session=session)
    wider = tiny_net()
    wider.linear = nn.Sequential(nn.Linear(8, 9), nn.Linear(9, 3))  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"shapes .* there"):
        train(wider, tiny_data(), protocol(), session=session)


def test_other_weights_than_it_began_with_are_refused(tmp_path: Path) -> None:
    killed_at(4, tmp_path / "a")
    other = tiny_net()
    with torch.no_grad():
        next(other.parameters())[0] += 1e-6
    session = replace(QUIET, folder=tmp_path / "a", resume=True)
    with pytest.raises(TrainingError, match="begun with other weights than these; resume with those, or give another"):
        train(other, tiny_data(), protocol(), session=session)
    train(tiny_net(), tiny_data(), protocol(), session=session)


def test_another_teacher_than_it_began_with_is_refused(tmp_path: Path) -> None:
    keys = {"distillation": 0.5}
    session = replace(QUIET, folder=tmp_path, resume=True)
    train(tiny_net(), tiny_data(), protocol(**keys), teacher=tiny_net(), session=session)
    other = tiny_net()
    with torch.no_grad():
        next(other.parameters())[0] += 1e-6
    with pytest.raises(TrainingError, match="begun with other teacher weights than these"):
        train(tiny_net(), tiny_data(), protocol(**keys), teacher=other, session=session)


def test_a_checkpoint_of_version_0_1_does_not_say_its_weights(tmp_path: Path) -> None:
    killed_at(4, tmp_path)
    file = checkpoints_in(tmp_path)[-1]
    key = "reconv-checkpoint"
    header = json.loads(read_metadata(file)[key])
    del header["identity"]["weights"], header["identity"]["teacher weights"]
    write_tensors(file, read_tensors(file), {key: json.dumps(header)})
    assert len(resumed(tmp_path).history) == 2


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from tiny import QUIET, protocol, tiny_data, tiny_net
from reconv.files import write_tensors
from reconv.training import train
import torch
torch.set_num_threads(1)
folder = Path(sys.argv[1])
keys = {"epochs": 40, "ema": 0.9, "mixup": 0.3, "schedule": "cosine", "flip": True}
print("ready", flush=True)
result = train(tiny_net(), tiny_data(), protocol(**keys), session=replace(QUIET, folder=folder, resume=True))
write_tensors(folder / "result.safetensors", result.model.state_dict())
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == b"ready\n", first + process.stdout.read()
    return process


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait() == 0
    seconds = time.monotonic() - began
    moments = random.Random(0)
    kills = rounds = 0
    while kills < 20:
        folder = tmp_path / f"killed{rounds}"
        rounds += 1
        for _ in range(4):
            process = start(folder)
            time.sleep(moments.uniform(0.1, 0.6) * seconds)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
        assert start(folder).wait() == 0
        expected, found = (read_tensors(path / "result.safetensors") for path in (tmp_path / "whole", folder))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
