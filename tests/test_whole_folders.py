"""Folders are replaced so that at every instant the old one or the new one is whole."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconv import folders
from reconv.errors import ArtifactError
from reconv.temporary import is_temporary

posix = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no locks of files")


def write(path: Path, text: str) -> None:
    with folders.folder_at_once(path, overwrite=True) as folder:
        (folder / "a").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_text(text)


def content(path: Path) -> set[str]:
    return {path.joinpath(name).read_text() for name in ("a", "deep/b")}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith((".part", ".old")))


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ArtifactError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=["exchange", "steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the system changes two names: at once, or in two steps."""
    if request.param == "steps":
        monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("this system cannot")
    return str(request.param)


def test_an_output_folder_is_made_and_refused_when_it_holds_results(tmp_path: Path) -> None:
    folder = folders.output_folder(tmp_path / "a" / "run", first={"config.json": "{}"})
    assert (folder / "config.json").read_text() == "{}"
    (folder / "result").write_text("1")
    assert "--overwrite" in refusal(lambda: folders.output_folder(folder))
    assert (folder / "result").exists()
    assert not (folders.output_folder(folder, overwrite=True) / "result").exists()


def test_overwriting_deletes_only_what_reconv_made(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "not made by reconv" in refusal(lambda: folders.output_folder(tmp_path, overwrite=True))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_output_folder_on_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file; give a folder" in refusal(lambda: folders.output_folder(tmp_path / "file"))
    assert "is a file; give a folder" in refusal(folders.folder_at_once(tmp_path / "file").__enter__)


def test_an_empty_folder_is_filled_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = tmp_path.stat().st_ino
    monkeypatch.chdir(tmp_path)
    assert folders.output_folder(".", first={"config.json": "{}"}) == Path()
    assert (tmp_path / "config.json").exists()
    assert tmp_path.stat().st_ino == number
    assert "current folder" in refusal(lambda: folders.output_folder(".", overwrite=True))
    assert (tmp_path / "config.json").exists()


def test_a_folder_appears_at_once(tmp_path: Path) -> None:
    with folders.folder_at_once(tmp_path / "result") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "result").exists()
    assert (tmp_path / "result" / "a").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_a_folder_whose_making_failed_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "result", "old")

    def fail() -> None:
        with folders.folder_at_once(tmp_path / "result", overwrite=True) as folder:
            (folder / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert content(tmp_path / "result") == {"old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_a_folder_takes_the_place_of_another(way: str, tmp_path: Path) -> None:
    for text in ("old", "new"):
        write(tmp_path / "result", text)
        assert content(tmp_path / "result") == {text}
        assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_of_a_link_the_folder_that_it_means_is_replaced(way: str, tmp_path: Path) -> None:
    write(tmp_path / "real", "old")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"new"}


@posix
def test_what_cannot_be_deleted_of_the_old_folder_loses_neither(way: str, tmp_path: Path) -> None:
    write(tmp_path / "result", "old")
    real = folders.remove_whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "remove_whole", lambda path: None)  # as where a file is immutable
        write(tmp_path / "result", "new")
        assert content(tmp_path / "result") == {"new"}
        assert len(leftovers(tmp_path)) == 1
    assert folders.remove_whole is real
    write(tmp_path / "result", "newer")  # which also removes it
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("moment", range(40))
def test_an_error_at_any_moment_leaves_the_old_or_the_new(
    way: str, moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "result", "old")
    left = moment

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **more)

        return call

    for name in ("mkdir", "rename", "replace", "fsync", "open"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    try:
        write(tmp_path / "result", "new")
        failed = ""
    except (ArtifactError, OSError) as error:  # the latter by the block itself
        failed = str(error).lower()
    monkeypatch.undo()
    assert ("no space left" in failed) == bool(failed)
    folders.recover(tmp_path / "result")
    assert content(tmp_path / "result") in ({"old"}, {"new"})
    if not failed and left >= 0:
        assert content(tmp_path / "result") == {"new"}


@posix
@pytest.mark.parametrize("moment", range(30))
def test_a_process_killed_at_any_moment_leaves_the_old_or_the_new(way: str, moment: int, tmp_path: Path) -> None:
    """At each call of the system that changes names or brings to the disk, before it is made."""
    write(tmp_path / "result", "old")
    child = os.fork()
    if child == 0:
        left = moment

        def deadly(event: str, arguments: object) -> None:
            nonlocal left
            if event in ("os.mkdir", "os.rename", "os.rmdir", "os.remove", "shutil.rmtree", "open", "ctypes.dlsym"):
                left -= 1
                if left == -1:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(deadly)
        write(tmp_path / "result", "new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    folders.recover(tmp_path / "result")
    found = content(tmp_path / "result")
    assert found in ({"old"}, {"new"})
    if not os.WIFSIGNALED(status):
        assert found == {"new"}
    write(tmp_path / "result", "newer")
    assert content(tmp_path / "result") == {"newer"}
    assert leftovers(tmp_path) == []


def test_a_replacement_cut_off_between_its_two_steps_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "result", "old")
    monkeypatch.setattr(folders, "_exchange", lambda a, b: False)

    def cut_off(new: Path, path: Path) -> None:
        path.rename(folders.beside_of(path, ".old"))
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "_exchange_in_steps", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "result", "new")
    assert not (tmp_path / "result").exists()
    folders.recover(tmp_path / "result")
    assert content(tmp_path / "result") == {"old"}
    assert leftovers(tmp_path) == []


@posix
def test_what_another_process_is_writing_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "result"
    with folders.folder_at_once(path) as folder:
        child = os.fork()
        if child == 0:
            folders.remove_leftovers(path)
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.is_dir()
        assert is_temporary(folder.name)


def test_files_and_folder_are_brought_to_the_disk_before_the_name_changes(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "result", "old")
    order: list[str] = []
    put, brought = folders.put_in_place, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), brought(fd))[1])
    monkeypatch.setattr(folders, "put_in_place", lambda a, b: (order.append("name"), put(a, b))[1])
    write(tmp_path / "result", "new")
    at = order.index("name")
    assert order[:at].count("sync") >= 3
    if sys.platform != "win32":
        assert "sync" in order[at:]


def test_a_folder_that_only_bears_our_marker_is_empty(tmp_path: Path) -> None:
    folders.mark_as_ours(tmp_path)
    (tmp_path / ".config.json.0123abcd.part").touch()
    folders.check_replaceable(tmp_path)
    (tmp_path / "mine").touch()
    assert "not empty" in refusal(lambda: folders.check_replaceable(tmp_path))
