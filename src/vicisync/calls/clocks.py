"""Which clock is to be believed: decisions over the database's, this machine's, and what was seen. Pure."""

from enum import Enum

CLOCK_TOLERANCE = 120  # seconds by which the database's clock may step back unnoticed; VICIdial itself tolerates 8
FIRST_RUN_TOLERANCE = 600  # seconds that the two clocks may lie apart where nothing has been seen yet


class Verdict(Enum):
    """What to make of a time that was seen, as the clocks stand now."""

    BELIEVED = "believed"
    DATABASE_IS_BEHIND = "database is behind"  # its clock alone: the time was seen, and this machine agrees
    TIME_IS_AHEAD = "time is ahead"  # of both clocks: written by hand, or damaged


def verdict(seen: int, database: int, machine: int) -> Verdict:
    """Return what to make of ``seen``, the latest epoch that the checkpoint knows of."""
    if seen - database <= CLOCK_TOLERANCE:
        return Verdict.BELIEVED
    return Verdict.TIME_IS_AHEAD if seen - machine > CLOCK_TOLERANCE else Verdict.DATABASE_IS_BEHIND


def has_walked(before: tuple[int, int], database: int, machine: int) -> bool:
    """Return whether the database's clock went on since ``before`` (its epoch and this machine's) as time passed.

    One that has jumped was a lie for a moment; one that walks is what its rows are dated by.
    """
    return abs((database - before[0]) - (machine - before[1])) <= CLOCK_TOLERANCE
