"""DID Optimizer's API: what is said to it over HTTP, and what its silence means."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    InsecureRequestWarning,
    InvalidHeader,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.retry import Retry

from vicisync import __version__
from vicisync.did_optimizer.answer import LONGEST_WORDS, Answer, Meaning, answer_of, is_json_object
from vicisync.settings.settings import Settings

PATH = "/api/v1/call-results"

HEALTH = (("POST", "/api/v1/health"), ("GET", "/api/v1/health"), ("GET", "/api/health"), ("POST", "/api/health"))
"""Where the versions of DID Optimizer say how they are."""

LARGEST_ANSWER = 64 * 1024
"""Bytes that are read of an answer; the API's own are below one KiB."""


class _Reply(NamedTuple):
    """An HTTP answer, read; in the order that ``answer_of`` takes it."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes
    retry_after: float | None


class Probe(NamedTuple):
    """What came of a request that carries no call."""

    place: str
    """Method and path, such as ``GET /api/health``."""
    answer: Answer
    """As if a call had been sent; its words are for the operator."""
    http_status: int | None = None
    """None where no HTTP answer came."""
    is_json: bool = False
    """Whether the answer is a JSON object, as DID Optimizer's own are, and not somebody's web page."""


class ApiSession:
    """One kept-alive connection to the API; to be used by one worker at a time.

    requests finds the way, once: address, proxy, certificates, as the environment has them. Calls then go straight
    through urllib3, its transport: requests' own work on each would cost as much again, and a requests.Session would
    read the whole body of a redirect, however long.
    """

    def __init__(self, settings: Settings) -> None:
        self._api_key = settings.api_key
        self._seconds = settings.api_timeout
        self._timeout = urllib3.Timeout(connect=settings.api_timeout, read=settings.api_timeout)
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
        self._request = requests.Request("POST", settings.api_base_url + PATH).prepare()
        self._headers = {
            "x-api-key": settings.api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"vicisync/{__version__}",
        }
        if settings.verify_ssl is False:
            # The run says it once, in its own words.
            urllib3.disable_warnings(InsecureRequestWarning)
        self._verify = settings.verify_ssl if isinstance(settings.verify_ssl, bool) else str(settings.verify_ssl)
        self._way: tuple[urllib3.HTTPConnectionPool, str] | None = None
        self._kept_alive = False

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()

    def post(self, payload: Mapping[str, object]) -> Answer:
        """Send one call, once, and say what came of it; whatever the network does becomes an Answer."""
        reply = self._exchange("POST", PATH, json.dumps(payload).encode("ascii"))
        return reply if isinstance(reply, Answer) else answer_of(*reply, self._api_key)

    def health(self) -> Probe:
        """Ask the API how it is, at each place where a version of it tells; give the first answer that is its own.

        Where none is, the answer of the last place.
        """
        for method, path in HEALTH:
            probe = self._probe(method, path)
            if probe.http_status is None or (probe.is_json and probe.http_status not in (404, 405)):
                break
        return probe

    def try_key(self) -> Probe:
        """POST an empty object in a call's place: 401 is a wrong key, 400 a right one, and nothing is recorded."""
        return self._probe("POST", PATH)

    def _probe(self, method: str, path: str) -> Probe:
        reply = self._exchange(method, path, b"{}" if method == "POST" else None)
        if isinstance(reply, Answer):
            return Probe(f"{method} {path}", reply)
        return Probe(
            f"{method} {path}", answer_of(*reply, self._api_key), reply.http_status, is_json_object(reply.body)
        )

    def _exchange(self, method: str, path: str, body: bytes | None) -> _Reply | Answer:
        """Return the API's answer, or what kept it from coming."""
        was_kept_alive, self._kept_alive = self._kept_alive, False
        try:
            response = self._send(method, path, body)
        except (OSError, HTTPError) as error:  # requests' own are OSErrors
            if not (was_kept_alive and _is_due_to(error, *_CUT)):
                return _answer_of_failure(error, self._seconds)
        else:
            return self._read(response)
        # The server had closed the kept-alive connection; a fresh one tells whether anything is wrong.
        return self._exchange(method, path, body)

    def _send(self, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        pool, way = self._way = self._way or self._find_the_way()
        return pool.urlopen(
            method,
            way + path,
            body,
            self._headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )

    def _find_the_way(self) -> tuple[urllib3.HTTPConnectionPool, str]:
        # Proxies and a CA bundle of the environment count, as for every program of the machine.
        found = requests.Session().merge_environment_settings(self._request.url or "", {}, True, self._verify, None)
        pool = self._adapter.get_connection_with_tls_context(self._request, found["verify"], found["proxies"])
        self._adapter.cert_verify(pool, self._request.url, found["verify"], None)  # type: ignore[no-untyped-call]
        way = self._adapter.request_url(self._request, found["proxies"]).removesuffix(PATH)
        return cast("urllib3.HTTPConnectionPool", pool), way

    def _read(self, response: urllib3.BaseHTTPResponse) -> _Reply | Answer:
        give_up = time.monotonic() + self._seconds  # urllib3's own timeout starts again with every byte
        body = b""
        try:
            while part := response.read1(LARGEST_ANSWER, decode_content=True):
                body += part
                if len(body) >= LARGEST_ANSWER:
                    break
                if time.monotonic() > give_up:
                    return Answer(Meaning.TRY_AGAIN, _NO_ANSWER.format(timeout=self._seconds))
        except (ProtocolError, SSLError):
            return Answer(Meaning.TRY_AGAIN, "the answer broke off")
        except (OSError, HTTPError) as error:
            return _answer_of_failure(error, self._seconds)
        finally:
            response.close()
            response.release_conn()
        self._kept_alive = response.headers.get("Connection", "").lower() != "close"
        return _Reply(response.status, response.headers, body, _retry_after(response.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    if "Retry-After" not in headers:
        return None
    try:
        return float(Retry().parse_retry_after(headers["Retry-After"]))
    except (InvalidHeader, ValueError, OverflowError):  # the latter two from dates and numbers beyond reason
        return None


_CUT = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)

_NO_ANSWER = "no answer within {timeout:g} s"

_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ProxyError,), "the proxy that the environment names does not let us through"),
    ((ReadTimeoutError,), _NO_ANSWER),
    ((socket.timeout,), "no connection within {timeout:g} s"),
    ((socket.gaierror,), "the name in api_base_url cannot be resolved"),
    ((ConnectionRefusedError,), "connection refused"),
    ((DecodeError,), "the answer cannot be decompressed"),
    (_CUT, "the connection was cut without an answer"),
    ((http.client.HTTPException,), "the answer is not HTTP"),
)
"""What an operator reads of a failure that may pass: the first that fits."""

_CURES = {
    9: "set this machine's clock",
    10: "have it renewed, or set this machine's clock",
    62: "write the name it is for in api_base_url",
    64: "write the name it is for in api_base_url",
}
"""What helps against a certificate that is not valid yet, has expired, or is another's, by OpenSSL's numbers."""

_OWN_CA = "where the API has a CA of its own, name that CA's file in verify_ssl"


def _answer_of_failure(error: Exception, timeout: float) -> Answer:
    """Put a failure of the network into words; TLS that is set up wrongly needs a person, all else may pass."""
    if not isinstance(error, (requests.RequestException, HTTPError)):
        return Answer(Meaning.REFUSED, f"its certificate cannot be verified: {error}"[:LONGEST_WORDS])
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            cure = _CURES.get(cause.verify_code, _OWN_CA)
            return Answer(Meaning.REFUSED, f"its certificate is not to be trusted ({cause.verify_message}); {cure}")
    if _is_due_to(error, ssl.SSLError) and not _is_due_to(error, *_CUT):
        return Answer(Meaning.REFUSED, "the server does not speak TLS as we do; check https:// in api_base_url")
    for kinds, words in _WORDS:
        if _is_due_to(error, *kinds):
            return Answer(Meaning.TRY_AGAIN, words.format(timeout=timeout))
    system = [cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    return Answer(Meaning.TRY_AGAIN, (system or [f"{type(error).__name__}: {error}"])[0][:LONGEST_WORDS])


def _is_due_to(error: Exception, *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and all that it was made from; requests and urllib3 wrap up to four deep, in three ways."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
