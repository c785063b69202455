"""What a check finds: one line each, with what fixes it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from vicisync.output import printable


class Severity(Enum):
    """How bad a finding is; the value is the sign in front of its line."""

    FINE = "✓"
    WARNING = "⚠"
    BROKEN = "❌"


class Finding(NamedTuple):
    """One thing that was checked."""

    severity: Severity
    text: str
    cure: str = ""
    """The command to run or the line to write; empty where the text says it, or nothing is to be done."""
    exit_code: int = 0
    """What a run would exit with; 0 where it could go on."""

    def __str__(self) -> str:
        """Return its line: ``❌ what is wrong → what fixes it``."""
        cure = f" → {self.cure}" if self.cure else ""
        return printable(f"{self.severity.value} {self.text}{cure}")


def fine(text: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(Severity.FINE, text)


def warning(text: str, cure: str = "") -> Finding:
    """Return a finding that a run can live with, and its administrator should not."""
    return Finding(Severity.WARNING, text, cure)


def broken(exit_code: int, text: str, cure: str = "") -> Finding:
    """Return a finding that no run can live with, and the exit code that it would end with."""
    return Finding(Severity.BROKEN, text, cure, exit_code)


def worst(findings: Iterable[Finding]) -> int:
    """Return the exit code: the lowest of what is broken, since a run would meet that first; else 0."""
    return min((found.exit_code for found in findings if found.severity is Severity.BROKEN), default=0)
