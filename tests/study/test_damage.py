"""Damaged files of a study are told of in one line that names them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import record, stored, study_of

from reconv.cli.app import main
from reconv.errors import ArtifactError
from reconv.study import Store
from reconv.study.record import pack

Damage = Callable[[dict[str, Any]], object]


def _outcome(**values: Any) -> Damage:
    return lambda cell: cell["outcome"].update(values)


_DAMAGES: list[tuple[Damage, str]] = [
    (_outcome(correct="AAAA"), "24 bits for 400 images"),
    (_outcome(correct="?"), "not a cell"),
    (_outcome(correct=base64.b64encode(bytes(50)).decode()), "0 of its images are right"),
    (_outcome(accuracy=0.9), "its accuracy is 0.9"),
    (_outcome(accuracy="much"), "not a cell"),
    (_outcome(macs=[100]), "not a cell"),
    (_outcome(parameters=[100, None]), "another kind"),
    (lambda cell: cell.update(outcome={}), "not a cell"),
    (lambda cell: cell.pop("made"), "not a cell"),
    (lambda cell: cell["cell"].update(seed=7), "not those of its hash"),
    (_outcome(images=80, correct=pack(np.arange(80) < 64)), "80 images, where others"),
]


@pytest.mark.parametrize(("damage", "text"), _DAMAGES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_cell_is_named(
    damage: Damage, text: str, packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("l1", "l2")
    store = stored(study, tmp_path / "s")
    file = store.path / "cells" / f"{study.cells()[-1].key}.json"
    broken = json.loads(file.read_text())
    damage(broken)
    if packed:
        file.unlink()
        file = store.path / "cells.jsonl"
    file.write_text(json.dumps(broken))
    assert main(["report", str(store.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert text in line
    assert "delete it" in line


@pytest.mark.parametrize("text", ["{}", "[]", '{"title": 3}', '{"name": "foreign", "networks": 3}'])
def test_a_description_that_is_none_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "study.json") in line


def test_a_cell_under_another_name_is_told_of(tmp_path: Path) -> None:
    study = study_of("l1")
    store = stored(study, tmp_path / "s")
    (store.path / "cells" / f"{'a' * 64}.json").write_text(json.dumps(record(study.cells()[0], 0.9)))
    with pytest.raises(ArtifactError, match="another cell"):
        Store(store.path).records()
