"""What the settings leave open to others on the way to the API. Pure."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from vicisync.settings.settings import Settings


def security_warnings(settings: Settings) -> Iterator[str]:
    """Return a sentence, cure included, for each way in which others could read or take what is sent."""
    url = urlsplit(settings.api_base_url)
    host = url.hostname or ""
    if url.scheme == "http" and not is_this_machine(host):
        problem = f"The API key and phone numbers go to {host} unencrypted, for anyone on the way to read"
        yield f"{problem}; write https:// in api_base_url"
    if url.scheme == "https" and settings.verify_ssl is False:
        problem = f"verify_ssl=0: whoever answers in the place of {host} gets the API key and the calls"
        yield f"{problem}; write verify_ssl=1, or the file of its CA"


def is_this_machine(host: str) -> bool:
    """Return whether what goes to a host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
