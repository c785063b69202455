"""What a setting's text may be: a parser returns the value, or raises ValueError("must be ...") without the text."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from vicisync.calls.times import parse_duration

COMMENT = re.compile(r"(?<!\s)\s+[;#].*")  # behind a value, as DID Optimizer's own template has it behind numbers
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")  # as a shell wants it: in these files the quotes are part of the text


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a parser of whole numbers."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}, digits only")
        return int(text)

    return parse


def duration(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a parser of times in seconds, which may be written with their units."""

    def parse(text: str) -> int:
        with suppress(ValueError):
            if lowest <= (seconds := parse_duration(text)) <= highest:
                return seconds
        raise ValueError(f"must be a time from {lowest} to {highest} seconds, such as 90, 90s, 5m, 2h or 1d")

    return parse


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """Make a parser of printable texts that match a regular expression, described by ``what``."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text) or not text.isprintable():
            raise ValueError(f"must be {what}")
        return text

    return parse


word = matching("[!-~]+", "printable ASCII without white space")  # a host, a database or a user
status = matching(r"[^\s'\"]{1,6}", "a VICIdial status, 1 to 6 characters without white space or quotes")
_key = matching("[!-~]+", "printable ASCII without white space: copy it again from DID Optimizer")


def api_key(text: str) -> str:
    """Parse the API's key; the documents' own example is none."""
    if re.fullmatch("your_(api_)?key(_here)?", text, re.IGNORECASE):
        raise ValueError("must be your own, and is still the example's: copy it from DID Optimizer")
    return _key(text)


def several(one: Callable[[str], str], what: str) -> Callable[[str], frozenset[str]]:
    """Make a parser of texts that are separated by spaces, commas or both."""

    def parse(text: str) -> frozenset[str]:
        try:
            return frozenset(map(one, text.replace(",", " ").split() or [""]))
        except ValueError:
            raise ValueError(f"must be {what}") from None

    return parse


statuses = several(status, "VICIdial statuses of 1 to 6 characters without quotes, such as INCALL QUEUE DISPO")
campaigns = several(matching(r"[^\s'\"]{1,20}", ""), "VICIdial's ids of campaigns without quotes, such as SALES TEST")


def seconds(text: str) -> float:
    """Parse a time-out: more than 0 and at most 300 seconds, fractions allowed."""
    with suppress(ValueError):
        found = float(text) if re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,6}", text) else parse_duration(text)
        if 0 < found <= 300:
            return float(found)
    raise ValueError("must be a number of seconds above 0 and up to 300, such as 10 or 2.5")


def yes_no(text: str) -> bool:
    """Parse yes, true, 1, no, false or 0, in any case."""
    if text.lower() not in ("1", "yes", "true", "0", "no", "false"):
        raise ValueError("must be yes or no")
    return text.lower() in ("1", "yes", "true")


def password(text: str) -> str:
    """Return any database password as PyMySQL wants it, one Latin-1 character for each byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def command(text: str) -> str:
    """Parse a command of the shell's."""
    if not text.isprintable():
        raise ValueError("must be printable UTF-8, on one line")
    return text


def path(text: str) -> Path:
    """Parse the absolute path of a file, there or not: cron's working directory is no place to rely on."""
    if not text.startswith("/") or not text.isprintable() or COMMENT.search(text):
        raise ValueError("must be an absolute path in printable UTF-8, such as /var/lib/vicisync/checkpoint")
    return Path(text)


def ca_file(text: str) -> Path:
    """Parse the absolute path of a CA certificate file, which must be readable now."""
    file = path(text)
    if not (os.access(file, os.R_OK) and file.is_file()):
        raise ValueError("must be the path of a readable CA certificate file (PEM)")
    return file


def verification(text: str) -> bool | Path:
    """Parse whether to verify the API's certificate: yes or no, or the CA file to verify it with."""
    if text.startswith("/"):
        return ca_file(text)
    try:
        return yes_no(text)
    except ValueError:
        raise ValueError("must be 1, 0 or the absolute path of a CA certificate file") from None


_LABEL = "[a-z0-9_-]{1,63}"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])"  # without user:password@ before it
_URL = re.compile(rf"https?://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?:/[!-~]*)?", re.ASCII | re.IGNORECASE)


def url(text: str) -> str:
    """Parse an http or https URL, query allowed."""
    match = _URL.fullmatch(text)
    try:
        urlsplit(text)
    except ValueError:  # what stands between the brackets is no IPv6 address
        match = None
    if not match or not 1 <= int(match["port"] or 443) <= 65535:
        raise ValueError("must be http:// or https:// and a host, without user and password")
    return text


def base_url(text: str) -> str:
    """Parse the URL in front of ``/api/v1/call-results``; return it without a slash at its end."""
    if any(sign in text for sign in "?#@"):  # @ in the path: a password with a / in it
        raise ValueError("must be without user, password, query or fragment, such as http://localhost:5000")
    base = url(text).rstrip("/")
    if end := re.search(r"/+api/+v1(/.*)?$", base):
        raise ValueError(f"must end before {end[0]}, which vicisync adds itself: write {base[: end.start()]}")
    return base
