"""Where the network runs: latency in each runtime, the files that it was written to, and accuracy in int8."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from reconv.cost import Latency
from reconv.report.facts import RunFacts, RuntimeLatency
from reconv.report.figure import Figure, Picture
from reconv.report.page import markup

BARS = """
<svg class="spans" viewBox="0 0 560 {{ 26 + 19 * bars | length }}" role="img" aria-label="Latency in {{ row.title }}">
<text x="0" y="15">{{ row.title }}{% if row.is_budget %} (the budget refers to this runtime){% endif %}</text>
{% for name, width, latency in bars %}
{% set y = 22 + loop.index0 * 19 %}
<rect class="{{ "still" if loop.first else "kept" }}" x="0" y="{{ y }}" height="14" width="{{ width | round(1) }}"/>
<text x="{{ (width + 8) | round(1) }}" y="{{ y + 12 }}">{{ name }}: {{ latency.median | duration }}{% if not loop.first %}, {{ "%.3f" | format(latency.median / first.median) }} of before{% endif %}</text>
{% endfor %}
</svg>
"""  # noqa: E501
TIMES = (
    "Median of a forward pass in each runtime, the networks interleaved; with one thread it is that thread's CPU time, "
    "which other work on the machine does not stretch."
)
FILES = """
<table><thead><tr><th scope="col">file</th><th scope="col">format</th><th scope="col" class="number">size</th><th scope="col" class="number">largest difference</th><th scope="col" class="number">predictions identical</th></tr></thead><tbody>
{% for file in files %}<tr><th scope="row">{{ file.path }}</th><td>{{ file.format }}, {{ file.precision }}</td><td class="number">{{ file.size | size }}</td><td class="number">{{ "%.1e" | format(file.error) }}</td><td class="number">{{ file.agreement | percent }}</td></tr>
{% endfor %}</tbody></table>
"""  # noqa: E501
COMPARED = (
    "Each file against the network in PyTorch{}: the largest difference of the outputs, relative to the largest output."
)
ACCURACIES = """
<table><thead><tr><th scope="col">network</th><th scope="col" class="number">accuracy</th><th scope="col" class="number">95 % interval</th></tr></thead><tbody>
{% for each in rows %}<tr><th scope="row">{{ each.network }}</th><td class="number">{{ each.accuracy | percent }}</td><td class="number">{{ each.low | percent }} to {{ each.high | percent }}</td></tr>
{% endfor %}</tbody></table>
"""  # noqa: E501
TESTED = "On the same test images; intervals by resampling them."


def _bars(row: RuntimeLatency, width: float = 300) -> list[tuple[str, float, Latency]]:
    longest = max(latency.median for latency in row.networks.values())
    return [(name, width * latency.median / longest, latency) for name, latency in row.networks.items()]


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """Bars by runtime, and two tables."""
    drawn = [markup(BARS, row=row, bars=_bars(row), first=next(iter(row.networks.values()))) for row in facts.runtimes]
    if drawn:
        yield Picture(Markup().join(drawn), TIMES, wide=True)
    if facts.exported:
        images = min(file.images for file in facts.exported)
        yield Picture(
            markup(FILES, files=facts.exported), COMPARED.format(f" on {images:,} images" if images else ""), wide=True
        )
    if facts.accuracies:
        yield Picture(markup(ACCURACIES, rows=facts.accuracies), TESTED, wide=True)


FIGURE = Figure("runtimes", "Where it runs", pictures)
