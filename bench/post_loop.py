"""What one would write at first, and what the API can carry at most, to set beside vicisync; a process of its own.

    python -m bench.post_loop post|session|sockets URL API_KEY CALLS CONNECTIONS

``post`` and ``session`` are loops over requests.post and Session.post, on one connection at a time; ``sockets`` are
threads that write ready-made bytes and wait for an answer. Prints the seconds that took, without imports and making up
the calls.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests

from vicisync.calls.call import Call, payload
from vicisync.did_optimizer.session import PATH


def main() -> None:
    """Do it."""
    kind, url, api_key, calls, connections = sys.argv[1:]
    payloads = [payload(_call(number), {}) for number in range(int(calls))]
    if kind == "sockets":
        seconds = _sockets(url, api_key, payloads, int(connections))
    else:
        seconds = _requests(kind, url, api_key, payloads)
    sys.stdout.write(f"{seconds}\n")


def _requests(kind: str, url: str, api_key: str, payloads: Sequence[object]) -> float:
    with requests.Session() as session:
        post = session.post if kind == "session" else requests.post
        began = time.monotonic()
        for data in payloads:
            post(url + PATH, json=data, headers={"x-api-key": api_key}, timeout=10).raise_for_status()
        return time.monotonic() - began


def _sockets(url: str, api_key: str, payloads: Sequence[object], connections: int) -> float:
    address = urlsplit(url)
    posts = []
    for data in payloads:
        body = json.dumps(data)
        head = f"POST {PATH} HTTP/1.1\r\nHost: {address.netloc}\r\nx-api-key: {api_key}\r\n"
        posts.append(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def work(first: int) -> None:
        with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
            for post in posts[first::connections]:
                connection.sendall(post)
                if b"200 OK" not in connection.recv(65536):
                    raise OSError("The API refuses the call")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(connections)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def _call(number: int) -> Call:
    return Call(
        uniqueid=f"1729771200.{number}",
        lead_id=10_000_000 + number,
        list_id=1001,
        campaign_id="SALES",
        call_date="2024-10-24 12:00:00",
        start_epoch=1729771200,
        end_epoch=1729771245,
        length_in_sec=45,
        status="SALE",
        phone_code="1",
        phone_number="5551234567",
        user="1001",
        comments="AUTO",
        user_group="AGENTS",
        term_reason="CALLER",
        alt_dial="MAIN",
        called_count=1,
    )


if __name__ == "__main__":
    main()
