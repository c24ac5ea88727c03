"""What is read of a study's records."""

from __future__ import annotations

from typing import Any


def outcomes(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What cells found, without when and by what."""
    return {key: record["outcome"] for key, record in records.items()}
