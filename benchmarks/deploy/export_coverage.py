"""Whether the networks of docs/coverage.md, pruned, can be exported, and compute the same as files.

    python benchmarks/deploy/export_coverage.py --out exported.jsonl              # the networks by name
    python benchmarks/deploy/export_coverage.py torchvision:resnet18 --to onnx,openvino,torch,torchscript
    python benchmarks/deploy/export_coverage.py --table exported.jsonl           # Markdown of rows written before

As in `benchmarks/coverage/sweep.py`, half of the channels that may go are removed (global scheme, residual streams too,
random weights). Each file is compared with the network at a batch of one and of two, on random images: the largest
difference of its outputs, relative to the largest output, and whether the batch is open. Rows that FILE holds already
are kept.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "coverage"))
from sweep import NAMED, built, input_size, own_input_size, randomized  # type: ignore[import-not-found]

import reconv
from reconv.deploy import Exporter
from reconv.errors import GraphError, ReconvError

TOLERANCE = 1e-4


def examine(name: str, size: int | None, formats: list[str]) -> dict[str, Any]:
    """One row: what each format gives."""
    row: dict[str, Any] = {"name": name}
    try:
        torch.manual_seed(0)
        model = randomized(built(name)).eval()
        example = torch.randn(1, 3, size, size) if size else torch.randn(1, *input_size(model))
        try:
            graph = reconv.trace(model, example)
        except GraphError:  # too small for it
            example = torch.randn(1, *own_input_size(model))
            graph = reconv.trace(model, example)
        row["input"] = list(example.shape[1:])
        budget = reconv.Budget(channels=0.5)
        plan = reconv.choose(graph, reconv.score(graph, "l2"), budget, scheme="global", coupled=True)
        small = reconv.prune(model, plan).eval()
    except Exception as error:
        return {**row, "status": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    for to in formats:
        start = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"net{Exporter.registry[to].suffix}"
                written = reconv.export(small, path, example=example, to=to, tolerance=float("inf"))
            row[to] = {"error": written.error, "fixed_batch": written.fixed_batch, "size": written.size}
        except ReconvError as error:
            row[to] = {"why": " ".join(str(error).split())[:300]}
        row[to]["seconds"] = round(time.perf_counter() - start, 1)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    formats = [key for key in rows[0] if isinstance(rows[0][key], dict)]
    lines = [f"| network | input | {' | '.join(formats)} |", f"|---|---|{'---|' * len(formats)}"]
    for row in rows:
        cells = [_cell(row.get(to, {"why": row.get("status", "")})) for to in formats]
        size = "x".join(map(str, row.get("input", [])[1:]))
        lines.append(f"| {row['name'].replace(':', ': ')} | {size} | {' | '.join(cells)} |")
    for to in formats:
        right = sum(row.get(to, {}).get("error", 1.0) <= TOLERANCE for row in rows)
        lines.append(f"\n{to}: {right} of {len(rows)} agree to {TOLERANCE:g}.")
    return "\n".join(lines)


def _cell(found: dict[str, Any]) -> str:
    if "error" not in found:
        return found["why"].replace("|", "/")
    batch = f"; fixed batch ({found['fixed_batch'][:60]})" if found["fixed_batch"] else ""
    return f"{found['error']:.0e}{batch}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; none: those of docs/coverage.md by name")
    parser.add_argument("--to", default="onnx", help="formats, separated by commas")
    parser.add_argument("--out", type=Path, help="write a row of JSON for each")
    parser.add_argument("--table", type=Path, help="print the rows of a file as Markdown")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(line) for line in args.table.read_text().splitlines()]))
        return
    torch.set_num_threads(1)
    written = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    done = {json.loads(line)["name"] for line in written}
    for name in args.names or NAMED:
        if name in done:
            continue
        row = examine(name, NAMED.get(name), args.to.split(","))
        print(json.dumps(row), flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        gc.collect()


if __name__ == "__main__":
    main()
