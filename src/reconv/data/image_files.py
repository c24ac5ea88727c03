"""Images on disk without a folder per class: images alone, and a CSV of files and labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from reconv.data.dataset import DataSet
from reconv.data.folder import IMAGE_ENDINGS, FolderSplit, check_images, sizes_of, usual_share
from reconv.data.sources import LoadOptions
from reconv.data.splits import Split, hold_out
from reconv.errors import DataError
from reconv.provenance import IMAGENET

NO_LABEL = -1
_FILE_COLUMNS = ("file", "path", "image", "filename", "file_name", "filepath")
_LABEL_COLUMNS = ("label", "class", "target", "category")
_SPLIT_COLUMNS = ("split", "subset")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


# --- images alone ---------------------------------------------------------------------------------------------


def load_images_alone(options: LoadOptions) -> DataSet:
    """All images below a folder, at any depth; of one with `train/`, those in there. No label is read."""
    folder = options.path / "train" if (options.path / "train").is_dir() else options.path
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if len(files) < 2:
        raise DataError(f"{folder}: {len(files)} images in it; give a folder with at least two")
    check_images(folder, files)
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    split = FolderSplit(folder, names, torch.full((len(names),), NO_LABEL), *sizes_of(options, folder.name))
    return in_splits(options, split, (), labelled=False)


def holds_images_alone(path: Path) -> bool:
    """Whether a folder holds images, and no `train/` with a folder per class."""
    if not path.is_dir() or (path / "train").is_dir():
        return False
    return any(each.suffix.lower() in IMAGE_ENDINGS for each in path.rglob("*"))


# --- a CSV of files and labels ----------------------------------------------------------------------------------


def is_table(path: Path) -> bool:
    """Whether this is a CSV file."""
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv")


def load_table(options: LoadOptions) -> DataSet:
    """Images and labels by a CSV: a column of files, relative to it, one of labels, and perhaps one of splits.

    Raises:
        DataError: no such columns, no such files, or labels of a single class.
    """
    table = options.path
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t" if table.suffix.lower() == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table ({error}); give a CSV with a header") from None
    columns = list(rows[0]) if rows else []
    file, label = (_column(table, columns, names) for names in (_FILE_COLUMNS, _LABEL_COLUMNS))
    split = next((name for name in columns if name.strip().lower() in _SPLIT_COLUMNS), None)
    for number, row in enumerate(rows, 2):
        if not row[file] or not row[label]:
            raise DataError(f"{table}: line {number} lacks a {file if not row[file] else label}; fill it in")
    names = [row[file] for row in rows]
    missing = [name for name in names if not (table.parent / name).is_file()]
    if missing:
        raise DataError(f"{table}: {len(missing)} of its {len(names)} files are not there, such as {missing[0]}")
    classes = tuple(sorted({row[label] for row in rows}, key=_in_order))
    if len(classes) < 2:
        raise DataError(f"{table}: labels of one class; give at least two")
    check_images(table.parent, [table.parent / name for name in names])
    labels = torch.tensor([classes.index(row[label]) for row in rows])
    whole = FolderSplit(table.parent, tuple(names), labels, *sizes_of(options, table.name))
    parts = (
        [SPLIT_NAMES.get(str(row[split]).strip().lower(), "test") for row in rows] if split else ["train"] * len(rows)
    )
    return in_splits(options, whole, classes, parts)


def _column(table: Path, columns: Sequence[str], names: Sequence[str]) -> str:
    found = next((column for column in columns if column.strip().lower() in names), None)
    if found is None:
        there = ", ".join(columns) or "nothing"
        raise DataError(f"{table}: columns {there}; it needs one called {' or '.join(names[:4])}")
    return found


def _in_order(label: str) -> tuple[int, float, str]:
    """Numbers by their size, texts by the alphabet."""
    return (0, float(label), "") if label.replace(".", "", 1).isdigit() else (1, 0.0, label)


def in_splits(
    options: LoadOptions, whole: Any, classes: tuple[str, ...], parts: Sequence[str] = (), *, labelled: bool = True
) -> DataSet:
    """Images in three splits: as `parts` says for each, the missing ones held out of the training images."""
    parts = parts or ["train"] * len(whole)
    where = {name: [i for i, part in enumerate(parts) if part == name] for name in ("train", "validation", "test")}
    if not where["train"]:
        raise DataError(f"{options.path}: no training images; say them in the column split, or leave the column out")
    splits: dict[str, Split] = {name: whole.subset(torch.tensor(each).long()) for name, each in where.items()}
    for name in ("test", "validation") if labelled else ():
        if not where[name]:
            train, usual = splits["train"], usual_share("", len(splits["train"]))
            wanted = options.validation if name == "validation" and options.validation is not None else usual
            kept, held = hold_out(train.labels, wanted, options.seed)
            splits |= {name: train.subset(held), "train": train.subset(kept)}
    return DataSet(
        options.path.resolve().name,
        classes,
        (whole.channels, whole.side, whole.side),
        options.normalization or IMAGENET,
        **splits,
        labelled=labelled,
        assumed=options.normalization is None,
    )
