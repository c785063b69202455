"""What a check finds: one line each, and one with what fixes it."""

from functools import partial
from typing import NamedTuple

from vicisync.errors import CURE, VicisyncError
from vicisync.output import printable


class Finding(NamedTuple):
    """One thing that was checked: ✓ is well, ⚠ deserves attention, ❌ keeps a run from its work."""

    sign: str
    text: str
    cure: str = ""  # the command to run or the line to write; empty where the text says it, or nothing is to be done
    exit_code: int = 0  # what a run would end with; 0 where it can go on

    def __str__(self) -> str:
        """Return its line, and below it, on one of its own, what fixes it."""
        return printable(f"{self.sign} {self.text}") + (f"\n   → {printable(self.cure)}" if self.cure else "")


def finding_of(error: VicisyncError, cure: str = "") -> Finding:
    """Return what would end a run, with its cure, or with this one where it has none."""
    text, _, own = str(error).partition(CURE)
    return broken(text, own.replace(CURE, "; ") or cure, error.exit_code)


fine, warning, broken = (partial(Finding, sign) for sign in "✓⚠❌")
