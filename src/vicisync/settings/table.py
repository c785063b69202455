"""Every setting: its default, where it may stand, and what its text may be.

A parser returns the value, or raises ValueError with half a sentence, "must be ...". `settings.settings`, which knows the
place and whether the text is a secret, completes it; so no parser puts the text in.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, NamedTuple
from urllib.parse import urlsplit


def whole_number(lowest: int, highest: int, unit: str = "") -> Callable[[str], int]:
    """Make a parser for whole numbers from ``lowest`` to ``highest``; ``unit`` is said in the mistake."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number{unit and f' of {unit}'} from {lowest} to {highest}, digits only")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Parse a time-out: more than 0 and at most 300 seconds, fractions allowed."""
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= 300:
        raise ValueError("must be a number of seconds above 0 and up to 300, such as 10 or 2.5")
    return float(text)


_YES_NO = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


def yes_no(text: str) -> bool:
    """Parse yes, true, 1, no, false or 0, in any case."""
    try:
        return _YES_NO[text.lower()]
    except KeyError:
        raise ValueError("must be yes or no") from None


def word(text: str) -> str:
    """Parse a host name, a database's name or a user: printable ASCII without white space."""
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("must be printable ASCII without white space")
    return text


def password(text: str) -> str:
    """Take any database password; return it as PyMySQL wants it, one Latin-1 character for each byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def path(text: str) -> Path:
    """Parse the absolute path of a file, there or not: cron's working directory is no place to rely on."""
    if not text.startswith("/") or not text.isprintable():
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
_URL = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])"  # a host, but no user:password@ before it
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?",
    re.ASCII | re.IGNORECASE,
)


def base_url(text: str) -> str:
    """Parse the URL in front of ``/api/v1/call-results``; return it without a slash at its end."""
    if not _is_url(text) or any(sign in text for sign in "?#@"):  # @ in the path: a password with a / in it
        raise ValueError(
            "must be http:// or https:// and a host, without user, password, query or fragment, "
            "such as http://localhost:5000"
        )
    base = text.rstrip("/")
    if end := re.search(r"/+api/+v1(/.*)?$", base):
        raise ValueError(f"must end before {end[0]}, which vicisync adds itself: write {base[: end.start()]}")
    return base


def url(text: str) -> str:
    """Parse an http or https URL, query allowed."""
    if not _is_url(text):
        raise ValueError("must be an http:// or https:// URL without user and password")
    return text


def _is_url(text: str) -> bool:
    match = _URL.fullmatch(text)
    try:
        urlsplit(text)
    except ValueError:  # what stands between the brackets is no IPv6 address
        return False
    return match is not None and 1 <= int(match["port"] or 443) <= 65535


def api_key(text: str) -> str:
    """Take a key that can stand in an HTTP header."""
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("must be printable ASCII without white space: copy it again from DID Optimizer")
    return text


def a_status(text: str) -> str:
    """Parse one VICIdial status."""
    if not re.fullmatch(r"\S{1,6}", text) or not text.isprintable():
        raise ValueError("must be a VICIdial status, 1 to 6 characters without white space")
    return text


def statuses(text: str) -> frozenset[str]:
    """Parse VICIdial statuses separated by spaces, commas or both."""
    try:
        found = frozenset(a_status(part) for part in re.split(r"[\s,]+", text) if part)
    except ValueError:
        found = frozenset()
    if not found:
        raise ValueError("must be VICIdial statuses of 1 to 6 characters, such as INCALL QUEUE DISPO")
    return found


class Setting(NamedTuple):
    """A row of `SETTINGS`."""

    name: str
    """As in `Settings`."""
    default: str
    """As it would be written in dids.conf; empty: None, or to be given."""
    parse: Callable[[str], object]
    section: str
    """Of dids.conf."""
    variable: str | None = None
    """In the environment."""
    vicidial: str | None = None
    """In astguiclient.conf, which, where it exists, is asked instead of dids.conf."""
    other_key: str | None = None
    shown: bool = True
    """Whether a mistake may show the text: not if it is a secret, or could hold one."""

    @property
    def key(self) -> str:
        """Its key in dids.conf."""
        return self.other_key or self.name


_CHECKPOINT = "/var/lib/vicisync/checkpoint"
_REJECTED = "/var/lib/vicisync/rejected.jsonl"
_OLD_CHECKPOINT = "/tmp/did-optimizer-last-check.txt"  # noqa: S108  (where the Perl script put it; only ever read)
_OVERLAP = whole_number(420, 86400, "seconds")  # VICIdial's audit adds rows up to 7 minutes late

SETTINGS = (
    Setting("db_host", "localhost", word, "general", "VICIDIAL_DB_HOST", "VARDB_server"),
    Setting("db_port", "3306", whole_number(1, 65535), "general", "VICIDIAL_DB_PORT", "VARDB_port"),
    Setting("db_user", "cron", word, "general", "VICIDIAL_DB_USER", "VARDB_user"),
    Setting("db_password", "1234", password, "general", "VICIDIAL_DB_PASSWORD", "VARDB_pass", "db_pass", shown=False),
    Setting("db_name", "asterisk", word, "general", "VICIDIAL_DB_NAME", "VARDB_database"),
    Setting("api_base_url", "http://localhost:5000", base_url, "general", "DID_OPTIMIZER_API_URL", shown=False),
    Setting("api_key", "", api_key, "general", "API_KEY", shown=False),
    Setting("api_timeout", "10", seconds, "general"),
    Setting("max_retries", "3", whole_number(0, 10), "general"),
    Setting("verify_ssl", "1", verification, "general"),
    Setting("batch_size", "500", whole_number(1, 10000), "vicisync"),
    Setting("concurrency", "8", whole_number(1, 64), "vicisync"),
    Setting("overlap", "600", _OVERLAP, "vicisync"),
    Setting("wait_for_disposition", "900", whole_number(0, 86400, "seconds"), "vicisync"),
    Setting("waiting_statuses", "INCALL QUEUE DISPO ALTNUM DONEM XFER", statuses, "vicisync"),
    Setting("give_up_after", "28800", whole_number(3600, 604800, "seconds"), "vicisync"),
    Setting("max_runtime", "50", whole_number(0, 86400, "seconds"), "vicisync"),
    Setting("checkpoint_file", _CHECKPOINT, path, "vicisync"),
    Setting("rejected_file", _REJECTED, path, "vicisync"),
    Setting("old_checkpoint_file", _OLD_CHECKPOINT, path, "vicisync"),
    Setting("db_timeout", "10", whole_number(1, 300, "seconds"), "vicisync"),
    Setting("db_ssl_ca", "", ca_file, "vicisync"),
    Setting("log_phone_numbers", "yes", yes_no, "vicisync"),
    Setting("metrics_file", "", path, "vicisync"),
    Setting("ping_url", "", url, "vicisync", shown=False),
)
"""Every setting, once: reading, the check for misspelt keys and the test of ``conf.example`` follow from it."""
