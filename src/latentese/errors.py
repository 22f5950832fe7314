"""The exceptions a user can meet. Each message is one line that says what to do next.

LatenteseError
├── SettingError      a setting has a value that is not allowed
├── ArtifactError     a file of an artifact is missing, corrupt or of another version
├── AssetError        a packaged model or text cannot be fetched, or has another hash
├── AnswerError       a language model's answer cannot be used; becomes a counted row, never a zero
└── BudgetError       what a language model may cost is spent; the run stops, and what was answered is kept
"""

from __future__ import annotations

from pathlib import Path


class LatenteseError(Exception):
    """Base of everything this package raises on purpose."""


class SettingError(LatenteseError):
    """A setting has a value that is not allowed."""

    def __init__(self, setting: str, value: object, allowed: str) -> None:
        super().__init__(f"{setting}={value!r} is not allowed: {allowed}")


class ArtifactError(LatenteseError):
    """A file of an artifact is missing, corrupt or of another version."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class AssetError(LatenteseError):
    """A packaged model or text cannot be fetched, or has another hash than the pinned one."""


class AnswerError(LatenteseError):
    """A language model's answer cannot be used. Stages turn it into a row with `error`, never into a value."""


class BudgetError(LatenteseError):
    """What a language model may cost is spent. Nothing was asked beyond it, and every answer so far is kept."""
