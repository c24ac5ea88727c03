"""What lies where in the folder of a run; loads no PyTorch.

config.json            what decides the result
base/                  the network before, as a saved model
scores.safetensors     every channel's score
plan.json              which channels go, and why others stay
rounds/<number>/       the network after each round but the last, where there are several
model/                 the network after, as a saved model
training/<stage>/      metrics.jsonl, and checkpoints until the stage is done
metrics.json           every figure of the report
layers.json            every layer's widths and scores, for the report
report.html
"""

from __future__ import annotations

from pathlib import Path

from reconv.errors import ArtifactError, ReconvError
from reconv.files import read_json
from reconv.folders import recover
from reconv.runs.config import RunConfig

WEIGHTS = "starts_from"  # the fingerprint of the weights, in the configuration


class RunFiles:
    """The files of a run's folder.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        recover(path)

    @property
    def scores(self) -> Path:
        return self.path / "scores.safetensors"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def layers(self) -> Path:
        return self.path / "layers.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def is_begun(self) -> bool:
        """Whether a run has left its configuration here."""
        return self.config_file.is_file()

    def config(self) -> RunConfig:
        """The configuration of the run that lies here.

        Raises:
            ArtifactError: there is no such file, or it is not what a run writes.
        """
        values = read_json(self.config_file)
        if not isinstance(values, dict) or not {"model", "data_set"} <= values.keys():
            raise ArtifactError(
                f"{self.config_file}: not the configuration of a run, which names model and data_set; "
                "give a run's folder."
            )
        try:
            return RunConfig.from_mapping({k: v for k, v in values.items() if k != WEIGHTS}, str(self.config_file))
        except ReconvError as error:
            raise ArtifactError(f"{self.config_file}: {str(error).removeprefix(f'{self.config_file}: ')}") from None
