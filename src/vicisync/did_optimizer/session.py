"""A session with DID Optimizer's API: one POST at a time over one kept-alive connection."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.exceptions import HTTPError, InsecureRequestWarning, InvalidHeader, ProtocolError, SSLError
from urllib3.util.connection import is_connection_dropped
from urllib3.util.retry import Retry

from vicisync import __version__
from vicisync.calls.call import without_numbers
from vicisync.did_optimizer.answer import Answer, Meaning, answer_of
from vicisync.did_optimizer.failure import CUT, answer_of_failure, is_due_to
from vicisync.did_optimizer.wire import Posting, Response
from vicisync.settings.settings import Settings, is_this_machine

PATH = "/api/v1/call-results"
LARGEST_ANSWER = 64 * 1024  # bytes that are read of an answer; the API's own are below one KiB
_RAW = {"redirect": False, "assert_same_host": False, "preload_content": False, "decode_content": False}
"""What urllib3 is asked to leave to us: nothing is followed, and no answer is read beyond `LARGEST_ANSWER`."""


class Reply(NamedTuple):
    """What came of a request."""

    answer: Answer
    http_status: int | None = None  # None where no HTTP answer came
    body: bytes = b""


class ApiSession:
    """One kept-alive connection to the API, for one worker at a time.

    requests finds the way, once: address, proxy, certificates; urllib3, its transport, connects and sends one call.
    Further ones go on that connection as they are: 0.2 ms of CPU a POST where a requests.Session takes 0.38.
    """

    def __init__(self, settings: Settings) -> None:
        self._api_key, self._hides_numbers = settings.api_key, not settings.log_phone_numbers
        self._seconds = settings.api_timeout
        self._timeout = urllib3.Timeout(total=settings.api_timeout)  # for all of it, from connecting on
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
        self._request = requests.Request("POST", settings.api_base_url + PATH).prepare()
        self._headers = {
            "x-api-key": settings.api_key,
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"vicisync/{__version__}",
        }
        if settings.verify_ssl is False:  # the run warns of that once, in its own words
            urllib3.disable_warnings(InsecureRequestWarning)
        self._verify = settings.verify_ssl if isinstance(settings.verify_ssl, bool) else str(settings.verify_ssl)
        self._way: tuple[urllib3.HTTPConnectionPool, str] | None = None
        self._connection: Posting | None = None  # the one that is kept alive
        self._is_clean = True

    def close(self) -> None:
        """Close the connection; a further call opens another."""
        if self._way:
            self._way[0].close()
        self._adapter.close()
        self._way, self._connection, self._is_clean = None, None, True

    def post(self, payload: Mapping[str, object]) -> Answer:
        """Send one call, once, and return what came of it; whatever the network does becomes an Answer."""
        return self._exchange(json.dumps(payload).encode("ascii"), str(payload["uniqueid"])).answer

    def try_key(self) -> Reply:
        """POST an empty object in a call's place: 401 is a wrong key, 400 a right one, and nothing is recorded."""
        return self._exchange(b"{}", None)

    def proxy(self) -> str | None:
        """Return the host and port of the proxy that the environment names for the API; None where there is none."""
        named = select_proxy(self._request.url or "", self._environment()["proxies"])
        return named.rpartition("@")[2].rstrip("/").rpartition("/")[2] if named else None

    def _exchange(self, body: bytes, uniqueid: str | None) -> Reply:
        """Return the API's answer, or what kept it from coming."""
        kept_alive, self._connection = self._connection, None
        try:
            connection, response = self._send(kept_alive, body)
            reply = self._read(response, uniqueid)
            if reply.http_status and response.headers.get("Connection", "").lower() != "close":
                self._connection = connection
        except (OSError, HTTPError) as error:  # requests' own are OSErrors
            if not (kept_alive and is_due_to(error, *CUT)):
                return Reply(answer_of_failure(error, self._seconds))
        else:
            if not self._is_clean or (reply.answer.perhaps_stored and not reply.answer.by_api):
                self.close()  # it gave more than was asked for, or no good answer: what else may come on it?
            if not (kept_alive and reply.answer.meaning is Meaning.REJECTED):
                return reply
            self.close()  # a verdict for ever has to be this call's: what comes first on a fresh connection is
        finally:
            if kept_alive and not self._connection:
                kept_alive.close()
        # Or the server had closed the kept-alive connection: a fresh one tells whether anything is wrong. Either way
        # the call may be stored.
        reply = self._exchange(body, uniqueid)
        twice = reply.answer.perhaps_stored or reply.answer.meaning is Meaning.DELIVERED
        perhaps = reply.answer.meaning is not Meaning.REJECTED
        return reply._replace(answer=reply.answer._replace(perhaps_stored=perhaps, perhaps_twice=twice))

    def _send(self, kept_alive: Posting | None, body: bytes) -> tuple[Posting, urllib3.BaseHTTPResponse]:
        """Send a request; return the connection it went on, and the answer's beginning."""
        if kept_alive and not is_connection_dropped(kept_alive):
            return kept_alive, kept_alive.post_again(body, self._seconds)
        pool, way = self._way = self._way or self._find_the_way()
        response = pool.urlopen("POST", way, body, self._headers, retries=False, timeout=self._timeout, **_RAW)
        return cast("Posting", response.connection), response

    def _environment(self) -> dict[str, Any]:
        """Return proxies and the CA bundle as the environment names them, which count as for every other program."""
        url = self._request.url or ""
        found = requests.Session().merge_environment_settings(url, {}, True, self._verify, None)
        return {**found, "proxies": {}} if is_this_machine(urlsplit(url).hostname or "") else {**found}

    def _find_the_way(self) -> tuple[urllib3.HTTPConnectionPool, str]:
        found = self._environment()
        pool = self._adapter.get_connection_with_tls_context(self._request, found["verify"], found["proxies"])
        self._adapter.cert_verify(pool, self._request.url, found["verify"], None)  # type: ignore[no-untyped-call]
        way = self._adapter.request_url(self._request, found["proxies"])
        pool = cast("urllib3.HTTPConnectionPool", pool)
        of_ours = {"response_class": staticmethod(partial(Response, self._mistrust))}
        pool.ConnectionCls = type("Connection", (Posting, pool.ConnectionCls), of_ours)
        return pool, way

    def _mistrust(self) -> None:
        self._is_clean = False

    def _read(self, response: urllib3.BaseHTTPResponse, uniqueid: str | None) -> Reply:
        body = b""
        try:
            while (part := response.read1(LARGEST_ANSWER, decode_content=True)) and len(body) < LARGEST_ANSWER:
                body += part
            if part:
                self._mistrust()  # the rest of it is still to come
        except (ProtocolError, SSLError):
            return Reply(Answer(Meaning.TRY_AGAIN, "the answer broke off", perhaps_stored=True))
        except (OSError, HTTPError) as error:
            return Reply(answer_of_failure(error, self._seconds))
        finally:
            response.close()
            response.release_conn()
        retry_after = _retry_after(response.headers)
        answer = answer_of(response.status, response.headers, body, retry_after, self._api_key, uniqueid)
        if self._hides_numbers:
            answer = answer._replace(words=without_numbers(answer.words))
        return Reply(answer, response.status, body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(Retry().parse_retry_after(headers["Retry-After"]))
    except (KeyError, InvalidHeader, ValueError, OverflowError):  # the latter two from dates and numbers beyond reason
        return None
