"""From the folder of a training to a network that comes with reconv: half precision, tested, described.

The test accuracy is measured on the file as it is shipped. Result and command go into the TOML file beside it, and as
JSON, with the history of the training, into benchmarks/results/.

    reconv train --model resnet20 --data-set CIFAR10 --protocol fast --epochs 30 --save-path P
    python benchmarks/accuracy/shipped_net.py P
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import torch

from reconv.data import load_data
from reconv.files import read_json, read_text, write_json
from reconv.training import evaluate, load_protocol
from reconv.zoo import TrainedNet, canonical_name, load_model, write_trained
from reconv.zoo.trained import FOLDER

RESULTS = Path(__file__).parents[1] / "results"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def ship(folder: Path, where: Path, data_root: Path | None) -> TrainedNet:
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    model, data_set = canonical_name(config["model"]), config["data_set"].lower()
    how = config["finetune"]
    changes = {key: how[key] for key in ("epochs", "batch_size") if how.get(key) is not None} | how.get("changes", {})
    protocol = load_protocol(how["protocol"], data_set, changes)
    words = ["reconv", "train", "--model", model, "--data-set", data_set, "--protocol", protocol.name]
    for key, value in changes.items():
        words += ["--set", f"{key}={json.dumps(value) if isinstance(value, (bool, list)) else value}"]
    words += ["--seed", str(config["seed"])]
    steps = [
        json.loads(line)
        for file in folder.glob("training/*/metrics.jsonl")
        for line in read_text(file).split("\n")[:-1]
    ]
    net = TrainedNet(
        model=model,
        data_set=data_set,
        weights=where / f"{model}-{data_set}.safetensors",
        accuracy=0.0,
        protocol=f"{protocol.name}, {protocol.epochs} epochs",
        command=shlex.join(words),
        seconds=round(sum(row["seconds"] for row in steps)),
        machine=processor(),
    )
    rounding = write_trained(net, folder / "model" / "weights.safetensors")
    data = load_data(data_set, data_root)
    tested = evaluate(load_model(model, weights=net.weights), data)
    net = replace(net, accuracy=tested.top1)
    write_trained(net, folder / "model" / "weights.safetensors")
    result = {
        "net": {**asdict(net), "weights": net.weights.name, "bytes": net.weights.stat().st_size},
        "test": {"single": metrics["test"], "as_shipped": asdict(tested)} if "test" in metrics else asdict(tested),
        "largest_relative_rounding": rounding,
        "protocol": protocol.to_json(),
        "history": metrics["history"],
        "torch": torch.__version__,
    }
    write_json(RESULTS / f"train-{model}-{data_set}.json", result)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a finished `reconv train`")
    parser.add_argument("--to", type=Path, default=FOLDER, help="the package's folder, unless said otherwise")
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    net = ship(arguments.folder, arguments.to, arguments.data_root)
    print(net)
    print(net.weights)


if __name__ == "__main__":
    main()
