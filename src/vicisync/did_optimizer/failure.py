"""What a failure of the network means: the answer of an API that gave none."""

import http.client
import os
import socket
import ssl
from collections.abc import Iterator

import requests
from requests.exceptions import InvalidProxyURL, InvalidSchema
from urllib3 import exceptions as errors

from vicisync.did_optimizer.answer import LONGEST_WORDS, Answer, Meaning
from vicisync.settings.tls import tls_failure

CUT = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)  # of a connection that the other side has closed
_WORDS: tuple[tuple[tuple[type[BaseException], ...], str, bool], ...] = (
    ((errors.ProxyError,),
        "the proxy that the environment names does not let us through; check it, or name the API in no_proxy", False),
    ((errors.ReadTimeoutError,), "no answer within {timeout:g} s", True),
    ((TimeoutError,), "no connection within {timeout:g} s", False),
    ((socket.gaierror,), "the name in api_base_url cannot be resolved; correct it, or this machine's DNS", False),
    ((ConnectionRefusedError,), "connection refused", False),
    ((errors.DecodeError,), "the answer cannot be decompressed", True),
    (CUT, "the connection was cut without an answer", True),
    ((http.client.HTTPException, errors.InvalidHeader), "the answer is not HTTP", True),
)  # fmt: skip
"""What an operator reads of a failure that may pass, the first that fits, and whether the call may be stored."""

_OF_PROXY: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((errors.LocationParseError, InvalidProxyURL), "is no URL; in its password, write # as %23, / as %2F and @ as %40"),
    ((InvalidSchema,), "speaks SOCKS, which vicisync does not; name an HTTP proxy, or unset the variable"),
)


def answer_of_failure(error: Exception, timeout: float) -> Answer:
    """Return what a failure means, at that ``timeout`` in seconds; wrong TLS needs a person, all else may pass."""
    for kinds, words in _OF_PROXY:
        if is_due_to(error, *kinds):  # their own words may hold the proxy's password
            return Answer(Meaning.REFUSED, f"the proxy that the environment names {words}")
    keys = os.environ.get("SSLKEYLOGFILE")
    if keys and any(getattr(cause, "filename", None) == keys for cause in _causes(error)):
        return Answer(Meaning.REFUSED, f"SSLKEYLOGFILE of the environment, {keys}, cannot be written; unset it")
    if not isinstance(error, (requests.RequestException, errors.HTTPError)):
        return Answer(Meaning.REFUSED, f"its certificate cannot be verified: {error}"[:LONGEST_WORDS])
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls and not is_due_to(error, *CUT):
        return Answer(Meaning.REFUSED, "; ".join(tls_failure(tls, "verify_ssl", "api_base_url")))
    is_sent = not is_due_to(error, errors.NewConnectionError)
    for kinds, words, perhaps_stored in _WORDS:
        if is_due_to(error, *kinds):
            return Answer(Meaning.TRY_AGAIN, words.format(timeout=timeout), perhaps_stored=is_sent and perhaps_stored)
    system = [cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    words = (system or [f"{type(error).__name__}: {error}"])[0][:LONGEST_WORDS]
    return Answer(Meaning.TRY_AGAIN, words, perhaps_stored=is_sent)


def is_due_to(error: Exception, *kinds: type[BaseException]) -> bool:
    """Return whether an error, or one that it was made from, is of one of these kinds."""
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and all that it was made from; requests and urllib3 wrap up to four deep, in three ways."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
