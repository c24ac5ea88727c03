"""A task that is killed, or finds the disk full, at random moments: whether all of it can be had afterwards."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from children import KILLED, UNTOUCHED, Attack, Ended, one_line, run_forked
from tasks import Task

SAME, SAYS, FAULT = "same bits", "says what to do", "fault"
_MOST_KILLS = 3  # of one task, before it may finish


@dataclass
class Report:
    """What came of attacks.

    Attributes:
        outcomes: how often each. attacks: how many kills, or moments at which the disk was full.
        lines: that were said, with numbers of how often. faults: what went wrong, to be looked into.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.outcomes[FAULT] += 1
        self.faults.append(text)


@dataclass
class Bench:
    """Where a task is attacked, and what it gives when it is not.

    Args:
        task: the task. scratch: an empty folder.
    """

    task: Task
    scratch: Path

    def __post_init__(self) -> None:
        folder = self.fresh("whole")
        self.whole = self.act(folder, again=False)
        assert self.whole.code == 0, self.whole.err
        self.reference = self.result(folder)
        assert self.reference, "nothing to compare with"
        self.partial = {self.reference} if self.task.name != "save" else self._all_saves(folder)
        shutil.rmtree(folder)

    def fresh(self, name: str) -> Path:
        """A folder with what the task starts from."""
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)

        def prepare() -> int:
            self.task.prepare(folder)
            return 0

        prepared = run_forked(prepare, self.scratch)
        assert prepared.code == 0, prepared.err
        return folder

    def act(self, folder: Path, *, again: bool, attack: Attack = UNTOUCHED) -> Ended:
        return run_forked(lambda: self.task.act(folder, again), self.scratch, attack)

    def result(self, folder: Path) -> str:
        """A hash of what the task has made; "" where nothing is whole, an error's text where it cannot be read."""

        def show() -> int:
            result = self.task.result(folder)
            print("" if result is None else hashlib.sha256(repr(result).encode()).hexdigest())
            return 0

        ended = run_forked(show, self.scratch)
        return ended.out.strip() if ended.code == 0 else f"unreadable: {ended.err.strip().splitlines()[-1]}"

    def _all_saves(self, folder: Path) -> set[str]:
        """What may be found of saves that replace each other."""
        found = set()
        for seed in range(1, 12):
            one = self.scratch / f"seed-{seed}"
            one.mkdir()
            ended = run_forked(lambda s=seed, f=one: _save_one(s, f), self.scratch)  # type: ignore[misc]
            assert ended.code == 0, ended.err
            found.add(self.result(one))
        return found


def _save_one(seed: int, folder: Path) -> int:
    from small import saved

    saved(folder / "model", seed)
    return 0


def kill(bench: Bench, rng: random.Random, report: Report) -> None:
    """Kill the task up to three times, at moments in time or just before a change of the disk, and let it finish."""
    task, folder, again = bench.task, bench.fresh("attacked"), False
    for _ in range(rng.randint(1, _MOST_KILLS)):
        by_event = rng.random() < 0.5
        attack = (
            Attack(at_event=rng.randint(1, max(1, bench.whole.events)))
            if by_event
            else Attack(after=rng.uniform(0, bench.whole.seconds))
        )
        ended = bench.act(folder, again=again, attack=attack)
        again = True
        if ended.code != KILLED:
            break
        report.attacks[task.name] += 1
        found = bench.result(folder)
        if found.startswith("unreadable") or (task.name == "save" and found not in bench.partial):
            report.fault(f"{task.name}, {attack}: after the kill: {found or 'nothing'}")
    _finish(bench, folder, report, "after kills")
    shutil.rmtree(folder)


def fill(bench: Bench, rng: random.Random, report: Report, disk: Callable[[int | None], None] | None = None) -> None:
    """Let the task find the disk full from a random moment on, then free some space, and let it finish.

    Args:
        disk: sets the size of a small disk in bytes, None for large, on which `bench.scratch / "attacked"` lies;
            None: every change of the disk from that moment on fails.
    """
    task, folder = bench.task, bench.fresh("attacked")
    if disk is None:
        attack = Attack(full_from=rng.randint(1, max(1, bench.whole.events)))
    else:
        attack = Attack()
        used = sum(file.stat().st_blocks * 512 for file in folder.rglob("*"))
        disk(used + (1 << rng.randint(12, 19)))
    ended = bench.act(folder, again=False, attack=attack)
    report.attacks[task.name] += 1
    if ended.code not in (0, 2) or (ended.code == 2 and not one_line(ended.err)):
        report.fault(f"{task.name}, {attack}: ended with {ended.code}: {ended.err[-1500:]}")
    elif ended.code == 2:
        report.lines[_without_names(one_line(ended.err), folder)] += 1
        if "space" not in one_line(ended.err):
            report.fault(f"{task.name}, {attack}: {one_line(ended.err)}")
    found = bench.result(folder)
    if found.startswith("unreadable") or (task.name == "save" and found not in bench.partial):
        report.fault(f"{task.name}, {attack}: after the full disk: {found or 'nothing'}")
    if disk is not None:
        disk(None)
    _finish(bench, folder, report, "after a full disk")
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _finish(bench: Bench, folder: Path, report: Report, when: str) -> None:
    """Do the task again; it has to give the same as if nothing had happened, or say what to do."""
    task = bench.task
    ended = bench.act(folder, again=True)
    found = bench.result(folder)
    line = one_line(ended.err)
    left = [str(path.relative_to(folder)) for path in folder.rglob(".*.part")]
    if left:
        report.fault(f"{task.name} {when}: left {left}")
    elif ended.code == 0 or (ended.code == 2 and "finished" in line):  # which the last try had done
        if found == bench.reference:
            report.outcomes[SAME] += 1
        else:
            report.fault(f"{task.name} {when}: other bits, {found}")
    elif ended.code == 2 and line:
        report.outcomes[SAYS] += 1
        report.lines[_without_names(line, folder)] += 1
    else:
        report.fault(f"{task.name} {when}: ended with {ended.code}: {ended.err[-1500:]}")


def _without_names(line: str, folder: Path) -> str:
    return line.replace(str(folder), "FOLDER")


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int | None], None] | None]:
    """A disk of a size of one's own at a folder, where this process may mount one; else None."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        with nullcontext():
            yield None
        return

    def resize(size: int | None) -> None:
        option = "size=64m" if size is None else f"size={size}"
        subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
