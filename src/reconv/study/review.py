"""What was compared, what a careful reviewer asks for, and which cells are missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from reconv.report import numbers
from reconv.significance import LEVEL, REPLICATES
from reconv.study.cell import Cell, is_random
from reconv.study.design import Study
from reconv.study.labels import arm_rank
from reconv.study.tables import Record, Summary, calibration_images


def review_of(study: Study, records: Sequence[Record], summary: Summary) -> dict[str, str]:
    """What a careful reviewer asks for."""
    base = "; ".join(_base(name, record, study.split) for name, record in summary.base.items())
    settings = [line for line in summary.lines if line.difference is not None]
    noise = sum(not line.difference.excludes_zero for line in settings if line.difference)
    cpu = sum(record["made"]["processor_seconds"] for record in records)
    return {
        "base accuracy": base,
        "MACs": "of convolutions, linear and recurrent layers, and attention, for one image, one fused multiply-add "
        "counted as one; BatchNorm, activations and additions are not counted",
        "split": f"accuracy on the {study.split} images, every one of them; calibration and training images are "
        "from the training split without the validation images held out (weights trained elsewhere may have seen both)",
        "model selection": "none: no epoch, seed or setting was chosen by these images; a training's last epoch counts",
        "seeds": "a seed draws random scores, calibration images, the order of a training, and fresh weights; scores "
        "of the other criteria are not random",
        "intervals": f"{100 * LEVEL:g} %, percentile bootstrap of {REPLICATES:,} replicates over the images (the "
        "same for all cells of a data set) and, where there are several, over seeds; of a line with one seed it lacks "
        "the noise of the images drawn for statistics and repair. They say nothing about other trained networks or "
        "data sets" + _by_chance(len(settings)),
        "within noise": f"{noise} of {len(settings)} differences to {study.reference}"
        if settings
        else _why_no_differences(summary, study.reference),
        "computed": f"{numbers.counted(len(records), 'cell')} in {numbers.duration(cpu)} of CPU time",
    }


def _base(name: str, record: Record, split: str) -> str:
    outcome, network = record["outcome"], record["cell"]["network"]
    return (
        f"{name} {numbers.percent(outcome['accuracy'])} of {outcome['images']:,} {split} images of "
        f"{network['data_set']} ({numbers.count(outcome['macs'][0])} MACs, "
        f"{numbers.count(outcome['parameters'][0])} parameters, weights {network['weights'][:12]})"
    )


def arms_of(study: Study, records: Sequence[Record], summary: Summary) -> dict[str, str]:
    """What each arm does after the cut, and over how many seeds it was tried, in the order of arms."""
    epochs: dict[str, int | None] = {}
    images: dict[str, set[int]] = {}
    for record in records:
        if record["cell"]["criterion"]:
            epochs[record["arm"]] = (record["cell"]["arm"]["protocol"] or {}).get("epochs")
            images.setdefault(record["arm"], set()).add(calibration_images(record))
    seeds: dict[tuple[str, bool], set[int]] = defaultdict(set)
    for line in summary.lines:
        seeds[line.setting.arm, is_random(line.criterion)].add(len(line.seeds))
    texts = {}
    for arm in sorted(epochs, key=arm_rank):
        usual, drawn = seeds.get((arm, False), set()), seeds.get((arm, True), set())
        counts = [_seeds(usual)] if usual else []
        counts += [f"random scores {_seeds(drawn)}"] if drawn and drawn != usual else []
        actual = study.arm(arm).changed(max(2, *images[arm]), epochs[arm])
        texts[arm] = f"{actual}; {', '.join(counts)}"
    return texts


def _seeds(numbers_: set[int]) -> str:
    low, high = min(numbers_), max(numbers_)
    return numbers.counted(low, "seed") if low == high else f"{low} to {high} seeds"


def _by_chance(comparisons: int) -> str:
    """How many of so many differences would be beyond noise by chance."""
    if not comparisons:
        return ""
    expected = round((1 - LEVEL) * comparisons)
    by_chance = f", of which about {expected} would be beyond noise by chance alone" if expected else ""
    return f", and are not corrected for {numbers.counted(comparisons, 'comparison')}{by_chance}"


def _why_no_differences(summary: Summary, reference: str) -> str:
    if any(line.criterion == reference for line in summary.lines):
        return f"no differences: nothing stands beside {reference} in the same setting"
    return (
        f"no differences: {reference}, the reference, is not among the criteria that were computed; --reference C, or "
        "reference in the study's file, names one that is"
    )


def missing_of(cells: Sequence[Cell], records: Sequence[Record], failed: Mapping[str, str]) -> list[str]:
    """How many of the requested cells are missing, by network and arm; of those that failed, why the first did."""
    have = {record["key"] for record in records}
    requested: Counter[tuple[str, str]] = Counter()
    missing: Counter[tuple[str, str]] = Counter()
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        group = cell.network.name, cell.arm.name
        requested[group] += 1
        missing[group] += cell.key not in have
        if cell.key not in have and cell.key in failed:
            reasons[group].append(f"{cell}: {failed[cell.key]}")
    return [
        f"{network}, {arm}: {missing[network, arm]:,} of {number:,} cells are missing"
        + (f"; {len(why):,} could not be computed, such as {why[0]}" if (why := reasons[network, arm]) else "")
        for (network, arm), number in requested.items()
        if missing[network, arm]
    ]


def versions_of(records: Sequence[Record]) -> dict[str, str]:
    """All versions of software and hardware that cells were computed with, by name."""
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in {**record["made"]["versions"], "device": record["made"]["device"]}.items():
            versions[name].add(str(version))
    return {name: ", ".join(sorted(values)) for name, values in versions.items()}
