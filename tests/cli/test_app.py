"""Help, version and completion answer at once; errors are one line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from cli_call import Call

from reconv import __version__, register, registry
from reconv.cli.app import SUBCOMMANDS, build_app
from reconv.cli.first_line import about_how_long
from reconv.cli.listed import OTHERS, listed
from reconv.cli.spelling import NAMES
from reconv.registry import KINDS
from reconv.saliency import Criterion

_ALONE = """
import sys, time
from reconv.cli.app import main
try:
    code = main({words!r})
except SystemExit as end:
    code = end.code or 0
heavy = {{"torch", "numpy", "jinja2", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
assert time.process_time() < 1.5, time.process_time()
sys.exit(code)
"""

_MODULE = """
import runpy, sys
sys.argv = ["reconv", {word!r}]
try:
    runpy.run_module("reconv", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
assert "numpy" not in sys.modules
"""


_LISTS = """
import sys
from reconv.cli.app import main
for words in {commands!r}:
    assert main(words) == 0, words
assert not {{"torch", "numpy"}} & set(sys.modules)
from reconv.cli.listed import KINDS, OTHERS, listed, registered
for kind in (*KINDS, *OTHERS):
    assert listed(kind) == registered(kind), kind + ": run `python -m reconv.cli.listed`"
"""


def _alone(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _ALONE.format(words=list(words))],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


def test_no_word_of_an_options_help_is_lost(reconv: Call) -> None:
    group: Any = typer.main.get_command(build_app())
    for name, command in group.commands.items():
        shown = "".join(reconv(name, "--help-all").out.split())
        for option in command.params:
            assert option.hidden or "".join(option.help.split()) in shown, (name, option.name)


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["run", "--help"], ["saliency", "-h"]])
def test_answers_without_torch(words: list[str]) -> None:
    done = _alone(*words)
    assert done.returncode == 0, done.stderr
    assert "reconv" in done.stdout
    assert done.stderr == ""


def test_lists_need_no_torch_and_are_what_is_registered() -> None:
    lists = [["list", kind] for kind in (*KINDS, *OTHERS)]
    program = _LISTS.format(commands=[["list"], *lists, ["protocols"], ["list", "protocols", "short"]])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "He et al., CVPR 2019" in done.stdout
    assert 'schedule = "cosine"' in done.stdout


def test_what_an_extension_adds_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = Criterion("listed_peak", "largest weight", of_layer=lambda layer: layer.filters.abs().amax(1))
    point = SimpleNamespace(name="mine", value="mine:add", load=lambda: lambda: register(peak), dist=None)
    assert "listed_peak" not in [row[0] for row in listed("criteria")[1]]
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.load_extensions.cache_clear()
    try:
        assert ("listed_peak", "largest weight") in [row[:2] for row in listed("criteria")[1]]
    finally:
        Criterion.registry._items.pop("listed_peak", None)
        registry.load_extensions.cache_clear()


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_the_module_loads_no_more_than_the_script(word: str) -> None:
    code = _MODULE.format(word=word)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "reconv" in done.stdout


def test_completion_offers_commands_options_and_names_without_torch() -> None:
    for typed, offered in (
        ("reconv sal", "saliency"),
        ("reconv run --bud", "--budget"),
        ("reconv prune --criterion nu", "nuclear"),
        ("reconv run --model resnet5", "resnet56"),
        ("reconv run resnet5", "resnet56"),
        ("reconv run --scheme kn", "knapsack"),
    ):
        done = _alone(_RECONV_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1))
        assert offered in done.stdout, (typed, done.stdout, done.stderr)


def test_version(reconv: Call) -> None:
    assert reconv("--version").out == f"reconv {__version__}\n"


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_shows_runnable_examples(name: str, reconv: Call) -> None:
    answer = reconv(name, "--help")
    assert answer.code == 0
    assert "Examples" in answer.out
    group: Any = typer.main.get_command(build_app())
    for example in SUBCOMMANDS[name].EXAMPLES:
        program, command, *words = shlex.split(example)
        assert (program, command) == ("reconv", name)
        group.commands[name].make_context(name, words)  # a UsageError if an option or value is wrong


def test_names_offered_are_names_known() -> None:
    from reconv.data import data_set_names
    from reconv.saliency import criterion_named
    from reconv.training import load_protocol
    from reconv.zoo import canonical_name

    assert set(NAMES["data_set"]) == set(data_set_names())
    for criterion in NAMES["criterion"]:
        assert criterion_named(criterion).name == criterion
    for model in NAMES["model"]:
        canonical_name(model)
    for protocol in NAMES["protocol"]:
        load_protocol(protocol, "cifar10")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nonsense"], "nonsense"),
        (["run", "--nonsense"], "--nonsense"),
        (["run", "--epochs", "many"], "many"),
        (["prune"], "model"),
        (["evaluate"], "model"),
    ],
)
def test_usage_errors_are_one_line(words: list[str], text: str, reconv: Call) -> None:
    answer = reconv(*words)
    assert answer.code == 2
    assert answer.err.startswith("error: reconv")
    assert answer.err.count("\n") == 1
    assert text in answer.err
    assert "--help" in answer.err


def test_debug_shows_the_traceback(reconv: Call) -> None:
    from reconv.errors import UnknownNameError

    with pytest.raises(UnknownNameError):
        reconv("profile", "--model", "resnet57", "--debug")


def test_a_fault_of_ours_keeps_its_traceback(reconv: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconv.runs.runner.trace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reconv("run", "--base-epochs", "1")


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("run", [], "reconv run --save-path runs/resnet20-digits-nuclear --resume"),
        ("run", ["--save-path", "my folder", "--overwrite"], "reconv run --save-path 'my folder' --resume"),
        ("run", ["-o", "p", "--resume"], "reconv run -o p --resume\n"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    command: str, words: list[str], expected: str, reconv: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reconv.runs.run", interrupted)
    answer = reconv(command, *words)
    assert answer.code == 130
    assert answer.err.count("\n") == 1
    assert expected in answer.err


def test_ctrl_c_where_nothing_can_go_on(reconv: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reconv.cli.network.traced", interrupted)
    answer = reconv("profile", "--model", "resnet20")
    assert answer.code == 130
    assert answer.err == "Interrupted. Start again with: reconv profile --model resnet20\n"


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_fits_on_two_screens(name: str, reconv: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = reconv(name, "--help").out.splitlines()
    assert len(lines) <= 80
    assert lines.index("Examples:") < 12
    if name in ("run", "prune"):
        assert any("my_net.py:MyNet" in line for line in lines)


def test_a_run_says_first_what_it_will_do_and_loads_pytorch_after(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "my_net.py:MyNet", "--budget", "macs=40%", "-c", "l1", "-o", "P"]
    script = f"""
import sys
sys.stderr.isatty = lambda: True
class Said(Exception): pass
class Refuse:
    def find_spec(self, name, *rest):
        if name == "torch": raise Said
sys.meta_path.insert(0, Refuse())
from reconv.cli.app import main
try: main({words!r})
except Said: pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    first = " ".join(done.stderr.split("\n\n")[0].split())
    assert first == "my_net.py:MyNet on digits: train if it must be, prune to macs=40% by l1 -> P; about a minute"
    assert max(map(len, done.stderr.splitlines())) <= 80


def test_the_first_line_says_how_long_the_last_such_run_took(tmp_path: Path) -> None:
    assert about_how_long("resnet20", "CIFAR10", trains=False, runs=tmp_path) == "some minutes"
    assert "each epoch" in about_how_long("resnet20", "CIFAR10", trains=True, runs=tmp_path)
    for name, text in (
        ("damaged", "{"),
        ("other", "[]"),
        ("r", '{"title": "resnet20 on CIFAR10", "stages": [{"seconds": 90}, {"seconds": 31}]}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    assert about_how_long("resnet20", "CIFAR10", trains=True, runs=tmp_path) == "the last such run took 2 min"
    assert about_how_long("resnet56", "digits", trains=True, runs=tmp_path) == "about a minute"
