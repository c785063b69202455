"""What an answer of the API means for the call that was sent. Pure."""

import json
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

LONGEST_WORDS = 200  # characters that are kept of what an answer says


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
    throttled: bool = False  # any other call would have been answered the same: too many came, or too early


def answer_of(
    http_status: int, headers: Mapping[str, str], body: bytes, retry_after: float | None = None, api_key: str = ""
) -> Answer:
    """Understand an HTTP answer: ``body`` may be cut short, ``retry_after`` is in seconds.

    Where the answer repeats the ``api_key``, the words do not.
    """
    content = json_object(body)
    words = _words(http_status, content, api_key)
    if http_status in (200, 201):
        if content is not None and content.get("success") is True:
            return Answer(Meaning.DELIVERED, words, duplicate=content.get("duplicate") is True)
        if content is not None and content.get("success") is False:
            # "Database connection lost, try again" came so for every call: it tells nothing of this one.
            return Answer(Meaning.TRY_AGAIN, words, retry_after=retry_after)
        return Answer(Meaning.REFUSED, f"{words}, but not in the words of DID Optimizer; check api_base_url")
    if http_status == 400 and b"plain HTTP request was sent to HTTPS port" in body:  # nginx speaks, not the API
        return Answer(Meaning.REFUSED, f"{words}: the server expects https; write https:// in api_base_url")
    if http_status in (400, 401, 403, 407, 413, 422) and content is None:  # nginx, a proxy, a CDN: no verdict
        return Answer(Meaning.REFUSED, f"{words}, {_NOT_THE_API}")
    if http_status in (400, 413, 422):
        return Answer(Meaning.REJECTED, words)
    if http_status in (401, 403):
        return Answer(Meaning.REFUSED, f"{words}; check api_key")
    if http_status in (404, 405):
        return Answer(Meaning.REFUSED, f"{words}; check api_base_url")
    if 300 <= http_status < 400:
        location = _one_line(headers.get("Location", ""), api_key)
        return Answer(Meaning.REFUSED, f"{words}: the API has moved{_moved_to(location)}")
    if 200 <= http_status < 300:
        return Answer(Meaning.REFUSED, f"{words}, which DID Optimizer never says; check api_base_url")
    return Answer(Meaning.TRY_AGAIN, words, retry_after=retry_after, throttled=http_status in (425, 429))


_NOT_THE_API = "not from DID Optimizer but from something in front of it; check api_base_url and what is on the way"


def json_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object that all of DID Optimizer's answers are but the one to too many requests; else None."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _words(http_status: int, content: Mapping[str, object] | None, api_key: str) -> str:
    try:
        phrase = f"{http_status} {HTTPStatus(http_status).phrase}"
    except ValueError:
        phrase = str(http_status)
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
    base, found, _ = location.partition("/api/v1/call-results")
    if found and base.startswith(("http://", "https://")):
        return f"; write api_base_url={base[:LONGEST_WORDS]}"
    return f" to {location[:LONGEST_WORDS]!r}; check api_base_url"
