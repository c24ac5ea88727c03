"""A study's folder: nothing of anybody else's is written over, or may be deleted later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made import stored, study_of

from reconv.cli.app import main
from reconv.errors import ReconvError
from reconv.files import write_json
from reconv.folders import output_folder
from reconv.study import Store
from reconv.study.store import NETWORKS


def test_a_pack_goes_into_no_folder_of_something_else(tmp_path: Path) -> None:
    store, home = stored(study_of("l1"), tmp_path / "s"), tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("x")
    with pytest.raises(ReconvError, match="no study"):
        store.copy_to(home)
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]
    with pytest.raises(ReconvError, match="not made by reconv"):
        output_folder(home, overwrite=True)


def test_that_is_said_before_anything_is_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    arguments = ["study", "--model", "resnet20", "-d", "digits", "--weights", "none", "-c", "l1"]
    assert main([*arguments, "-o", str(tmp_path / "s"), "--pack", str(tmp_path)]) == 2
    assert "no study" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_only_a_folder_that_a_study_made_is_marked_as_ours(tmp_path: Path) -> None:
    store = stored(study_of("l1"), tmp_path / "s")
    store.copy_to(tmp_path / "pack")
    assert Store(tmp_path / "pack").records() == store.records()
    for folder in ("s", "pack"):
        assert not any((output_folder(tmp_path / folder, overwrite=True) / "study.json").parent.glob("*.json"))
    result = tmp_path / "found"
    result.mkdir()
    (result / "study.json").write_text("{}")
    Store(result).begin(study_of("l1").to_json())
    with pytest.raises(ReconvError, match="not made by reconv"):
        output_folder(result, overwrite=True)


def test_a_study_goes_on_in_its_own_folder_and_pack(tmp_path: Path) -> None:
    store = stored(study_of("l1"), tmp_path / "s")
    for _ in range(2):
        store.begin(study_of("l2").to_json())
        store.copy_to(tmp_path / "pack")
    assert Store(tmp_path / "pack").study == store.study


def test_a_pack_keeps_what_was_packed_before(tmp_path: Path) -> None:
    first, second = stored(study_of("l1"), tmp_path / "a"), stored(study_of("l2"), tmp_path / "b")
    for number, store in enumerate((first, second)):
        write_json(store.path / NETWORKS, {str(number): {}})
        store.copy_to(tmp_path / "pack")
    assert Store(tmp_path / "pack").records() == first.records() | second.records()
    assert Store(tmp_path / "pack").read(NETWORKS) == {"0": {}, "1": {}}


def test_without_a_path_a_study_goes_on_where_one_of_its_title_was_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconv.cli.study import _folder

    monkeypatch.chdir(tmp_path)
    study = study_of("l1")
    assert _folder(study, "net") == Path("runs/study-net")
    stored(study, Path("runs/study-net"))
    assert _folder(study, "net") == Path("runs/study-net")
    other = replace(study, title="other")
    assert _folder(other, "net") == Path("runs/study-net-2")
    (tmp_path / "runs" / "study-broken").mkdir()
    (tmp_path / "runs" / "study-broken" / "study.json").write_text("{")
    assert _folder(other, "net") == Path("runs/study-net-2")
