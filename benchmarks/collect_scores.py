"""Every channel's scores of trained networks, packed into one file, as the paper's repository ships them.

    python benchmarks/collect_scores.py                                     # of the networks that come with reconv
    python benchmarks/collect_scores.py resnet56=W.safetensors timm:resnet18=pretrained --out scores.zip

In the archive lies one safetensors file per network and criterion, with the fingerprint of the weights that it was
computed from: `reconv prune ... --scores FILE` warns where they are others. `index.json` says what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path

from reconv import __version__
from reconv.artifacts import save_saliency
from reconv.cli.network import traced
from reconv.cli.options import InputShape, Network
from reconv.report import numbers
from reconv.saliency import score_all
from reconv.zoo import trained_nets

CRITERIA = ("spectral", "nuclear", "frobenius")  # the paper's


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="MODEL=WEIGHTS", help="none: all that come with reconv")
    parser.add_argument("--data-set", help="whose images the networks take; none: what they were made for, or CIFAR10")
    parser.add_argument("--out", type=Path, default=Path("reconv-scores.zip"))
    options = parser.parse_args(arguments)
    pairs = (name.partition("=") for name in options.networks)
    given = [(model, weights or None, options.data_set) for model, _, weights in pairs]
    networks = given or [(net.model, str(net.weights), net.data_set) for net in trained_nets()]
    index = []
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(options.out, "w", zipfile.ZIP_DEFLATED) as archive:
        for model, weights, data_set in networks:
            graph = traced(Network(model, weights), InputShape(data_set), trained=True)
            start = time.perf_counter()
            for saliency in score_all(graph, CRITERIA):
                plain = "".join(letter if letter.isalnum() else "-" for letter in model)
                name = f"{plain}-{saliency.weights[:8]}-{saliency.criterion}.safetensors"
                save_saliency(saliency, Path(folder) / name)
                archive.write(Path(folder) / name, name)
                channels = sum(map(len, saliency.values.values()))
                about = {"model": model, "data set": data_set, "criterion": saliency.criterion, "channels": channels}
                index.append(about | {"weights": saliency.weights, "file": name})
            print(f"{model}: {index[-1]['channels']:,} channels, {numbers.duration(time.perf_counter() - start)}")
        archive.writestr("index.json", json.dumps({"reconv": __version__, "scores": index}, indent=1) + "\n")
    print(f"{options.out}: {len(index)} files, {numbers.size(options.out.stat().st_size)}")


if __name__ == "__main__":
    main()
