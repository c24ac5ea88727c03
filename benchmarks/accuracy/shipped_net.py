"""From the folder of a training to a network that comes with reconv: half precision, tested, described.

The test accuracy is measured on the file as it is shipped. Result and command go into the TOML file beside it, and as
JSON, with the history of the training, into benchmarks/results/.

    reconv train --model resnet20 --data-set CIFAR10 --protocol fast --epochs 24 --save-path P
    python benchmarks/accuracy/shipped_net.py P
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from reconv.data import load_data
from reconv.files import read_json, read_text, write_json
from reconv.machine import processor
from reconv.training import Protocol, evaluate, load_protocol
from reconv.zoo import TrainedNet, canonical_name, load_model, write_trained
from reconv.zoo.trained import FOLDER

RESULTS = Path(__file__).parents[1] / "results"


def trainings(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The folder of a training and its configuration, after those of the networks that it went on from."""
    config = read_json(folder / "config.json")
    before = Path(config["model"])
    return [*(trainings(before) if (before / "config.json").is_file() else []), (folder, config)]


def command(config: dict[str, Any], model: str) -> tuple[str, Protocol]:
    """What does a training again, and its protocol."""
    how = config["finetune"]
    changes = {key: how[key] for key in ("epochs", "batch_size") if how.get(key) is not None} | how.get("changes", {})
    protocol = load_protocol(how["protocol"], config["data_set"], changes)
    words = ["reconv", "train", "--model", model, "--data-set", config["data_set"].lower(), "--protocol", protocol.name]
    for key, value in changes.items():
        words += ["--set", f"{key}={json.dumps(value) if isinstance(value, (bool, list)) else value}"]
    return shlex.join([*words, "--seed", str(config["seed"]), "--save-path", "P"]), protocol


def ship(folder: Path, where: Path, data_root: Path | None) -> TrainedNet:
    """Write the two files of the package and the JSON of the results."""
    chain = trainings(folder)
    model, data_set = canonical_name(chain[0][1]["model"]), chain[0][1]["data_set"].lower()
    commands, protocols, steps = [], [], []
    for number, (place, config) in enumerate(chain):
        line, protocol = command(config, "P" if number else model)
        commands.append(line if number == 0 else line.replace("--save-path P", "--save-path Q"))
        protocols.append(protocol)
        steps += [
            json.loads(row) for file in place.glob("training/*/metrics.jsonl") for row in read_text(file).splitlines()
        ]
    net = TrainedNet(
        model=model,
        data_set=data_set,
        weights=where / f"{model}-{data_set}.safetensors",
        accuracy=0.0,
        protocol=", then ".join(f"{protocol.name}, {protocol.epochs} epochs" for protocol in protocols),
        command="; ".join(commands),
        seconds=round(sum(row["seconds"] for row in steps)),
        machine=processor(),
    )
    source = folder / "model" / "weights.safetensors"
    rounding = write_trained(net, source)
    data = load_data(data_set, data_root)
    tested = {
        name: evaluate(load_model(model, weights=weights), data)
        for name, weights in (("single", source), ("as_shipped", net.weights))
    }
    net = replace(net, accuracy=tested["as_shipped"].top1)
    write_trained(net, source)
    result = {
        "net": {**asdict(net), "weights": net.weights.name, "bytes": net.weights.stat().st_size},
        "test": {name: asdict(figures) for name, figures in tested.items()},
        "largest_relative_rounding": rounding,
        "protocols": [protocol.to_json() for protocol in protocols],
        "history": steps,
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
