"""DID Optimizer's API: the only user of requests."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from vicisync import __version__
from vicisync.answer import LONGEST_WORDS, Answer, Meaning, answer_of
from vicisync.config import Settings

PATH = "/api/v1/call-results"

LARGEST_ANSWER = 64 * 1024
"""Bytes that are read of an answer; the API's own are below one KiB."""


class ApiSession:
    """One kept-alive connection to the API; to be used by one worker at a time.

    The request is prepared once and only its body changes: preparing costs as much as sending.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.api_timeout
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1))
        headers = {
            "x-api-key": settings.api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"vicisync/{__version__}",
        }
        self._request = requests.Request("POST", settings.api_base_url + PATH, headers=headers).prepare()
        if settings.verify_ssl is False:
            # The run says it once, in its own words.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        verify = settings.verify_ssl if isinstance(settings.verify_ssl, bool) else str(settings.verify_ssl)
        # Proxies and a CA bundle of the environment count, as for every program of the machine.
        self._transport: Mapping[str, Any] = self._session.merge_environment_settings(
            self._request.url, {}, True, verify, None
        )
        self._answered_before = False

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def post(self, payload: Mapping[str, object]) -> Answer:
        """Send one call, once, and say what came of it; whatever the network does becomes an Answer."""
        self._request.body = json.dumps(payload).encode("ascii")
        self._request.headers["Content-Length"] = str(len(self._request.body))
        try:
            try:
                answer = self._exchange()
            except requests.ConnectionError as error:
                if not (self._answered_before and _closed_without_answer(error)):
                    raise
                # The server had closed the kept-alive connection; a fresh one tells whether anything is wrong.
                answer = self._exchange()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self._answered_before = False
            return _answer_of_failure(error, self._timeout)
        self._answered_before = True
        return answer

    def _exchange(self) -> Answer:
        give_up = time.monotonic() + self._timeout
        with self._session.send(
            self._request, timeout=self._timeout, allow_redirects=False, **self._transport
        ) as response:
            body = b""
            for part in response.raw.stream(LARGEST_ANSWER, decode_content=True):
                body += part
                if len(body) > LARGEST_ANSWER:
                    break
                if time.monotonic() > give_up:  # requests' own timeout starts again with every byte
                    raise requests.ReadTimeout
        return answer_of(response.status_code, response.headers, body, _retry_after(response.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return Retry().parse_retry_after(headers["Retry-After"])
    except (KeyError, urllib3.exceptions.InvalidHeader):
        return None


def _closed_without_answer(error: Exception) -> bool:
    return any(isinstance(cause, ConnectionError) for cause in _causes(error)) and not isinstance(
        error, requests.exceptions.SSLError
    )


def _answer_of_failure(error: Exception, timeout: float) -> Answer:
    """Put a failure of the network into words; TLS that is set up wrongly needs a person, all else may pass."""
    causes = list(_causes(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Answer(
                Meaning.REFUSED,
                f"its certificate is not to be trusted ({cause.verify_message}); where the API has a CA of its own,"
                " name that CA's file in verify_ssl",
            )
    if caused_by(ssl.SSLError) and not caused_by(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Answer(Meaning.REFUSED, "the server does not speak TLS as we do; check https:// in api_base_url")
    if caused_by(requests.ConnectTimeout):
        words = f"no connection within {timeout:g} s"
    elif caused_by(requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
        words = f"no answer within {timeout:g} s"
    elif caused_by(socket.gaierror):
        words = "the name in api_base_url cannot be resolved"
    elif caused_by(ConnectionRefusedError):
        words = "connection refused"
    elif caused_by(urllib3.exceptions.IncompleteRead):
        words = "the answer broke off"
    elif caused_by(ConnectionError):
        words = "the connection was cut without an answer"
    elif caused_by(http.client.HTTPException):
        words = "the answer is not HTTP"
    else:
        words = f"{type(error).__name__}: {error}"[:LONGEST_WORDS]
    return Answer(Meaning.TRY_AGAIN, words)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and all that it was made from; requests and urllib3 wrap up to four deep, in three ways."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
