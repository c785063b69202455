"""Word of each run to a monitoring service that rings when none comes, in the way of healthchecks.io."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit, urlunsplit

import requests

TIMEOUT = 5.0
"""Seconds that a ping may take; a run is worth more than word of it."""


_NO_ANSWER = f"did not answer within {TIMEOUT:g} s"


class PingFailed(Exception):
    """The service did not get word; ``str()`` says why, without the URL, which is a secret."""


def ping(url: str, suffix: str = "") -> None:
    """Tell the service: that a run ``start``s, its exit code where that is not 0, or nothing more for success.

    Raises PingFailed.
    """
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path
    why = [_NO_ANSWER]
    # requests' own timeout starts again with every byte that comes.
    pinging = threading.Thread(target=_get, args=(urlunsplit(parts._replace(path=path)), why), daemon=True)
    pinging.start()
    pinging.join(TIMEOUT)
    if why[-1]:
        raise PingFailed(why[-1])


def _get(url: str, why: list[str]) -> None:
    """Add to ``why`` what kept the service from taking it, or nothing."""
    try:
        with requests.get(url, timeout=TIMEOUT, stream=True, allow_redirects=False) as response:
            why.append("" if response.status_code < 300 else f"answered {response.status_code}")
    except requests.RequestException as error:
        # Their text holds the URL.
        why.append(_WORDS.get(type(error), "cannot be reached"))


_WORDS: dict[type[Exception], str] = {
    requests.exceptions.SSLError: "has a certificate that is not to be trusted",
    requests.ConnectTimeout: _NO_ANSWER,
    requests.ReadTimeout: _NO_ANSWER,
}
