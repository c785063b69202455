"""Whether clocks and time zones agree: the database's with this machine's, and the rows' with the database's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.errors import DatabaseError
from vicisync.report import counted

DRIFT = 8
"""Seconds by which VICIdial itself lets clocks differ."""


def clock(ahead: float) -> Finding:
    """Judge by how many seconds the database's clock is ahead of ours."""
    if abs(ahead) <= DRIFT:
        return fine("Its clock and this machine's agree")
    direction = "ahead of" if ahead > 0 else "behind"
    return warning(
        f"The database's clock is {abs(ahead):.0f} s {direction} this machine's; vicisync goes by the database's",
        "on both machines: timedatectl set-ntp true",
    )


def zones(seconds_apart: Sequence[int | None], zone: str, overlap: int) -> Iterator[Finding]:
    """Judge by how many seconds call_date, which is wall time, is ahead of start_epoch in each of the newest calls.

    ``zone`` is the database's; None is a call without one of the two.
    """
    compared = [apart for apart in seconds_apart if apart is not None]
    shifts = [shift for apart in compared if (shift := zone_shift(apart))]
    behind, ahead = [shift for shift in shifts if shift < 0], [shift for shift in shifts if shift > 0]
    if not compared:
        yield fine("No calls yet; with some, their time zone can be compared with the database's")
    elif not shifts:
        yield fine(f"call_date and start_epoch of the newest {counted(len(compared), 'call')} agree, time zone {zone}")
    where = f"newest {counted(len(compared), 'call')} is written"
    cure = "give the machine that writes them the database's time zone: timedatectl set-timezone"
    if behind:
        hours = f"call_date of {len(behind)} of the {where} {-min(behind) / 3600:g} h behind the database's {zone}"
        if -min(behind) <= overlap:
            yield warning(f"{hours}; the overlap of {overlap} s finds them, and each run reads that much more", cure)
        else:
            # Of what a run has looked for, it reads what is newer than the last poll by call_date, less the overlap.
            until_then = f"until then, in [vicisync]: overlap={min(86400, 600 - min(behind))}"
            yield broken(DatabaseError.exit_code, f"{hours}; runs do not find such calls", f"{cure}; {until_then}")
    if ahead:
        hours = f"call_date of {len(ahead)} of the {where} {max(ahead) / 3600:g} h ahead of the database's {zone}"
        yield warning(f"{hours}; each run reads so many hours more", cure)


def zone_shift(apart: int) -> int:
    """Return the seconds by which time zones explain that call_date and start_epoch are ``apart``; 0 where they do not.

    Zones lie whole quarters of an hour apart, 26 hours at most, and VICIdial writes call_date within a minute of
    start_epoch.
    """
    shift = round(apart / 900) * 900
    return shift if abs(apart - shift) <= 60 and abs(shift) <= 26 * 3600 else 0
