"""Word of each run to a monitoring service that rings when none comes, in the way of healthchecks.io."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import requests

TIMEOUT = 5.0
"""Seconds that a ping may take; a run is worth more than word of it."""


class PingFailed(Exception):
    """The service did not get word; ``str()`` says why, without the URL, which is a secret."""


def ping(url: str, suffix: str = "") -> None:
    """Tell the service: that a run ``start``s, its exit code where that is not 0, or nothing more for success.

    Raises PingFailed.
    """
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path
    try:
        with requests.get(urlunsplit(parts._replace(path=path)), timeout=TIMEOUT, stream=True) as response:
            http_status = response.status_code
    except requests.RequestException as error:
        # Their text holds the URL.
        raise PingFailed(_WORDS.get(type(error), "cannot be reached")) from None
    if http_status >= 400:
        raise PingFailed(f"answered {http_status}")


_WORDS: dict[type[Exception], str] = {
    requests.exceptions.SSLError: "has a certificate that is not to be trusted",
    requests.ConnectTimeout: f"did not answer within {TIMEOUT:g} s",
    requests.ReadTimeout: f"did not answer within {TIMEOUT:g} s",
}
