"""Points in time as operators write and read them: local wall time, epochs, "2 hours ago". Pure but for the zone."""

import re
import time
from contextlib import suppress

LOCAL = "%Y-%m-%d %H:%M:%S"

_FORMS = {10: "%Y-%m-%d", 16: "%Y-%m-%d %H:%M", 19: LOCAL}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw]|(?:sec|second|min|minute|hour|day|week)s?)(\s+ago)?", re.ASCII | re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LATEST = 2**32 - 1  # the last epoch that VICIdial's INT UNSIGNED holds

EARLIEST = 946_684_800
"""The first second of 2000, before VICIdial: a bare number below it is a year or a slip, not an epoch."""


def local(epoch: float) -> str:
    """Show an epoch as local wall time, the form that operators of the old Perl script know."""
    return time.strftime(LOCAL, time.localtime(epoch))


def ago(seconds: int) -> str:
    """Show how long ago something was, in its largest unit: ``20 s``, ``5 min``, ``3 h``, ``2 days``."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def parse_timestamp(text: str) -> int:
    """Read ``2024-10-24 12:00:00`` (local) or a bare epoch; raise ValueError for anything else."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,10}", text):
        epoch = int(text)
    else:
        try:
            epoch = int(time.mktime(time.strptime(text, _FORMS.get(len(text), LOCAL))))
        except OverflowError as error:
            raise ValueError(str(error)) from error
        if local(epoch - 3600) == local(epoch):  # the hour that autumn has twice is taken as its first
            epoch -= 3600
    if not EARLIEST <= epoch <= LATEST:
        raise ValueError(f"{text} is outside of the epochs that VICIdial can hold")
    return epoch


def parse_when(text: str, now: float) -> int:
    """Read a point in time, or how long before the epoch ``now``; raise ValueError with the forms that would do."""
    with suppress(ValueError):
        ago = _AGO.fullmatch(text.strip())
        epoch = int(now) - int(ago[1]) * _SECONDS[ago[2][0].lower()] if ago else parse_timestamp(text)
        if epoch >= 0:
            return epoch
    forms = "2024-10-24 12:00:00 (local), an epoch such as 1729771200, or how long ago, such as 90m, 1h or 2d"
    raise ValueError(f"cannot read {text!r} as a time: write {forms}")
