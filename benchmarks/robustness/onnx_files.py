"""Read mutated ONNX files: each must give a network, or an error of one line; never a traceback, a crash, or a stall.

    python benchmarks/robustness/onnx_files.py net.onnx other.onnx --files 1000

Bytes are changed, removed and inserted, and fields of the decoded file are given other values: sizes, types,
attributes, names, operators. Each file is read in a process of its own, with a limit of processor time and of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import torch

from reconv.deploy.onnx import load_onnx
from reconv.errors import ReconvError
from reconv.machine import versions

SECONDS, GIGABYTES = 60, 16  # of the processor; of memory
STALL = 900  # seconds by the clock, which other work on the machine uses up too
EVERY = 100  # files between two lines of progress
_NUMBERS = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 7, 64, 10**6, 2**31 - 1, 10**12, 2**62)
_OPERATORS = ("Conv", "Relu", "Reshape", "Add", "MatMul", "Concat", "Slice", "Expand", "Pad", "Resize", "If", "Loop")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The file with one to five changes."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = _changed_bytes(content, rng) if rng.random() < 0.5 else _changed_field(content, rng)
    return content


def _changed_bytes(content: bytes, rng: random.Random) -> bytes:
    data, at = bytearray(content), rng.randrange(max(len(content), 1))
    how = rng.randrange(4)
    if how == 0 and data:
        data[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        del data[at : at + rng.randrange(1, 200)]
    elif how == 2:
        data[at:at] = rng.randbytes(rng.randrange(1, 40))
    else:
        del data[at:]
    return bytes(data)


def _changed_field(content: bytes, rng: random.Random) -> bytes:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        rng.choice((_dims, _type, _attribute, _wire, _operator, _opset, _input, _constant, _location))(model, rng)
        return bytes(model.SerializeToString())
    except Exception:  # nothing of this kind to change, or a value that the field cannot hold
        return _changed_bytes(content, rng)


def _dims(model: Any, rng: random.Random) -> None:
    dims = rng.choice(model.graph.initializer).dims
    dims[rng.randrange(len(dims))] = rng.choice(_NUMBERS)


def _type(model: Any, rng: random.Random) -> None:
    rng.choice(model.graph.initializer).data_type = rng.randrange(30)


def _attribute(model: Any, rng: random.Random) -> None:
    attribute = rng.choice(rng.choice([n for n in model.graph.node if n.attribute]).attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_NUMBERS)
    else:
        attribute.i = rng.choice(_NUMBERS)


def _wire(model: Any, rng: random.Random) -> None:
    nodes = [n for n in model.graph.node if n.input]
    reader, other = rng.choice(nodes), rng.choice(nodes)
    reader.input[rng.randrange(len(reader.input))] = rng.choice([*other.input, *other.output, ""])


def _operator(model: Any, rng: random.Random) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(_OPERATORS)


def _opset(model: Any, rng: random.Random) -> None:
    model.opset_import[0].version = rng.choice((1, 9, 11, 13, 18, 21, 99))


def _input(model: Any, rng: random.Random) -> None:
    dims = rng.choice(model.graph.input).type.tensor_type.shape.dim
    dims[rng.randrange(len(dims))].dim_value = rng.choice(_NUMBERS)


def _constant(model: Any, rng: random.Random) -> None:
    tensors = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT64 and t.raw_data]
    tensor = rng.choice(tensors)
    at = 8 * rng.randrange(len(tensor.raw_data) // 8)
    number = rng.choice(_NUMBERS).to_bytes(8, "little", signed=True)
    tensor.raw_data = tensor.raw_data[:at] + number + tensor.raw_data[at + 8 :]


def _location(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../x", "net.onnx", "", "a" * 5000)))
    tensor.external_data.add(key="length", value=rng.choice(("1", "-1", "1000000000000", "x")))


def read_apart(content: bytes, folder: Path) -> tuple[str, str, float]:
    """Read a file in a process of its own: what became of it, what was said, seconds."""
    path, answer = folder / "net.onnx", folder / "answer"
    path.write_bytes(content)
    answer.unlink(missing_ok=True)
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        signal.alarm(STALL)
        try:
            load_onnx(path)
            said = "network", ""
        except ReconvError as error:
            said = ("one line" if "\n" not in str(error) else "several lines"), str(error)
        except BaseException:
            said = "traceback", traceback.format_exc()
        answer.write_text(json.dumps(said))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - start
    if not answer.exists():
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return ("timeout" if number in (signal.SIGALRM, signal.SIGXCPU) else "crash"), f"signal {number}", seconds
    kind, text = json.loads(answer.read_text())
    return kind, text, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="files to mutate")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that gave anything else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.models:
        load_onnx(path)  # it is read as it is, and what is imported late is imported before the processes part
    counts: Counter[str] = Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.files):
            rng = random.Random(f"{options.seed} {i}")
            content = mutated(options.models[i % len(options.models)].read_bytes(), rng)
            kind, text, seconds = read_apart(content, Path(folder))
            counts[kind] += 1
            longest = max(longest, seconds)
            if (i + 1) % EVERY == 0:
                print(f"{i + 1} files: {dict(counts)}", file=sys.stderr, flush=True)
            if kind not in ("network", "one line"):
                print(f"file {i}: {kind}: {text}", file=sys.stderr, flush=True)
                if options.keep is not None:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{i}.onnx").write_bytes(content)
    print(", ".join(f"{name} {value}" for name, value in versions().items()), f"onnx {onnx.__version__}")
    print(f"{options.files} files: " + ", ".join(f"{number} {kind}" for kind, number in counts.most_common()))
    print(f"longest {longest:.1f} s")
    return 0 if set(counts) <= {"network", "one line"} else 1


if __name__ == "__main__":
    sys.exit(main())
