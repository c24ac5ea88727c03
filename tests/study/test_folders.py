"""A study's folder: nothing of anybody else's is written over, or may be deleted later."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import asked, stored

from reconv.cli.app import main
from reconv.errors import ReconvError
from reconv.files import output_folder
from reconv.study import Store


def test_a_pack_goes_into_no_folder_of_something_else(tmp_path: Path) -> None:
    store, home = stored(asked("l1"), tmp_path / "s"), tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("x")
    with pytest.raises(ReconvError, match="no study"):
        store.copy_to(home)
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]
    with pytest.raises(ReconvError, match="not made by reconv"):
        output_folder(home, overwrite=True)


def test_that_is_said_before_anything_is_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    words = ["study", "--model", "resnet20", "-d", "digits", "--weights", "none", "-c", "l1"]
    assert main([*words, "-o", str(tmp_path / "s"), "--pack", str(tmp_path)]) == 2
    assert "no study" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_only_a_folder_that_a_study_made_is_marked_as_ours(tmp_path: Path) -> None:
    store = stored(asked("l1"), tmp_path / "s")
    store.copy_to(tmp_path / "pack")
    assert Store(tmp_path / "pack").records() == store.records()
    for place in ("s", "pack"):
        assert not any((output_folder(tmp_path / place, overwrite=True) / "study.json").parent.glob("*.json"))
    found = tmp_path / "found"
    found.mkdir()
    (found / "study.json").write_text("{}")
    Store(found).begin(asked("l1").to_json())
    with pytest.raises(ReconvError, match="not made by reconv"):
        output_folder(found, overwrite=True)


def test_a_study_goes_on_in_its_own_folder_and_pack(tmp_path: Path) -> None:
    store = stored(asked("l1"), tmp_path / "s")
    for _ in range(2):
        store.begin(asked("l2").to_json())
        store.copy_to(tmp_path / "pack")
    assert Store(tmp_path / "pack").study == store.study
