"""Training: what decides the result, what does not, and how it ends when something is wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import QUIET, Tiny, assert_same_weights, protocol, tiny_data, tiny_net
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from reconv.data import normalize
from reconv.errors import ArtifactError, ConfigError, DataError, ReconvError, TrainingError
from reconv.provenance import ModelSpec, Normalization, Provenance, attach, provenance_of
from reconv.training import (
    EpochRecord,
    Interrupted,
    Listener,
    Metric,
    Session,
    StepRecord,
    evaluate,
    load_protocol,
    train,
)


class Recorder(Listener):
    """Remembers what it is told; may do something at a step."""

    def __init__(self, at_step: int = -1, action: Any = None) -> None:
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.notes: list[str] = []
        self.stopped = False
        self._at_step, self._action = at_step, action

    def step(self, record: StepRecord) -> None:
        self.steps.append(record)
        if record.step == self._at_step:
            self._action()

    def epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stop(self) -> None:
        self.stopped = True


def listening(recorder: Listener, **changes: Any) -> Session:
    return replace(QUIET, listeners=(recorder,), **changes)


def test_a_net_learns_what_can_be_learned() -> None:
    data = tiny_data()
    result = train(tiny_net(dropout=0.0), data, protocol(epochs=30, learning_rate=0.2, padding=0), session=QUIET)
    assert evaluate(result.model, data).top1 > 0.9
    assert result.history[-1].loss < 0.5 < result.history[0].loss
    assert result.history[-1].validation == evaluate(result.model, data, "validation")


def test_the_callers_model_mode_generators_and_threads_stay() -> None:
    model = tiny_net()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    result = train(model, tiny_data(), protocol(), session=QUIET)
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_weights(model, tiny_net())
    assert [module.training for module in model.modules()] == modes
    assert [module.training for module in result.model.modules()] == modes
    assert torch.get_num_threads() == threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert not torch.equal(result.model.conv1.weight, model.conv1.weight)
    assert result.model.conv1.weight.is_contiguous()


def test_the_seed_decides() -> None:
    one, again, other = (
        train(tiny_net(), tiny_data(), protocol(), seed=seed, session=QUIET).model for seed in (1, 1, 2)
    )
    assert_same_weights(one, again)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_no_epochs_give_the_model_back() -> None:
    result = train(tiny_net(), tiny_data(), protocol(epochs=0), session=QUIET)
    assert_same_weights(result.model, tiny_net())
    assert result.history == ()


def test_without_validation_images_none_are_looked_at() -> None:
    result = train(tiny_net(), tiny_data(validation=0), protocol(), session=QUIET)
    assert [record.validation for record in result.history] == [None, None]


def test_the_test_split_is_never_read() -> None:
    class Untouchable:
        def __len__(self) -> int:
            raise AssertionError("the test split was looked at")

        stream = subset = labels = property(__len__)

    train(tiny_net(), replace(tiny_data(), test=Untouchable()), protocol(), session=QUIET)  # type: ignore[arg-type]


def test_the_result_says_how_its_input_is_normalized() -> None:
    data = tiny_data()
    plain = train(tiny_net(), data, protocol(), session=QUIET).model
    assert provenance_of(plain).normalization == data.normalization
    own = Provenance(spec=ModelSpec("tiny"), normalization=Normalization((0.5,), (0.5,)))
    model = train(attach(tiny_net(), own), data, protocol(), session=QUIET).model
    assert provenance_of(model) == own
    same = train(tiny_net(), data.with_normalization(own.normalization), protocol(), session=QUIET).model
    assert_same_weights(model, same)


def test_every_step_and_epoch_is_told() -> None:
    recorder = Recorder()
    result = train(tiny_net(), tiny_data(), protocol(epochs=3, schedule="cosine"), session=listening(recorder))
    assert [record.step for record in recorder.steps] == list(range(9))
    assert tuple(recorder.epochs) == result.history
    assert recorder.stopped
    first = recorder.epochs[0]
    assert first.loss == pytest.approx(sum(record.loss for record in recorder.steps[:3]) / 3)
    assert first.learning_rate == recorder.steps[2].learning_rate
    assert [record.learning_rate for record in recorder.steps] == sorted(
        (record.learning_rate for record in recorder.steps), reverse=True
    )


def test_the_first_loss_is_that_of_the_net_before_training() -> None:
    recorder = Recorder()
    data = tiny_data(train=16)
    train(tiny_net(dropout=0.0), data, protocol(padding=0, label_smoothing=0.0), session=listening(recorder))
    net = tiny_net(dropout=0.0).train()
    images = (data.train.images / 255 - 0.3) / 0.25  # type: ignore[attr-defined]
    expected = nn.functional.cross_entropy(net(images), data.train.labels).item()
    assert recorder.steps[0].loss == pytest.approx(expected, rel=1e-5)


def test_metrics_are_a_json_object_an_epoch(tmp_path: Path) -> None:
    result = train(tiny_net(), tiny_data(), protocol(epochs=3), session=replace(QUIET, folder=tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [EpochRecord.from_json(line) for line in lines] == list(result.history)


# --- options ------------------------------------------------------------------------------------------------


def trained(**keys: Any) -> Tiny:
    model = train(tiny_net(dropout=0.0), tiny_data(), protocol(**keys), session=QUIET).model
    assert isinstance(model, Tiny)
    return model


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": "adamw"},
        {"nesterov": True},
        {"weight_decay": 0.1},
        {"decay_all": False, "weight_decay": 0.1},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
        {"ema": 0.9},
        {"mixup": 0.5},
        {"cutmix": 0.5},
        {"mixup": 0.5, "cutmix": 0.5},
        {"flip": True},
        {"trivial": True},
        {"erasing": 0.5},
        {"schedule": "cosine"},
        {"warmup_epochs": 1.0},
        {"precision": "bf16"},
        {"momentum": 0.0},
    ],
    ids=str,
)
def test_each_option_changes_the_result_reproducibly(keys: dict[str, Any]) -> None:
    changed = trained(**keys)
    assert all(torch.isfinite(value).all() for value in changed.state_dict().values())
    assert not torch.equal(changed.conv1.weight, trained().conv1.weight)
    assert_same_weights(changed, trained(**keys))


def test_memory_order_changes_only_the_rounding() -> None:
    torch.testing.assert_close(trained(channels_last=False).conv1.weight, trained().conv1.weight, rtol=1e-3, atol=1e-4)


class NoNorm(nn.Module):
    """Each image on its own, so that a batch may be worked off in parts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(1, 4, 3)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("parts", [2, 3, 16])
def test_a_batch_worked_off_in_parts_is_the_batch(parts: int) -> None:
    whole, split = Recorder(), Recorder()
    one = train(NoNorm(), tiny_data(), protocol(), session=listening(whole)).model
    other = train(NoNorm(), tiny_data(), protocol(accumulate=parts), session=listening(split)).model
    for a, b in zip(whole.steps, split.steps):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
        assert a.top1 == b.top1
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-4, atol=1e-6)


def test_one_step_of_sgd_is_the_formula() -> None:
    data = tiny_data(train=16)
    keys = {"epochs": 1, "padding": 0, "learning_rate": 0.5, "weight_decay": 0.01, "momentum": 0.9}
    result = train(NoNorm(), data, protocol(**keys), session=QUIET).model
    net = NoNorm()
    images = (data.train.images / 255 - 0.3) / 0.25  # type: ignore[attr-defined]
    nn.functional.cross_entropy(net(images), data.train.labels).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.5 * (parameter.grad + 0.01 * parameter)
        torch.testing.assert_close(result.get_parameter(name), expected, rtol=1e-5, atol=1e-6)


def test_decay_spares_biases_and_norms_on_request() -> None:
    from reconv.training.optimizer import build_optimizer

    net = tiny_net()
    groups = build_optimizer(net, protocol(decay_all=False, weight_decay=0.3)).param_groups
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    decayed, spared = ({names[id(parameter)] for parameter in group["params"]} for group in groups)
    assert decayed == {"conv1.weight", "conv2.weight", "linear.weight"}
    assert spared == {"bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "conv2.bias", "linear.bias"}
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_the_moving_average_is_what_comes_out() -> None:
    weights: list[Tensor] = []
    data = tiny_data()
    for epochs in (1, 2, 3, 4):
        weights.append(train(NoNorm(), tiny_data(16), protocol(epochs=epochs), session=QUIET).model.conv.weight)
    expected = NoNorm().conv.weight
    for step, value in enumerate(weights):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    averaged = train(NoNorm(), tiny_data(16), protocol(epochs=4, ema=0.3), session=QUIET)
    torch.testing.assert_close(averaged.model.conv.weight, expected)
    last = averaged.history[-1].validation
    assert last is not None
    assert last == evaluate(averaged.model, data, "validation")


def test_frozen_parameters_stay() -> None:
    net = tiny_net()
    net.conv1.weight.requires_grad_(False)
    result = train(net, tiny_data(), protocol(), session=QUIET).model
    assert torch.equal(result.conv1.weight, net.conv1.weight)
    assert not torch.equal(result.conv2.weight, net.conv2.weight)
    with pytest.raises(TrainingError, match="no parameter that requires a gradient"):
        train(tiny_net().requires_grad_(False), tiny_data(), protocol(), session=QUIET)


# --- distillation -------------------------------------------------------------------------------------------


def test_the_distilled_loss_is_the_formula() -> None:
    from reconv.training.losses import training_loss

    scores, taught, labels = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    p, q = torch.softmax(taught / 3, 1), torch.softmax(scores / 3, 1)
    expected = 0.75 * nn.functional.cross_entropy(scores, labels) + 0.25 * 9 * (p * (p / q).log()).sum(1).mean()
    loss = training_loss(scores, labels, labels, taught, protocol(distillation=0.25, temperature=3))
    torch.testing.assert_close(loss, expected)
    alone = training_loss(scores, labels, labels, None, protocol(distillation=0.25))
    torch.testing.assert_close(alone, nn.functional.cross_entropy(scores, labels))


def test_a_pupil_comes_to_agree_with_its_teacher() -> None:
    data = tiny_data()
    teacher = train(tiny_net(dropout=0.0), data, protocol(epochs=20, learning_rate=0.2), session=QUIET).model
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    torch.manual_seed(1)
    pupil = Tiny(dropout=0.0)
    keys = {"epochs": 20, "learning_rate": 0.05, "distillation": 1.0, "temperature": 2.0}
    taught = train(pupil, data, protocol(**keys), teacher=teacher, session=QUIET).model.eval()
    images = (data.test.images / 255 - 0.3) / 0.25  # type: ignore[attr-defined]
    with torch.no_grad():
        agreement = (taught(images).argmax(1) == teacher.eval()(images).argmax(1)).float().mean()
    assert agreement > 0.85
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_teacher_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="it has 3 classes"):
        train(tiny_net(), tiny_data(), protocol(), teacher=tiny_net(classes=5), session=QUIET)
    other = attach(tiny_net(), Provenance(normalization=Normalization((0.0,), (1.0,))))
    with pytest.raises(ConfigError, match="teacher: its input is normalized otherwise"):
        train(tiny_net(), tiny_data(), protocol(), teacher=other, session=QUIET)


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(tmp_path: Path) -> None:
    class Explodes(Tiny):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            return super().forward(x) * (math.nan if self.calls == 5 else 1)

    recorder = Recorder()
    with pytest.raises(
        TrainingError,
        match=r"the loss of step 5 is nan, at learning rate 0.05; the last good checkpoint is .*step-000000003",
    ):
        train(Explodes(), tiny_data(), protocol(), session=listening(recorder, folder=tmp_path))
    assert recorder.stopped
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000000003.safetensors"]


def test_a_rate_that_diverges_is_said() -> None:
    with pytest.raises(TrainingError, match=r"is not finite|is nan|is inf"):
        train(NoNorm(), tiny_data(), protocol(epochs=50, learning_rate=1e30, padding=0), session=QUIET)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_resuming_gives_the_same(tmp_path: Path, number: signal.Signals) -> None:
    keys = {"epochs": 4}
    whole = train(tiny_net(), tiny_data(), protocol(**keys), session=QUIET)
    kill = Recorder(at_step=7, action=lambda: os.kill(os.getpid(), number))
    with pytest.raises(
        Interrupted,
        match=rf"{number.name}: stopped after step 8 of 12; the last checkpoint is .*step-000000008.*--resume",
    ):
        train(tiny_net(), tiny_data(), protocol(**keys), session=listening(kill, folder=tmp_path))
    again = Recorder()
    resumed = train(tiny_net(), tiny_data(), protocol(**keys), session=listening(again, folder=tmp_path, resume=True))
    assert [record.step for record in again.steps] == list(range(8, 12))
    assert_same_weights(whole.model, resumed.model)
    figures = [(record.loss, record.top1, record.validation) for record in whole.history]
    assert [(record.loss, record.top1, record.validation) for record in resumed.history] == figures


def test_a_signal_in_the_last_validation_is_not_lost() -> None:
    class LastEpoch(Recorder):
        def epoch(self, record: EpochRecord) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped after step 3 of 3; nothing was saved, since no folder"):
        train(tiny_net(), tiny_data(), protocol(epochs=1), session=listening(LastEpoch()))


def test_a_folder_in_use_is_not_written_to(tmp_path: Path) -> None:
    session = replace(QUIET, folder=tmp_path)
    train(tiny_net(), tiny_data(), protocol(), session=session)
    with pytest.raises(ArtifactError, match="holds checkpoints of a training; resume it, or give another folder"):
        train(tiny_net(), tiny_data(), protocol(), session=session)


@pytest.mark.parametrize(
    ("model", "data", "session", "kind", "message"),
    [
        (tiny_net(classes=4), tiny_data(), QUIET, ConfigError, "it has 3 classes, but the model gives"),
        (tiny_net(), tiny_data(train=0), QUIET, DataError, "training split: no images"),
        (tiny_net(), tiny_data(), Session(device="gpu", progress=False), ConfigError, "device 'gpu': .*give cpu, cuda"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    model: nn.Module, data: Any, session: Session, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(model, data, protocol(), session=session)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_what_needs_a_gpu_says_so() -> None:
    with pytest.raises(ConfigError, match="precision fp16: a CPU does not compute in it; use bf16 or fp32"):
        train(tiny_net(), tiny_data(), protocol(precision="fp16"), session=QUIET)
    with pytest.raises(ConfigError, match="device 'cuda'"):
        train(tiny_net(), tiny_data(), protocol(), session=replace(QUIET, device="cuda"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_net_trains_alike() -> None:
    compiled, plain = trained(compile=True), trained()
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_loader_trains_as_the_data_set_of_its_images() -> None:
    data, plain = tiny_data(validation=0), protocol(padding=0)
    images = normalize(data.train.images, data.normalization)  # type: ignore[attr-defined]
    loader = DataLoader(TensorDataset(images, data.train.labels), batch_size=5)
    from_loader = train(tiny_net(), loader, plain, session=QUIET)
    assert_same_weights(from_loader.model, train(tiny_net(), data, plain, session=QUIET).model)


def test_a_loss_and_a_metric_of_ones_own_replace_cross_entropy_and_top1() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3, padding=1)
    images = torch.rand(40, 1, 6, 6)
    data = {"train": (images, 2 * images + 1), "validation": (images[:9], 2 * images[:9] + 1)}
    error = Metric(lambda outputs, targets: (outputs - targets).abs().mean(), "error", higher_is_better=False)
    how = protocol(epochs=20, learning_rate=0.03, padding=0, weight_decay=0.0)
    recorder = Recorder()
    session = listening(recorder)
    result = train(model, data, how, loss=nn.functional.mse_loss, metric=error, session=session)
    last, first = result.history[-1], result.history[0]
    assert last.validation is not None
    assert first.validation is not None
    assert last.validation.metric_name == "error"
    assert last.validation.quality < first.validation.quality / 2
    assert last.loss < first.loss / 2
    assert EpochRecord.from_json(json.loads(json.dumps(last.to_json(), allow_nan=False))).loss == last.loss


def test_a_protocol_may_be_given_by_name() -> None:
    shipped = train(tiny_net(), tiny_data(), load_protocol("digits-short", overrides={"epochs": 0}), session=QUIET)
    with pytest.raises(ReconvError, match=r"protocol: 'shrot' is not known; did you mean .*short"):
        train(tiny_net(), tiny_data(), "shrot", session=QUIET)
    assert shipped.history == ()


def test_images_alone_are_not_trained_on() -> None:
    with pytest.raises(DataError, match="images without labels"):
        train(tiny_net(), torch.zeros(4, 1, 6, 6), protocol(), session=QUIET)
