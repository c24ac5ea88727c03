"""Ctrl-C, carried past the command-line library, which would turn it into its own message."""

from __future__ import annotations

from pathlib import Path


class Stopped(Exception):  # noqa: N818  (nothing went wrong)
    """A command was interrupted; `folder` is where it can go on, None if it cannot; `flag` is what says so."""

    def __init__(self, folder: Path | None = None, flag: str = "--resume") -> None:
        super().__init__("interrupted")
        self.folder = folder
        self.flag = flag
