"""The report is one file that asks nothing of anyone, and shows what it was given."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import run_facts, study_facts, study_series
from PIL import Image

import reconv
from reconv.cost import Latency
from reconv.errors import ReconvError
from reconv.files import write_json
from reconv.mappings import from_mapping
from reconv.report import (
    Curve,
    Figure,
    LayerFacts,
    LayerTime,
    Measures,
    Picture,
    Plot,
    Point,
    Row,
    RunFacts,
    RuntimeLatency,
    Series,
    UnprunedGroup,
    numbers,
    plots,
    render,
    render_multiples,
    render_plot,
    render_study,
)
from reconv.report.figures import latency, layer_times, network, training
from reconv.report.headline import headline
from reconv.report.images import data_uri
from reconv.report.score_bars import score_bars
from reconv.report.study_facts import Matrix
from reconv.results import measure
from reconv.study.kept_facts import keep_facts
from reconv.training.predictions import Predictions


def _layer(name: str, channels: int, kept: int) -> LayerFacts:
    scores = tuple(1.0 + math.sin(7.0 * i) for i in range(channels))
    best = set(sorted(range(channels), key=lambda i: -scores[i])[:kept])
    return LayerFacts(name, "3x3 on 32x32", channels, kept, scores, tuple(i in best for i in range(channels)), "")


@pytest.fixture
def facts() -> RunFacts:
    before = Measures(0.99, 40_800_000, 272_474, 1_094_408, (Latency(1, 4e-3, 3.9e-3, 4.4e-3, 21),))
    after = Measures(0.985, 20_400_000, 140_000, 580_000, (Latency(1, 3e-3, 2.9e-3, 3.1e-3, 21),))
    return RunFacts(
        title="resnet20 on digits",
        settings={"criterion": "nuclear norm", "budget": "MACs to 50 %"},
        before=before,
        after=after,
        layers=tuple(_layer(f"layer{i // 6}.{i}.conv1", 16 << i // 6, 9 << i // 6) for i in range(18)),
        unpruned=(UnprunedGroup(("conv1", "layer1.0.conv2"), 16, "residual stream"),),
        curves=(Curve("Fine-tuning", "%", {"validation accuracy": (90.0, 95.0, 97.0)}),),
        stages=(Row("cut", 0.2, 0.5), Row("fine-tune", 30.0, 0.97)),
        command="reconv run",
        versions={"torch": "2"},
        hashes={"weights": "abc"},
    )


class _Wellformed(HTMLParser):
    void = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.requests: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        self.requests += [
            (name, value)
            for name, value in attrs
            if name in ("src", "href", "srcset", "data", "action", "xlink:href") and not (value or "").startswith("#")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_self_contained_and_well_formed(facts: RunFacts) -> None:
    page = render(facts)
    parser = _Wellformed()
    parser.feed(page)
    assert parser.open == []
    assert parser.requests == []
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_everything_given_is_escaped(facts: RunFacts) -> None:
    evil = "<script>alert(1)</script>&\"'"
    layer = replace(facts.layers[0], name=evil, geometry=evil, note=evil)
    page = render(
        replace(
            facts,
            title=evil,
            layers=(layer,),
            unpruned=(UnprunedGroup((evil,), 1, evil),),
            settings={evil: evil},
            command=evil,
            stages=(Row(evil, 1.0, None, evil),),
            curves=(Curve(evil, evil, {evil: (1.0,)}),),
            notes=(evil,),
        )
    )
    assert "<script" not in page
    parser = _Wellformed()
    parser.feed(page)
    assert parser.open == []


def test_says_what_came_out(facts: RunFacts) -> None:
    page = render(facts)
    for text in ("40.8 M", "20.4 M", "2.00× fewer MACs", "99.00 %", "98.50 %", "4 ms", "residual stream", "reconv run"):
        assert text in page
    assert "not measured" in render(replace(facts, after=replace(facts.after, accuracy=None)))


def test_large_network_stays_under_two_megabytes(facts: RunFacts) -> None:
    layers = tuple(_layer(f"layer3.{i}.conv2", 1024, 512) for i in range(60))
    assert len(render(replace(facts, layers=layers)).encode()) < 2_000_000


def test_a_run_without_training_or_latency_has_a_report(facts: RunFacts) -> None:
    bare = replace(
        facts,
        before=replace(facts.before, latency=(), accuracy=None),
        after=replace(facts.after, latency=(), accuracy=None),
        curves=(),
        stages=(),
        unpruned=(),
    )
    assert "<h2>Latency</h2>" not in render(bare)


def test_bars_draw_each_channel_once_and_the_cut_between() -> None:
    layer = LayerFacts("conv", "", 4, 2, (1.0, 4.0, 3.0, 2.0), (False, True, True, False))
    bars = score_bars(layer, width=400)
    assert bars.kept.count("M") == 2
    assert bars.removed.count("M") == 2
    assert bars.threshold == 200
    mixed = replace(layer, kept=(True, False, True, False))
    assert score_bars(mixed, width=400).threshold is None


def test_bars_of_a_dead_layer_are_finite() -> None:
    bars = score_bars(LayerFacts("conv", "", 2, 1, (0.0, 0.0), (True, False)))
    assert not re.search("nan|inf", bars.kept + bars.removed)


@pytest.mark.parametrize("values", [(1.0,), (2.0, 2.0), (float("nan"), 1.0, 3.0), ()])
def test_line_charts_of_any_length_are_finite(values: tuple[float, ...]) -> None:
    drawn = training.line_chart(Curve("t", "u", {"line": values}))
    assert not re.search("nan|inf", str(drawn))


def test_labels_of_lines_that_end_together_do_not_overlap() -> None:
    values = {"training": (1.0, 2.0), "validation": (3.0, 2.01), "other": (0.0, 1.99)}
    places = sorted(line.label_y for line in training.line_chart(Curve("t", "u", values)).lines)
    assert all(b - a >= 18 for a, b in pairwise(places))


@pytest.mark.parametrize("ends", [(0, 0), (0, 0, 0), (5, 5, 5), (0, 5, 5), (2, 2, 2)])
def test_labels_of_lines_stay_beside_the_picture(ends: tuple[float, ...]) -> None:
    values = {str(i): (float(i % 2) * 5, float(end)) for i, end in enumerate(ends)}
    drawn = training.line_chart(Curve("t", "u", values))
    assert all(0 <= line.label_y <= drawn.y.start for line in drawn.lines)


def test_a_value_far_above_the_others_does_not_flatten_them() -> None:
    steady = tuple(1.0 + 0.1 * i for i in range(19))
    spiked = training.line_chart(Curve("t", "u", {"loss": (100.0, *steady)}))
    assert spiked.cut_off
    assert not training.line_chart(Curve("t", "u", {"loss": steady})).cut_off
    assert "-" not in spiked.lines[0].points  # nothing is drawn outside


@pytest.mark.parametrize(("before", "after"), [(0.9173, 0.8694), (0.5, 0.51), (0.0, 1.0), (0.98, 0.9800001)])
def test_a_difference_of_accuracies_has_its_sign(before: float, after: float) -> None:
    there, back = numbers.points(before, after), numbers.points(after, before)
    swapped = {"+": "−", "−": "+", "±": "±"}
    assert back == swapped[there[0]] + there[1:]
    shown = float(there.split()[0].replace("−", "-").lstrip("±"))
    assert shown == pytest.approx(100 * (after - before), abs=0.005)
    assert numbers.points(None, after) == numbers.points(before, None) == ""


@pytest.mark.parametrize("after", [0.9421, 0.99, 0.9973])
def test_the_accuracys_difference_is_told(facts: RunFacts, after: float) -> None:
    page = render(replace(facts, after=replace(facts.after, accuracy=after)))
    card = page.split("<h3>Top-1 accuracy</h3>")[1].split("</div></div>")[0]
    assert numbers.points(0.99, after) in card
    assert ("change bad" in card) == (after < 0.99)


def test_points_chosen_by_the_same_images_are_called_so(facts: RunFacts) -> None:
    assert "on these same images" in render(facts, (Series("best", (Point(50, 90),)),))
    assert "on these same images" not in render(facts)


def test_numbers_read_well() -> None:
    assert numbers.count(125_486_720) == "125.5 M"
    assert numbers.size(1_094_408) == "1.044 MiB"
    assert numbers.duration(0.00321) == "3.21 ms"
    assert numbers.duration(75) == "1 min 15 s"
    assert numbers.duration(36_000) == "10 h 0 min"
    assert [numbers.ratio(n, 1) for n in (2, 12.34, 123.4)] == ["2.00×", "12.3×", "123×"]
    assert numbers.ratio(12_345, 1) == "12,300×"
    assert [numbers.counted(n, "epoch") for n in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
    assert numbers.ticks(0, 1) == [0.0, 0.5, 1.0] or numbers.ticks(0, 1)[1] in (0.2, 0.25)
    assert all(90 <= t <= 97 for t in numbers.ticks(90, 97))


_SCALES = (
    (numbers.count, {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}, 4),
    (numbers.size, {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}, 4),
    (numbers.duration, {"µs": 1e-6, "ms": 1e-3, "s": 1}, 3),
)


@pytest.mark.parametrize(("written", "units", "digits"), _SCALES)
@pytest.mark.parametrize("off", [-1e-3, -4e-4, -4e-5, -1e-9, 0.0, 1e-9, 1e-3])
def test_no_number_reaches_the_next_unit_by_rounding(
    written: Callable[[float], str], units: dict[str, float], digits: int, off: float
) -> None:
    for step, larger in pairwise(units.values()):
        value = larger * (1 + off)
        number, _, unit = written(value).partition(" ")
        assert float(number) * units[unit] == pytest.approx(value, rel=10.0 ** (1 - digits))
        assert "e" not in number
        assert float(number) * units[unit] < larger or units[unit] == larger, (step, written(value))


def test_minutes_and_hours_are_whole() -> None:
    seconds = (59.94, 59.96, 3599.4, 3599.6, 7229, 7231)
    told = ["59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "2 h 0 min", "2 h 1 min"]
    assert [numbers.duration(s) for s in seconds] == told


def test_latency_is_of_what_computed_and_not_of_what_is_there(facts: RunFacts) -> None:
    there = replace(facts, versions={"accelerator": "A big GPU", "processor": "A CPU, 2 cores"})
    assert "interleaved in PyTorch on A CPU." in render(replace(there, device="A CPU"))
    told = there.to_json() | {"layers": []}
    del told["device"]  # as runs wrote it that did not keep it
    assert "measured interleaved in PyTorch." in render(from_mapping(RunFacts, told, "metrics.json", strict=False))


def test_latencies_are_drawn_to_one_scale() -> None:
    before, after = Latency(1, 4e-3, 3e-3, 8e-3, 21), Latency(1, 2e-3, 1e-3, 3e-3, 21)
    one, other = latency.spans(before, after, width=80)
    assert (one.low, one.median, one.high) == pytest.approx((30, 40, 80))
    assert (other.low, other.median, other.high) == pytest.approx((10, 20, 30))
    assert one.label_x > one.high
    assert latency.spans(Latency(1, 0, 0, 0, 1), Latency(1, 0, 0, 0, 1))[0].high == 0


def test_times_of_layers_are_drawn_to_the_slowest() -> None:
    times = [LayerTime("a", Latency(1, 1e-3, 0, 0, 1), Latency(1, 4e-3, 0, 0, 1))]
    bars = layer_times.time_bars(times, height=100)
    assert bars.top == 4e-3
    assert not bars.cut_off
    assert (bars.pairs[0].before, bars.pairs[0].after) == pytest.approx((25, 100))
    assert layer_times.time_bars([]) == layer_times.TimeBars([], 0.0)


def test_one_slow_layer_does_not_flatten_the_others() -> None:
    steady = [LayerTime(str(i), Latency(1, 1e-3, 0, 0, 9), Latency(1, 8e-4, 0, 0, 9)) for i in range(19)]
    slow = LayerTime("slow", Latency(1, 1.0, 0, 0, 9), Latency(1, 1e-3, 0, 0, 9))
    bars = layer_times.time_bars([*steady, slow], height=100)
    assert bars.pairs[0].before >= 25
    assert [pair.cut_off for pair in bars.pairs] == [False] * 19 + [True]
    assert all(0 <= pair.before <= 100 for pair in bars.pairs)
    for times, told in (([*steady, slow], True), (steady, False)):
        assert ("take longer" in render(replace(run_facts(), layer_times=tuple(times)))) is told


@pytest.mark.parametrize(("layers", "shown"), [(5, True), (18, True), (60, True), (61, False)])
def test_widths_stand_below_the_strip_where_there_is_room(layers: int, shown: bool) -> None:
    facts = replace(run_facts(), layers=tuple(_layer(f"conv{i}", 16, 9 if i % 2 else 16) for i in range(layers)))
    page = render(facts)
    assert page.count("<span>16→9</span>") == (layers // 2 if shown else 0)
    assert page.count("<span>16</span>") == (layers - layers // 2 if shown else 0)
    assert page.count('aria-label="conv1: 16 → 9 channels"') == 1  # always, for who does not see it


def test_no_cut_is_promised_where_none_is_drawn() -> None:
    clear, mixed = _layer("clear", 16, 9), replace(_layer("mixed", 4, 2), kept=(True, False, True, False))
    assert score_bars(mixed).threshold is None
    for layer, rounds, text in (
        (clear, (), None),
        (mixed, (), "channels were removed together with others"),
        (mixed, run_facts().rounds, "these are the scores of the first"),
    ):
        page = render(replace(run_facts(), layers=(layer,), rounds=rounds))
        assert ("No single threshold separates" in page) is (text is not None)
        assert text is None or text in page
        assert ('class="cut"' in page) is (text is None)


def test_tied_layers_are_drawn_together() -> None:
    tied = ("conv1", *(f"layer1.{i}.conv2" for i in range(9)))
    facts = replace(
        run_facts(), layers=(replace(_layer("a", 16, 9), tied=tied),), unpruned=(UnprunedGroup(tied, 16, "w"),)
    )
    assert render(facts).count("conv1, layer1.{0,1,2,3,4,5,6,7,8}.conv2") == 2


def test_a_layer_left_whole_has_one_color_everywhere() -> None:
    page = render(replace(run_facts(), layers=(_layer("whole", 16, 16),)))
    assert 'class="still bars"' in page
    assert 'class="kept bars"' not in page


def test_options_are_code_that_does_not_break(facts: RunFacts) -> None:
    page = render(replace(facts, notes=("use --coupled, or `x < y`; not a--b",), unpruned=()))
    assert 'use <code class="whole">--coupled</code>, or <code>x &lt; y</code>; not a--b' in page
    assert page.index("How to reproduce") < page.index("use <code")


def test_an_image_that_is_shown_is_the_one_that_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    before, after = (Predictions(torch.randn(30, 3, generator=generator).softmax(1), labels) for _ in range(2))
    order = measure.most_changed(before.probabilities, after.probabilities, 30)
    shown = [order[4], order[0]]
    pictures = {index: torch.full((1, 2, 2), index, dtype=torch.uint8) for index in shown}
    found = measure.tested("test", before, after, ("a", "b", "c"), pictures)
    assert [image.index for image in found.changed] == shown
    for image in found.changed:
        assert image.picture == data_uri(pictures[image.index])
        assert image.truth == "abc"[int(labels[image.index])]
        assert image.before == "abc"[int(before.predicted[image.index])]
        assert image.sure_after == pytest.approx(float(after.probabilities[image.index].max()))
    every = measure.tested("test", before, after, "abc", dict.fromkeys(order, pictures[shown[0]]))
    changed, same = (
        [image.distance for image in every.changed if (image.before != image.after) is changed]
        for changed in (True, False)
    )
    assert changed
    assert same
    assert [image.distance for image in every.changed] == [*sorted(changed)[::-1], *sorted(same)[::-1]]
    assert every.answers_changed == len(changed)
    shown = len(changed) + len(same)
    for part, title in (
        (
            every.changed,
            f"The {len(changed)} images whose prediction changed, and {len(same)} whose probabilities moved most",
        ),
        (every.changed[: len(changed)], f"The {len(changed)} images whose prediction changed most"),
        (
            every.changed[len(changed) :],
            f"No prediction changed; the {len(same)} images whose probabilities moved most",
        ),
    ):
        assert title in render(replace(run_facts(), tested=replace(every, changed=part)))


def _predictions(right: int) -> Predictions:
    """Of 100 images, the first are answered right."""
    labels = torch.zeros(100, dtype=torch.long)
    return Predictions(torch.nn.functional.one_hot((torch.arange(100) >= right).long(), 2).float(), labels)


@pytest.mark.parametrize(
    ("before", "after", "noise"), [(90, 70, False), (70, 90, False), (90, 89, True), (90, 90, True)]
)
def test_a_gain_has_its_interval_and_is_told_beyond_noise_only(before: int, after: int, noise: bool) -> None:
    found = measure.tested("test", _predictions(before), _predictions(after), "ab", {})
    assert found.gain is not None
    assert found.gain[0] <= (after - before) / 100 <= found.gain[1]
    assert found.is_noise is noise
    facts = run_facts()
    facts = replace(
        facts,
        tested=replace(found, changed=()),
        before=replace(facts.before, accuracy=before / 100),
        after=replace(facts.after, accuracy=after / 100),
    )
    card = render(facts).split("<h3>Top-1 accuracy</h3>")[1].split("</div></div>")[0]
    assert ("within noise" in card) is noise
    assert ('class="change noise"' in card) is noise
    assert not replace(found, gain=None).is_noise


def test_latency_within_noise_is_no_gain() -> None:
    facts = run_facts()
    for high, kind in ((3.5e-3, "good"), (3.9e-3, "noise")):  # the quartiles before begin at 3.88 ms
        after = replace(facts.after, latency=(Latency(1, 3e-3, 2.9e-3, high, 21), facts.after.latency[1]))
        card = render(replace(facts, after=after)).split("<h3>Latency, 1 image</h3>")[1].split("</div></div>")[0]
        assert f'class="change {kind}"' in card
        assert ("within noise" in card) is (kind == "noise")
        assert "1.33× faster" in card
        assert "busy" not in card


def test_a_busy_machine_is_told() -> None:
    facts = run_facts()
    for low, busy in ((1.6e-3, False), (1.4e-3, True)):
        after = replace(facts.after, latency=(Latency(1, 2e-3, low, 3e-3, 21), facts.after.latency[1]))
        assert ("the machine was busy" in render(replace(facts, after=after))) is busy


def test_validation_accuracies_say_of_how_many_images() -> None:
    page = render(run_facts())
    assert page.count("the validation split of 5,000 images") == 2  # of the rounds and of the stages
    assert "the validation split of" not in render(replace(run_facts(), validation_images=None))


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(4, 2, "2.00× fewer"), (2, 3, "1.50× more"), (3, 3, "the same"), (None, 3, ""), (3, None, ""), (0, 3, "")],
)
def test_times_say_which_way(before: float | None, after: float | None, text: str) -> None:
    assert numbers.times(before, after, "fewer", "more") == text


def test_a_curve_of_one_epoch_is_a_sentence() -> None:
    curves = (Curve("short: loss", "nats", {"training": (0.5,), "validation": (0.25,)}),)
    page = render(replace(run_facts(), curves=curves))
    assert "short: loss after its one epoch: training 0.5 nats, validation 0.25 nats." in page
    assert 'aria-label="short: loss"' not in page


def test_a_runs_points_are_labelled_outlines() -> None:
    page = render(run_facts(), study_series())
    assert 'class="c9 strong hollow"' in page
    for label in ("after 98.50 %", "before 99.00 %"):
        assert f">{label}</text>" in page


def test_the_first_line_says_how_much_faster_and_what_it_cost() -> None:
    facts = run_facts()
    assert headline(facts) == "1.50× faster at 64 images, 2.00× fewer MACs; top-1 accuracy 99.00 % → 98.50 %."
    noisy = tuple(replace(one, low=0.1 * one.low, high=10 * one.high) for one in facts.after.latency)
    same = replace(facts, after=replace(facts.after, latency=noisy))
    assert headline(same).startswith("No faster beyond noise, 2.00× fewer MACs")
    slower = replace(facts, before=facts.after, after=facts.before)
    assert headline(slower).startswith("1.33× slower at 1 image, 2.00× more MACs")
    unmeasured = replace(facts, before=Measures(None, 200, 9), after=Measures(None, 100, 5))
    assert headline(unmeasured) == "2.00× fewer MACs."
    times = {"before": Latency(4, 3e-3, 3e-3, 3e-3, 9), "after": Latency(4, 1e-3, 1e-3, 1e-3, 9)}
    deployed = replace(facts, runtimes=(RuntimeLatency("openvino", 1, True, times),))
    assert headline(deployed).startswith("3.00× faster in openvino at 4 images, 2.00× fewer MACs")


def test_how_to_use_it_names_the_saved_network() -> None:
    assert "<h2>Use it</h2>" not in render(run_facts())
    page = render(replace(run_facts(), folder="runs/my net"))
    assert "reconv.load(&#34;runs/my net/model&#34;)" in page
    assert "reconv compare &#39;runs/my net/base&#39; &#39;runs/my net/model&#39;" in page


def test_pictures_are_pngs_of_their_pixels() -> None:
    for channels in (1, 3):
        pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
        read = torch.from_numpy(np.array(_decoded(data_uri(pixels))))
        assert torch.equal(read.reshape(5, 7, channels).permute(2, 0, 1), pixels)
    assert _decoded(data_uri(torch.zeros(3, 300, 150, dtype=torch.uint8))).size == (48, 96)


def _decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))


@pytest.mark.usefixtures("own_registries")
def test_a_registered_figure_has_its_section_and_replaces_a_built_in_one_of_its_name() -> None:
    def kept(facts: RunFacts) -> Iterator[Picture]:
        yield Picture(f'<svg id="mine"><title>{len(facts.layers)} layers</title></svg>', "Sum < total.")

    assert "One column per layer" in render(run_facts())
    reconv.register(Figure("mine", "Kept channels", kept))
    reconv.register(Figure("network", "", lambda facts: ()))
    page = render(run_facts())
    assert "<h2>Kept channels</h2>" in page
    assert '<svg id="mine"><title>18 layers</title></svg>' in page
    assert "Sum &lt; total." in page
    assert "One column per layer" not in page


def test_facts_go_through_json() -> None:
    facts = run_facts()
    told = json.loads(json.dumps(facts.to_json()))
    again = from_mapping(RunFacts, told | {"layers": []}, "metrics.json", strict=False)
    assert replace(again, layers=facts.layers) == facts
    with pytest.raises(ReconvError, match=r"metrics\.json"):
        from_mapping(RunFacts, {"title": "x"}, "metrics.json", strict=False)
    with pytest.raises(ReconvError, match=r"metrics\.json"):
        from_mapping(RunFacts, told | {"layers": [], "before": 3}, "metrics.json", strict=False)


def test_a_column_has_all_its_channels_and_kept_ones_below() -> None:
    upside_down = LayerFacts("d", "", 4, 2, (4.0, 3.0, 2.0, 1.0), (False, True, False, True))
    layers = [_layer("a", 16, 9), _layer("b", 64, 64), LayerFacts("c", "", 8, 2), upside_down]
    for column in network.columns(layers):
        heights = {
            kind: sum(run.height for run in column.blocks if run.kind == kind) for kind in ("kept", "gone", "still")
        }
        assert sum(heights.values()) == pytest.approx(column.before)
        assert heights["kept"] + heights["still"] == pytest.approx(column.after)
        lowest_gone = max((run.y + run.height for run in column.blocks if run.kind == "gone"), default=0)
        assert all(run.y >= lowest_gone - 1e-9 for run in column.blocks if run.kind != "gone")


def test_plots_keep_points_inside_and_survive_odd_values() -> None:
    series = Series("s", (Point(1, 2, 1, 3), Point(float("nan"), 1), Point(5, -4)), 3)
    drawn = plots.draw(Plot("t", "x", "y", (series,)), 100, 50)
    assert len(series.drawn) == 2
    for point in series.drawn:
        assert 0 < drawn.x(point.x) < 100
        assert 0 < drawn.y(point.y) < 50
    assert not re.search("nan|inf", str(drawn))
    assert not re.search("nan|inf", str(plots.draw(Plot("t", "x", "y", (Series("s", (Point(1, 1),)),)))))
    assert not re.search("nan|inf", str(plots.draw(Plot("t", "x", "y", ()))))


@pytest.mark.parametrize("style", range(len(plots.SHAPES)))
def test_every_marker_lies_around_its_point(style: int) -> None:
    path = plots.marker(style, 10, 20, 4)
    assert path.startswith("M")
    assert "nan" not in path


def test_a_matrix_writes_no_negative_zero() -> None:
    assert [Matrix.text(value) for value in (-0.05, -0.001, 0.0, 1.0, None)] == ["−0.05", "0.00", "0.00", "1.00", ""]


def test_everything_of_a_study_is_escaped_too() -> None:
    evil = "<script>alert(1)</script>&\"'"
    facts = study_facts()
    page = render_study(replace(facts, title=evil, findings=(evil,), review={evil: evil}, missing=(evil,)))
    assert "<script" not in page
    assert render_plot(facts.sections[0].costs[0]).startswith("<svg")
    assert render_multiples(facts.sections[0].differences[0]).startswith("<svg")


def test_reports_are_made_again_without_torch(tmp_path: Path) -> None:
    facts = run_facts()
    write_json(tmp_path / "layers.json", [asdict(layer) for layer in facts.layers])
    write_json(tmp_path / "metrics.json", facts.to_json())
    write_json(tmp_path / "plan.json", {})
    study = tmp_path / "study"
    write_json(study / "study.json", {})
    keep_facts(study_facts(), study)
    program = (
        "import sys; from reconv.cli.app import main; "
        f"assert main(['report', {str(tmp_path)!r}]) == main(['report', {str(study)!r}]) == 0; "
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_text() == render(replace(facts, folder=str(tmp_path)))
    assert (study / "report.html").read_text() == render_study(study_facts())
