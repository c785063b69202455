"""Everything that can end a run, each with its exit code.

::

    VicisyncError
    ├── ConfigError        2   a setting or option is missing or wrong
    ├── InstallError       2   what install needs of the machine is missing or forbidden
    ├── DatabaseError      3   VICIdial's database cannot be read
    ├── ApiError           4   DID Optimizer cannot be reached, or refuses us
    ├── CheckpointError    5   the checkpoint or the rejected file cannot be trusted or written
    ├── AlreadyRunning    75   another run holds the lock
    └── Stopped      128 + n   a signal ended the run, after saving

Only the command line turns one of these into an exit. Any other exception is a bug.
"""

from __future__ import annotations

import signal


class VicisyncError(Exception):
    """A run cannot go on; ``str()`` is the sentence for the operator, cure included."""

    exit_code: int


class ConfigError(VicisyncError):
    """One or more settings are missing or wrong; each mistake is one line."""

    exit_code = 2

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class InstallError(VicisyncError):
    """What install needs of the machine is missing or forbidden."""

    exit_code = 2


class DatabaseError(VicisyncError):
    """VICIdial's database cannot be read."""

    exit_code = 3


class ApiError(VicisyncError):
    """DID Optimizer is down, limits us for longer than the run lasts, or refuses us."""

    exit_code = 4


class CheckpointError(VicisyncError):
    """The checkpoint or the rejected file cannot be trusted, or cannot be written."""

    exit_code = 5


class AlreadyRunning(VicisyncError):
    """Another run holds the lock."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class Stopped(VicisyncError):
    """A signal asked the run to end; everything was saved first."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


SOME_REJECTED = 6
"""Exit code of a run that got through, but in which calls were rejected."""

BEHIND = 1
"""Exit code of a status that finds calls later than allowed, as monitoring systems read it: a warning."""
