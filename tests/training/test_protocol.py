"""Protocols: the paper's to the number, every key checked, the learning rate a function of the step."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from reconv.errors import ArtifactError, ConfigError, UnknownNameError
from reconv.training import Protocol, load_protocol, parse_overrides, protocol_names, protocol_text
from reconv.training.schedule import learning_rate


def test_the_papers_protocols_are_the_papers() -> None:
    base, cifar, imagenet = (load_protocol(name) for name in ("paper-base", "paper-cifar", "paper-imagenet"))
    common = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "label_smoothing": 0.0, "warmup_epochs": 0.0}
    for protocol in (base, cifar, imagenet):
        assert {key: getattr(protocol, key) for key in common} == common
        assert protocol.decay_all
    assert (base.epochs, base.learning_rate, base.batch_size, base.weight_decay) == (200, 0.1, 128, 5e-4)
    assert (base.milestones, base.gamma) == ((60, 120, 160), 0.2)
    assert (cifar.epochs, cifar.learning_rate, cifar.milestones, cifar.gamma) == (80, 1e-3, (20, 40), 0.1)
    assert (imagenet.epochs, imagenet.batch_size, imagenet.weight_decay) == (30, 256, 1e-4)
    for protocol in (base, cifar):
        assert (protocol.padding, protocol.flip) == (4, True)


def test_every_protocol_of_the_package_can_be_read_and_says_what_it_is() -> None:
    assert {"paper-cifar", "paper-imagenet", "paper-base", "modern", "short", "digits"} <= set(protocol_names())
    for name in protocol_names():
        protocol = load_protocol(name)
        assert protocol.name == name
        assert protocol.description


@pytest.mark.parametrize(
    ("name", "data_set", "expected"),
    [
        ("paper", "cifar10", "paper-cifar"),
        ("PAPER", "imagenet", "paper-imagenet"),
        ("paper", "", "paper-cifar"),
        ("default", "digits", "digits"),
        ("default", "cifar100", "paper-base"),
        ("default-finetune", "Digits", "digits-finetune"),
        ("default-finetune", "imagenet", "paper-imagenet"),
        ("default-finetune", "my/photographs", "paper-imagenet"),
        ("paper", "flowers", "paper-imagenet"),
        ("paper", "CIFAR-100", "paper-cifar"),
        ("default-finetune", "CIFAR_10", "paper-cifar"),
        ("default-between", "digits", "digits-short"),
        ("default-between", "cifar10", "short"),
    ],
)
def test_names_that_depend_on_the_data_set(name: str, data_set: str, expected: str) -> None:
    assert load_protocol(name, data_set).name == expected


def test_keys_are_overridden_and_whole_numbers_are_numbers() -> None:
    protocol = load_protocol("paper", overrides={"epochs": 3, "learning_rate": 1, "milestones": [1, 2]})
    assert (protocol.epochs, protocol.learning_rate, protocol.milestones) == (3, 1.0, (1.0, 2.0))
    assert isinstance(protocol.learning_rate, float)
    assert protocol.weight_decay == 5e-4


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 1\nlearning_rate = 0.5\nschedule = "cosine"\n')
    assert load_protocol(str(path)) == Protocol(epochs=1, learning_rate=0.5, name="mine", schedule="cosine")
    path.write_text("epochs = 1\n")
    with pytest.raises(ConfigError, match="protocol mine: no learning_rate; give a number"):
        load_protocol(str(path))
    path.write_text("epochs = = 1\n")
    with pytest.raises(ArtifactError, match=r"not TOML.*line 1"):
        load_protocol(str(path))
    with pytest.raises(ArtifactError, match="does not exist"):
        load_protocol(str(tmp_path / "none.toml"))


def test_unknown_names_and_keys_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="protocol: 'modren' is not known; did you mean modern"):
        load_protocol("modren")
    with pytest.raises(
        UnknownNameError, match="protocol modern: key: 'learnign_rate' is not known; did you mean learning_rate"
    ):
        load_protocol("modern", overrides={"learnign_rate": 1})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", -1, "a finite number, 0 or more"),
        ("epochs", 1.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("learning_rate", 0, "more than 0"),
        ("learning_rate", math.nan, "a finite number"),
        ("learning_rate", math.inf, "more than 0"),
        ("learning_rate", "fast", "a number"),
        ("batch_size", 0, "1 or more"),
        ("milestones", [3, 2], "increasing numbers of epochs"),
        ("milestones", 3, "a list"),
        ("momentum", 1.0, r"a fraction in \[0, 1\)"),
        ("label_smoothing", -0.1, "a fraction"),
        ("flip", 1, "true or false"),
        ("distillation", 1.1, r"a fraction in \[0, 1\]"),
    ],
)
def test_values_out_of_range_or_of_another_kind_are_refused(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"protocol modern: {key} = .*; give .*{expected}"):
        load_protocol("modern", overrides={key: value})
    with pytest.raises(ConfigError, match=f"protocol mine: {key} = "):
        Protocol(**{"name": "mine", "epochs": 1, "learning_rate": 0.1, key: value})


@pytest.mark.parametrize(("key", "value"), [("optimizer", "adam"), ("schedule", "linear"), ("precision", "fp8")])
def test_words_that_are_none_of_a_key_are_refused(key: str, value: str) -> None:
    with pytest.raises(UnknownNameError, match=f"protocol modern: {key}: '{value}' is not known"):
        load_protocol("modern", overrides={key: value})


def test_a_protocol_survives_json() -> None:
    for name in protocol_names():
        protocol = load_protocol(name)
        assert Protocol(**protocol.to_json()) == protocol
        assert set(protocol.to_json()) == {field.name for field in fields(Protocol)}


def test_the_step_schedule_changes_after_whole_epochs() -> None:
    protocol = load_protocol("paper-base")
    rates = [learning_rate(protocol, step, 10) for step in (0, 599, 600, 1199, 1200, 1599, 1600, 1999)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_the_cosine_starts_at_the_top_and_ends_near_zero() -> None:
    protocol = Protocol(epochs=10, learning_rate=2.0, schedule="cosine", warmup_epochs=2)
    rates = [learning_rate(protocol, step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[30] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_a_constant_rate_is_constant() -> None:
    protocol = Protocol(epochs=2, learning_rate=0.3)
    assert {learning_rate(protocol, step, 5) for step in range(10)} == {0.3}


def test_the_text_of_a_protocol_is_a_file_of_ones_own(tmp_path: Path) -> None:
    for name in protocol_names():
        (tmp_path / f"{name}.toml").write_text(protocol_text(name))
        assert load_protocol(str(tmp_path / f"{name}.toml")) == load_protocol(name)
    assert protocol_text("paper", "imagenet") == protocol_text("paper-imagenet")
    with pytest.raises(UnknownNameError, match="'modrn' is not known; did you mean modern"):
        protocol_text("modrn")


def test_keys_are_set_by_text_as_toml_has_it() -> None:
    texts = ["epochs=3", "flip=true", "milestones=[1, 2]", "schedule=step", "weight-decay = 1e-4", "precision='bf16'"]
    changed = load_protocol("modern", overrides=parse_overrides(texts))
    assert (changed.epochs, changed.flip, changed.milestones, changed.schedule) == (3, True, (1.0, 2.0), "step")
    assert (changed.weight_decay, changed.precision) == (1e-4, "bf16")


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        (["epochs"], ConfigError, "protocol key 'epochs': no value; write key=value, such as learning_rate=0.01"),
        (["epochs="], ConfigError, "no value"),
        (["epochs=1", "epochs=2"], ConfigError, "protocol key epochs: given twice"),
        (["epoch=1"], UnknownNameError, "protocol key: 'epoch' is not known; did you mean epochs"),
    ],
)
def test_texts_that_set_nothing_are_refused(texts: list[str], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        parse_overrides(texts)
