"""Points in time as operators write and read them: wall time, epochs, "2 hours ago". Pure but for the zone."""

import re
import time
from bisect import bisect_left
from calendar import timegm
from contextlib import suppress

from vicisync.errors import CURE

LOCAL = "%Y-%m-%d %H:%M:%S"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = r"(\d{1,6})\s*(s|m|h|d|w|sec|min|(?:second|minute|hour|day|week)s?)"
_DURATION = re.compile(rf"\s*(?:{_PART}\s*)+", re.ASCII | re.IGNORECASE)
_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"\d\d?:\d\d(?::\d\d)?"
_POINT = re.compile(rf"({_DAY})(?:[T ]+({_CLOCK})(?:\.\d+)?\s*([+-]\d\d(?::?\d\d)?|[A-Za-z]+)?)?", re.ASCII)
_WORDS = re.compile(rf"(today|yesterday)?\s*({_CLOCK})?", re.ASCII | re.IGNORECASE)
LATEST = 2**32 - 1  # the last epoch that VICIdial's INT UNSIGNED holds
EARLIEST = 946_684_800  # the first second of 2000, before VICIdial: a bare number below it is a year or a slip


def local(epoch: float) -> str:
    """Return an epoch as local wall time, the form that operators of the old Perl script know."""
    return time.strftime(LOCAL, time.localtime(epoch))


def zoned(epoch: float) -> str:
    """Return an epoch as local wall time with its zone, which tells apart the hours that autumn has twice."""
    return time.strftime(f"{LOCAL} %Z", time.localtime(epoch))


def ago(seconds: int) -> str:
    """Return a length of time as people say it: ``20 s``, ``5 min``, ``9 h 12 min``, ``2 days 3 h``."""
    for unit, size, smaller, part in (("days", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "", 60)):
        if seconds >= 2 * size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def since(epoch: int, now: int) -> str:
    """Return how long ago an epoch was, or, where a clock was set back, how far it lies ahead."""
    return f"{ago(now - epoch)} ago" if now >= epoch else f"{ago(epoch - now)} ahead of this machine's clock"


def parse_duration(text: str) -> int:
    """Return the seconds of ``90``, ``90s``, ``5m``, ``1h30m``, ``2 days``; raise ValueError for anything else."""
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no length of time")
    return sum(int(number) * _SECONDS[unit[0].lower()] for number, unit in re.findall(_PART, text, re.IGNORECASE))


def parse_timestamp(text: str) -> int:
    """Return the epoch of ``2024-10-24 12:00:00`` (local, or with its zone: ``Z``, ``+02:00``, ``CEST``) or a bare one.

    What follows the dot of an epoch does not count, so that the id of a call is the second in which it began. Of the
    hour that autumn has twice, the first is meant; the hour that spring leaves out is the moment at which it did.
    Raises ValueError for anything else.
    """
    text = text.strip()
    if match := re.fullmatch(r"([0-9]{1,10})(?:\.[0-9]{1,9})?", text):
        epoch = int(match[1])
    elif match := _POINT.fullmatch(text):
        epoch = _epoch(*match.groups())
    else:
        raise ValueError(f"{text!r} is no point in time")
    if not EARLIEST <= epoch <= LATEST:
        raise ValueError(f"{text} is outside of the epochs that VICIdial can hold")
    return epoch


def _epoch(day: str, clock: str | None, zone: str | None) -> int:
    clock = re.sub(r"^\d:", r"0\g<0>", clock or "00:00")
    shown = f"{day} {clock}:00"[: len("2024-10-24 12:00:00")]
    read = time.strptime(shown, LOCAL)
    if zone in ("Z", "UTC", "GMT"):
        return timegm(read)
    if zone and zone not in time.tzname:  # an offset; strptime raises ValueError for what is none
        return timegm(read) - (time.strptime(zone.ljust(5, "0"), "%z").tm_gmtoff or 0)
    try:
        guess = int(time.mktime(read))
    except OverflowError as error:
        raise ValueError(str(error)) from error
    for epoch in (guess - 3600, guess - 1800, guess, guess + 1800, guess + 3600):
        if time.strftime("%Z" if zone else "", time.localtime(epoch)) == (zone or "") and local(epoch) == shown:
            return epoch
    if zone:
        raise ValueError(f"{shown} was not in {zone} here")
    around = range(guess - 7200, guess + 7200)
    return around[bisect_left(around, shown, key=local)]


def parse_when(text: str, now: float) -> int:
    """Return the epoch of a point in time, or of what its words mean at the epoch ``now``.

    A time of day is the last one that has been. Raises ValueError with the forms that would do.
    """
    words = text.strip()
    with suppress(ValueError):
        if words.lower() == "now":
            return int(now)
        if words and (match := _WORDS.fullmatch(words)):
            epoch = _on_day(now, (match[1] or "").lower() == "yesterday", match[2])
            return epoch if match[1] or epoch <= now else _on_day(now, 1, match[2])
        back = re.sub(r"\s+ago$", "", words, flags=re.IGNORECASE)
        epoch = int(now) - parse_duration(back) if _DURATION.fullmatch(back) else parse_timestamp(words)
        if epoch >= 0:
            return epoch
    forms = "2024-10-24 12:00:00 (local), 2024-10-24T12:00:00+02:00, an epoch such as 1729771200, 14:00, yesterday"
    raise ValueError(f"cannot read {text!r} as a time{CURE}write {forms}, or how long ago, such as 90m, 1h30m or 2d")


def _on_day(now: float, days_back: int, clock: str | None) -> int:
    today = time.localtime(now)
    noon = time.mktime((*today[:2], today.tm_mday - days_back, 12, 0, 0, 0, 0, -1))  # no zone changes its clocks then
    return _epoch(local(noon)[:10], clock, None)
