"""A study's results for pandas, CSV and LaTeX, and its pictures."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from reconv.errors import ArtifactError, ConfigError, UnknownNameError
from reconv.study import StudyTables, load_study

ROW = {
    "network": "base_1",
    "arm": "repaired",
    "scheme": "uniform",
    "budget": "macs=0.5",
    "criterion": "nuclear",
    "seeds": 1,
    "accuracy": 90.0,
    "accuracy_low": 89.0,
    "accuracy_high": 91.5,
    "difference": 1.0,
    "difference_low": 0.5,
    "difference_high": 1.5,
    "macs_left": 0.5,
    "parameters_left": 0.4,
}
REFERENCE = ROW | {"criterion": "l1", "difference": None, "difference_low": None, "difference_high": None}
TABLES = StudyTables("widths & norms", (), (ROW, REFERENCE))


def test_csv_has_every_line_and_interval() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLES.to_csv())))
    assert [row["criterion"] for row in rows] == ["nuclear", "l1"]
    assert float(rows[0]["difference_low"]) == 0.5
    assert rows[1]["difference"] == ""


def test_latex_escapes_names_and_shows_intervals() -> None:
    text = TABLES.to_latex()
    assert r"base\_1 & repaired & uniform & macs=0.5 & nuclear & $90.00$ $[89.00, 91.50]$ & $1.00$" in text
    assert text.count(r" \\") == 3


def test_pandas_has_the_same_lines() -> None:
    pytest.importorskip("pandas")
    frame = TABLES.to_pandas()
    assert list(frame["criterion"]) == ["nuclear", "l1"]
    assert frame["accuracy"].iloc[0] == 90


def test_a_folder_without_a_study_is_refused(tmp_path: object) -> None:
    with pytest.raises(ArtifactError, match="no study"):
        load_study(str(tmp_path))


def test_pictures_show_what_the_tables_say() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from reconv import plot

    ax = plot.accuracy(TABLES)
    assert ax.get_ylabel() == "accuracy, %"
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"nuclear", "l1"}
    assert [text.get_text() for text in plot.forest(TABLES).get_yticklabels()] == ["nuclear"]
    with pytest.raises(ConfigError, match="reference"):
        plot.forest(replace(TABLES, lines=(REFERENCE,)))
    with pytest.raises(UnknownNameError):
        plot.accuracy(TABLES, "seconds")
