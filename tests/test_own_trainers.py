"""The recipes of docs/own-networks.md: a pruned network goes back where it was trained, is saved there, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconv
from reconv.tasks import load_task

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[1] / "docs" / "own-networks.md"


def _pruned(model: nn.Module, example: Tensor, share: float = 0.7) -> nn.Module:
    graph = reconv.trace(model, example)
    plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(macs=share))
    return reconv.prune(model, plan)


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_pages_task_is_a_task(tmp_path: Path) -> None:
    block = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    (tmp_path / "task_of_the_page.py").write_text(block)
    task = load_task(str(tmp_path / "task_of_the_page.py"))
    assert task.data is not None
    assert (len(task.data.train), len(task.data.validation), len(task.data.test)) == (64, 16, 16)
    assert task.loss is not None
    assert task.metric is not None


def test_hugging_faces_trainer_resumes_a_pruned_network(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is for users to install")
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=4
    )
    small = _pruned(transformers.ResNetForImageClassification(config).eval(), torch.zeros(1, 3, 32, 32))
    data = [{"pixel_values": torch.randn(3, 32, 32), "labels": index % 4} for index in range(16)]

    def trainer(network: nn.Module, steps: int) -> Any:
        how = {"max_steps": steps, "save_steps": 2, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True}
        return transformers.Trainer(network, transformers.TrainingArguments(str(tmp_path), **how), train_dataset=data)

    trainer(small, 2).train()
    again = trainer(small, 4)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4
    assert _size(again.model) == _size(small)


def test_ultralytics_trainer_keeps_the_pruning(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is for users to install")
    model = reconv.load_model("ultralytics:yolov8n")
    small = _pruned(model, torch.zeros(1, 3, 64, 64))
    from ultralytics.models.yolo.detect import DetectionTrainer

    class PrunedTrainer(DetectionTrainer):  # type: ignore[misc]
        network = small

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
            return self.network

    overrides = {"model": "yolov8n.yaml", "data": str(_scenes(tmp_path)), "epochs": 1, "imgsz": 64, "batch": 4}
    quiet = {"device": "cpu", "workers": 0, "plots": False, "val": False, "amp": False, "project": str(tmp_path)}
    trainer = PrunedTrainer(overrides=overrides | quiet)
    trainer.train()
    assert _size(trainer.model) == _size(small) < _size(model)
    reconv.save(trainer.model, tmp_path / "small")
    assert _size(reconv.load(tmp_path / "small", code="ultralytics")) == _size(small)


def _scenes(folder: Path) -> Path:
    """A data set of eight pictures with a box in each, as ultralytics reads it."""
    import numpy as np
    from PIL import Image

    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    names = ", ".join(f"c{number}" for number in range(80))
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [{names}]\n")
    return folder / "data.yaml"
