"""The loops that one would write at first, to set vicisync's rate beside; to be run as a process of its own.

    python -m bench.post_loop post|session URL API_KEY CALLS

Prints how many seconds the loop took; importing, and making up the calls, does not count.
"""

from __future__ import annotations

import sys
import time

import requests

from vicisync.call import Call, payload


def main() -> None:
    """Do it."""
    kind, url, api_key, calls = sys.argv[1:]
    payloads = [payload(_call(number), {}) for number in range(int(calls))]
    headers = {"x-api-key": api_key}
    with requests.Session() as session:
        post = session.post if kind == "session" else requests.post
        began = time.monotonic()
        for data in payloads:
            post(f"{url}/api/v1/call-results", json=data, headers=headers, timeout=10).raise_for_status()
        seconds = time.monotonic() - began
    sys.stdout.write(f"{seconds}\n")


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
