"""Read thousands of mutated files, and run a thousand random command lines: each in one line, and none for ever.

Each attempt has to succeed, or to end in one line that says what is wrong: no traceback, no crash, no hang. They are
made in children, so that a crash costs the rest of a chunk only, and within a bounded address space.

    python benchmarks/robustness/fuzz.py --out benchmarks/results/robustness/fuzz.json
    python benchmarks/robustness/fuzz.py --files 100 --commands 0 --carried-out 0 --first 4711
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "robustness"))

from about import about
from attempts import FAULT
from children import run_forked
from command_lines import fuzz_commands
from fuzzing import Counts, fuzz_files
from small import register_small
from subjects import subjects

import reconv.cli.app
import reconv.results.measure
from reconv.files import read_json, write_json

_CHUNK = 100
_MEMORY = 12 << 30  # of addresses, for each child


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=6000, help="how many mutated files; 0: leave that part as it was")
    parser.add_argument("--commands", type=int, default=1000, help="how many command lines, up to where work begins")
    parser.add_argument(
        "--carried-out", type=int, default=50, help="how many command lines of a small network, with work"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/robustness/fuzz.json"))
    options = parser.parse_args()
    parts = read_json(options.out) if options.out.is_file() else {}
    register_small()
    reconv.results.measure.LATENCY_SECONDS = 0.01
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "made").mkdir()
        kinds = subjects(scratch / "made")
        for part, number in (
            ("files", options.files),
            ("commands", options.commands),
            ("carried out", options.carried_out),
        ):
            if number:
                parts[part] = _in_chunks(part, range(options.first, options.first + number), kinds, scratch)
                faults += len(parts[part]["faults"])
                print(part, json.dumps(parts[part], indent=1), flush=True)
                write_json(options.out, parts)
    return 1 if faults else 0


def _in_chunks(part: str, seeds: range, kinds: tuple, scratch: Path) -> dict[str, object]:
    start, outcomes, faults = time.perf_counter(), {}, []
    for first in range(seeds.start, seeds.stop, _CHUNK):
        chunk = range(first, min(first + _CHUNK, seeds.stop))
        result = scratch / "result.json"
        result.unlink(missing_ok=True)

        def work(chunk: range = chunk, result: Path = result) -> int:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            counts = Counts()
            place = scratch / f"{part}-{chunk.start}"
            if part == "files":
                fuzz_files(kinds, chunk, place, counts)
            else:
                fuzz_commands(chunk, place, counts, whole=part == "carried out")
            write_json(result, {"by kind": counts.by_kind, "faults": counts.faults})
            return 0

        ended = run_forked(work, scratch, limit=1800)
        if result.is_file():
            found = read_json(result)
            faults += found["faults"]
            for kind, counter in found["by kind"].items():
                outcomes.setdefault(kind, Counter()).update(counter)
        else:
            faults.append(["a crash", chunk.start, f"ended with {ended.code}: {ended.err[-2000:]}"])
            outcomes.setdefault("a crash", Counter())[FAULT] += 1
        print(f"{part} {chunk.stop}: {len(faults)} faults, {time.perf_counter() - start:.0f} s", flush=True)
    return {
        "attempts": sum(sum(counter.values()) for counter in outcomes.values()),
        "outcomes": dict(sum((Counter(counter) for counter in outcomes.values()), Counter())),
        "by kind": {kind: dict(counter) for kind, counter in sorted(outcomes.items())},
        "faults": faults,
        "first seed": seeds.start,
        **about(start),
    }


if __name__ == "__main__":
    sys.exit(main())
