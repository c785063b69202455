"""What a check finds: one line each, with what fixes it."""

from functools import partial
from typing import NamedTuple

from vicisync.output import printable


class Finding(NamedTuple):
    """One thing that was checked: ✓ is well, ⚠ deserves attention, ❌ keeps a run from its work."""

    sign: str
    text: str
    cure: str = ""  # the command to run or the line to write; empty where the text says it, or nothing is to be done
    exit_code: int = 0  # what a run would end with; 0 where it can go on

    def __str__(self) -> str:
        """Return its line: ``❌ what is wrong → what fixes it``."""
        return printable(f"{self.sign} {self.text}{' → ' if self.cure else ''}{self.cure}")


fine, warning, broken = (partial(Finding, sign) for sign in "✓⚠❌")
