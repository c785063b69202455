"""Everything that can end a run, with its exit code; only the command line exits. Any other exception is a bug."""

import signal

CURE = "\n→ "  # between the sentence that says what is wrong, and where, and the command or line that mends it


class VicisyncError(Exception):
    """A run cannot go on; ``str()`` is the sentence for the operator, and mostly, on a line of its own, the cure."""

    exit_code: int

    def __init_subclass__(cls, exit_code: int = 1) -> None:
        cls.exit_code = exit_code


class ConfigError(VicisyncError, exit_code=2):
    """One or more settings or options are missing or wrong; each mistake is one line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class InstallError(VicisyncError, exit_code=2):
    """What install needs of the machine is missing or forbidden."""


class DatabaseError(VicisyncError, exit_code=3):
    """VICIdial's database cannot be read."""


class TableLocked(DatabaseError, exit_code=3):
    """Something, such as VICIdial's OPTIMIZE each night, locks its table for longer than a statement waits."""


class ApiError(VicisyncError, exit_code=4):
    """DID Optimizer is down, limits us for longer than the run lasts, or refuses us."""


class CheckpointError(VicisyncError, exit_code=5):
    """The checkpoint or the rejected file cannot be trusted, or cannot be written."""


class AlreadyRunning(VicisyncError, exit_code=75):  # EX_TEMPFAIL of sysexits.h
    """Another run holds the lock."""


class Stopped(VicisyncError):
    """A signal asked the run to end, with exit code 128 + its number (SIGHUP as SIGTERM); all was saved first."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + (signal.SIGTERM if signal_number == signal.SIGHUP else signal_number)


SOME_REJECTED = 6  # exit code of a run that got through, but in which calls were rejected
NOT_FOUND = 1  # exit code of an explain that knows nothing of what it was asked for, as grep has it
BEHIND = 1  # exit code of a status that finds calls later than allowed, as monitoring systems read it: a warning
