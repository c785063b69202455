"""What an answer of the API means for the call that was sent. Pure."""

import json
import re
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

from vicisync.errors import CURE

LONGEST_WORDS = 200  # characters that are kept of what an answer says
_PHRASES = {each.value: each.phrase for each in HTTPStatus}


class Meaning(Enum):
    """What follows from an answer."""

    DELIVERED = "delivered"
    REJECTED = "rejected"  # this call can never be stored; the others may
    TRY_AGAIN = "try again"
    REFUSED = "refused"  # the key or the address is wrong; no call can get through


class Answer(NamedTuple):
    """An answer, or the lack of one, understood."""

    meaning: Meaning
    words: str  # for the operator and the rejected file: the HTTP status and what the API said, cut short
    duplicate: bool = False  # the API knew the call already
    retry_after: float | None = None  # seconds that the API asks everyone to wait
    throttled: bool = False  # it tells nothing of this call: too many came, or too early, or time was up
    by_api: bool = False  # in DID Optimizer's own JSON
    perhaps_stored: bool = False  # the API may have the call all the same: sent again, it may be stored twice
    perhaps_twice: bool = False  # it was sent again already, and may be

    @property
    def why_and_cure(self) -> tuple[str, str]:
        """Return the words, apart from what mends it, which gets a line of its own; the API's stay as they are."""
        is_ours = self.meaning is Meaning.REFUSED or not self.by_api
        why, _, cure = self.words.partition("; ") if is_ours else (self.words, "", "")
        return why, f"{CURE}{cure}" if cure else ""

    @property
    def in_short(self) -> str:
        """What the journal keeps of the usual words, which are the same of each call."""
        return self.words.partition(":")[0] + (" (duplicate)" if self.duplicate else "")


def answer_of(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    retry_after: float | None = None,  # seconds
    api_key: str = "",
    uniqueid: str | None = None,
) -> Answer:
    """Understand an HTTP answer to the POST of ``uniqueid``, in words without the ``api_key``; ``body`` may be cut."""
    content = json_object(body)
    words = _words(http_status, content, api_key)
    by_api = content is not None
    named = _uniqueids(content, uniqueid) if content and uniqueid and b"uniqueid" in body.lower() else ()
    if named and uniqueid not in named:  # answers have shifted: whose it is, nobody knows
        words = f"{words}, but the answer is to another call, {_one_line(min(named), api_key)[:20]}"
        return Answer(Meaning.TRY_AGAIN, words, perhaps_stored=True)
    if 200 <= http_status < 300:
        success = content.get("success") if content and http_status in (200, 201) else None
        if content and success is True:
            return Answer(Meaning.DELIVERED, words, duplicate=content.get("duplicate") is True, by_api=True)
        if success is False:  # "Database connection lost, try again" came so for every call: it tells nothing of this
            return Answer(Meaning.TRY_AGAIN, words, retry_after=retry_after, by_api=True)
        why = "but not in the words of DID Optimizer" if http_status in (200, 201) else "which DID Optimizer never says"
        return Answer(Meaning.REFUSED, f"{words}, {why}; check api_base_url", perhaps_stored=True)
    if http_status in _CURES_IN_FRONT and not by_api:  # nginx, a proxy, a CDN: no verdict about the call
        return Answer(Meaning.REFUSED, _in_front(http_status, headers, body, words, api_key))
    if http_status in (400, 413, 422):
        return Answer(Meaning.REJECTED, words, by_api=True)
    if http_status in (401, 403, 407):
        return Answer(Meaning.REFUSED, f"{words}; check api_key", by_api=True)
    if http_status in (404, 405):
        return Answer(Meaning.REFUSED, f"{words}; check api_base_url")
    if 300 <= http_status < 400:
        to = _moved_to(_one_line(headers.get("Location", ""), api_key))
        return Answer(Meaning.REFUSED, f"{words}: the API has moved{to}")
    throttled = http_status in (425, 429)
    perhaps_stored = http_status >= 500 and http_status != 503  # it fails after it has saved
    return Answer(Meaning.TRY_AGAIN, words, False, retry_after, throttled, by_api, perhaps_stored)


_CURES_IN_FRONT = {
    **dict.fromkeys((400, 413, 422), "check api_base_url and what is on the way"),
    401: "it wants a user and password: let this server pass without them",
    403: "it does not let this server pass: allow its address there",
    407: "it is a proxy and wants a user and password: write them into the environment, or do without it",
}
"""The HTTP status codes that are a verdict only in DID Optimizer's own JSON, with the cure where they are not."""


def _in_front(http_status: int, headers: Mapping[str, str], body: bytes, words: str, api_key: str) -> str:
    if b"plain HTTP request was sent to HTTPS port" in body:  # nginx speaks, not the API
        return f"{words}: the server expects https; write https:// in api_base_url"
    server = _one_line(headers.get("Server", ""), api_key)[:40] or "something"
    title = re.search(rb"<title>([^<]{1,80})", body, re.IGNORECASE)
    said = f" ({_one_line(title[1].decode('utf-8', 'replace'), api_key)})" if title else ""
    cure = _CURES_IN_FRONT[http_status]
    return f"{words}{said}, not from DID Optimizer but from {server} in front of it; {cure}"


def _uniqueids(content: Mapping[str, object], uniqueid: str) -> set[str]:
    """Return the ids of calls that an answer names, in itself or one level down; as a number, an id loses digits."""
    number = float(uniqueid) if re.fullmatch(r"\d+\.\d+", uniqueid) else None
    levels = [content, *(value for value in content.values() if isinstance(value, dict))]
    named = [value for level in levels for key, value in level.items() if key.lower() == "uniqueid" and value]
    return {uniqueid if value == number else str(value) for value in named}


def json_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object that all of DID Optimizer's answers are but the one to too many requests; else None."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _words(http_status: int, content: Mapping[str, object] | None, api_key: str) -> str:
    phrase = f"{http_status} {_PHRASES.get(http_status, '')}".rstrip()
    for key in ("error", "message"):
        said = (content or {}).get(key)
        if isinstance(said, str) and said.strip():
            return f"{phrase}: {_one_line(said, api_key)}"[:LONGEST_WORDS]
    return phrase


def _one_line(said: str, api_key: str) -> str:
    """Keep what others say from making lines of its own in the log, and from taking the key there."""
    return " ".join((said.replace(api_key, "…") if api_key else said).split())


def _moved_to(location: str) -> str:
    """Return what api_base_url has to be, as far as the redirect tells."""
    if not location:
        return ", and does not say where to; check api_base_url"
    base, found, rest = location.partition("/api/v1/call-results")
    if found and rest[:1] in ("", "?") and base.startswith(("http://", "https://")):
        return f"; write api_base_url={base[:LONGEST_WORDS]}"
    return f" to {location[:LONGEST_WORDS]!r}; check api_base_url"
