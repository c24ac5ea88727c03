"""Latency in the runtime of deployment: which runtimes there are, what they say, and how they fail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reconv
from reconv.budget import LatencyConfig
from reconv.compression import Compression
from reconv.deploy import Runtime, TimedNetwork, latencies_in, quantize, read_onnx, runtime_named, runtime_timer
from reconv.deploy.onnx_layers import module_of
from reconv.errors import ConfigError, ExportError, UnknownNameError
from reconv.report import render
from reconv.select import choose_channels

pytestmark = pytest.mark.usefixtures("own_registries")

NET = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)).eval()
EXAMPLE = torch.zeros(1, 3, 8, 8)


def by_weights(network: TimedNetwork) -> Any:
    """A runtime that takes a millisecond for a thousand weights and image."""
    weights = sum(parameter.numel() for parameter in network.model.parameters())
    return lambda: network.batch * weights / 1000


def program(folder: Path, body: str) -> str:
    script = folder / "phone.py"
    script.write_text(body)
    return f"command:{sys.executable} {script}"


def with_file(content: bytes = b"onnx") -> TimedNetwork:
    return TimedNetwork(NET, torch.zeros(4, 3, 8, 8), 1, file=content)


def test_a_runtime_of_ones_own_decides_a_budget_and_the_plan_names_it() -> None:
    reconv.register(Runtime("scales", "by weights", by_weights))
    graph = reconv.trace(NET, EXAMPLE)
    asked = Compression(budget=reconv.Budget(latency=0.7), timing=LatencyConfig(("scales",), threads=3, batch=5))
    plan = choose_channels(graph, reconv.score(graph, "l1"), asked)
    small = reconv.prune(NET, plan)
    whole, left = (sum(parameter.numel() for parameter in net.parameters()) for net in (NET, small))
    assert plan.latency == pytest.approx((5 * whole, 5 * left))
    assert left <= 1.03 * 0.7 * whole
    assert "latency measured interleaved by scales, 3 threads, batch of 5" in str(plan)


def test_a_fast_network_is_timed_for_as_long_as_a_slow_one() -> None:
    """What disturbs passes lasts longer than 200 short ones; 3 seconds hold more."""
    passes = []
    reconv.register(Runtime("sprinter", "", lambda _: lambda: passes.append(0) or 1e-3))
    runtime_timer("sprinter").pair(NET, NET, EXAMPLE)
    assert len(passes) > 2 * 1000


def test_a_compression_with_a_runtime_is_read_back_from_a_file() -> None:
    asked = Compression(timing=LatencyConfig(("onnxruntime", "openvino"), threads=1))
    assert Compression.from_mapping(asked.to_mapping()) == asked
    assert asked.timing.of_budget == "onnxruntime"
    assert LatencyConfig().of_budget == "torch"
    with pytest.raises(ConfigError, match="latency threads: 0; give"):
        LatencyConfig(threads=0)


def test_pytorch_is_timed_with_its_threads_and_its_mode_as_they_were() -> None:
    threads = torch.get_num_threads()
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before, after = runtime_timer("torch", threads=threads + 1, batch=2).pair(net, net, EXAMPLE)
    assert before > 0 < after
    assert torch.get_num_threads() == threads
    assert net.training


def test_a_program_gets_the_file_and_the_batch_and_its_last_line_counts(tmp_path: Path) -> None:
    name = program(
        tmp_path, "import sys\nprint('warming up')\nprint(len(open(sys.argv[1], 'rb').read()) * int(sys.argv[2]))\n"
    )
    (latency,) = latencies_in(name, [with_file(b"12345")], seconds=0)
    assert latency.median == pytest.approx(0.020)
    assert latency.batch == 4


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_program_of_the_docs_reads_what_its_tool_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text(encoding="utf-8")
    body = page[page.index("#!/bin/sh") :].split("```")[0]
    printed = "First inference time cost: 20 ms\\nAverage inference time cost: 12.5 ms\\nRuns:20\\n"
    adb = f"#!/bin/sh\n[ $1 = push ] && [ -f $2 ] || {{ echo $@ > {tmp_path}/asked; printf '{printed}'; }}\n"
    for name, text in (("adb", adb), ("phone", body)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (latency,) = latencies_in(f"command:{tmp_path / 'phone'}", [with_file()], seconds=0)
    assert latency.median == pytest.approx(0.0125)
    assert "batch:4" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("print('fast')", "printed 'fast'; its last line has to be the milliseconds of a pass"),
        ("", "printed ''"),
        ("print('nan')", "printed 'nan'"),
        ("print(-3)", "printed '-3'"),
        ("import sys; sys.exit('no phone\\nis plugged in')", r"failed with exit code 1 \(no phone\)"),
    ],
)
def test_a_program_that_fails_is_one_line(body: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=text) as caught:
        latencies_in(program(tmp_path, body), [with_file()], seconds=0)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconv.deploy.runtimes.PROGRAM_SECONDS", 0.2)
    with pytest.raises(ExportError, match="took more than 0 s"):
        latencies_in(program(tmp_path, "import time; time.sleep(60)"), [with_file()], seconds=0)


def test_names_of_runtimes() -> None:
    assert runtime_named("ort")[0].name == "onnxruntime"
    assert runtime_named("command:./phone --cores 2")[1] == "./phone --cores 2"
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        runtime_named("onnx-runtime-x")
    with pytest.raises(ConfigError, match="give command:PROGRAM"):
        runtime_named("command")
    with pytest.raises(ConfigError, match="give torch"):
        runtime_named("torch:fast")
    with pytest.raises(ConfigError, match=r"cannot be started \(No such file"):
        latencies_in("command:/no/such/program", [with_file()], seconds=0)
    reconv.register(Runtime("absent", "", by_weights, packages=("a_package_that_is_not_there",), extra="onnx"))
    with pytest.raises(ConfigError, match=r"runtime: absent: needs a_package.*pip install 'reconv\[onnx\]'"):
        reconv.compress(NET, None, Compression(timing=LatencyConfig(("torch", "absent"))), example=EXAMPLE)
    with pytest.raises(ConfigError, match="torch runs no ONNX file"):
        latencies_in("torch", [with_file()], seconds=0)


@pytest.mark.parametrize(
    ("scope", "module"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"),
        ("/layer1/layer1.0/relu_1/Relu", "layer1.0.relu"),
        ("/layer1/layer1.0/Add", "layer1.0"),
        ("/Flatten", ""),
        ("Conv_17", ""),
    ],
)
def test_the_name_of_a_node_tells_its_module(scope: str, module: str) -> None:
    modules = {"", "layer1", "layer1.0", "layer1.0.conv1", "layer1.0.relu", "features", "features.1"}
    assert module_of(scope, modules | {"features.1.conv", "features.1.conv.0", "features.1.conv.0.0"}) == module


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_layers_and_passes_in_a_runtime(runtime: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(runtime)
    timer = runtime_timer(runtime, threads=1)
    wide = nn.Sequential(nn.Conv2d(3, 256, 3), nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, 256, 3)).eval()
    example = torch.zeros(1, 3, 32, 32)
    before, after = timer.pair(wide, NET, example)
    assert before > 10 * after
    seconds = timer.modules(wide, example)
    assert min(seconds[""]) > 0 if set(seconds) == {""} else min(seconds["3"]) > min(seconds["0"]) > 0


def test_a_report_says_which_runtime_the_budget_refers_to(tmp_path: Path) -> None:
    reconv.register(Runtime("scales", "by weights", by_weights))
    reconv.register(Runtime("abacus", "by weights too", by_weights))
    reconv.register(Runtime("broken", "", lambda network: 1 / 0))  # type: ignore[arg-type,return-value]
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    runtimes = LatencyConfig(("scales", "abacus", "broken"), threads=2)
    asked = Compression(budget=reconv.Budget(latency=0.7), timing=runtimes, after=(reconv.Repair(images=20),))
    result = reconv.compress(net, torch.randn(40, 3, 8, 8), asked)
    facts = result.report(tmp_path / "report.html")
    assert [(row.runtime, row.is_budget, row.threads) for row in facts.runtimes] == [
        ("scales", True, 2),
        ("abacus", False, 2),
    ]
    for row in facts.runtimes:
        ratio = row.networks["after"].median / row.networks["before"].median
        assert ratio == pytest.approx(result.plan.params[1] / result.plan.params[0])
    page = (tmp_path / "report.html").read_text()
    assert "scales, 2 threads, 1 image per pass (the budget refers to this runtime)" in page
    assert any("broken cannot run this network" in note for note in facts.notes)


@pytest.mark.slow
def test_a_network_is_quantized_after_pruning_and_tested_on_the_same_images(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    files = reconv.Export(str(tmp_path / "net.onnx")), reconv.Quantize(path=str(tmp_path / "q.onnx"))
    asked = Compression(budget=reconv.Budget(macs=0.8), after=(reconv.Finetune("short", epochs=3), *files))
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))
    result = reconv.compress(nn.Sequential(net, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)), "digits", asked)
    facts = result.facts()
    assert [(file.precision, file.images) for file in facts.exported] == [("float32", 64), ("int8", 1000)]
    assert facts.exported[0].error < 1e-4
    assert facts.exported[1].agreement is not None
    assert facts.exported[1].agreement > 0.9
    before, after, int8 = facts.accuracies
    assert before.low <= before.accuracy <= before.high
    assert abs(after.accuracy - int8.accuracy) < 0.05
    (row,) = facts.runtimes
    assert (row.runtime, list(row.networks)) == ("onnxruntime", ["before", "after", "after, int8"])
    assert "Where it runs" in render(facts)


@pytest.mark.slow
def test_the_mean_of_what_int8_computes_is_the_float_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(256, 6)).eval()
    images = torch.randn(128, 3, 8, 8)
    with torch.no_grad():
        expected = net(images).mean(0)

    def shift(path: Path) -> float:
        quantize(net, path, example=images[:1], images=images)
        (output,) = read_onnx(path)(images)
        return float((output.mean(0) - expected).abs().max() / expected.abs().max())

    corrected = shift(tmp_path / "corrected.onnx")
    monkeypatch.setattr("reconv.deploy.int8.correct_means", lambda *_: 0)
    assert corrected < 0.3 * shift(tmp_path / "rounded.onnx")


@pytest.mark.slow
def test_a_share_of_agreement_refuses(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = nn.Sequential(NET, nn.Flatten(), nn.Linear(512, 3))
    with pytest.raises(ExportError, match=r"of 8 predictions stay the same, and at least 200.00% have to"):
        quantize(net, tmp_path / "q.onnx", example=EXAMPLE, images=torch.randn(8, 3, 8, 8), min_agreement=2)
    assert not list(tmp_path.iterdir())
