"""What would be read on the way: whatever leaves this machine unencrypted, and nothing else."""

import pytest

from vicisync.settings.settings import is_this_machine

LOOPBACK = ["localhost", "LocalHost.", "127.0.0.1", "127.8.9.10", "::1"]
ELSEWHERE = ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.5", "192.168.0.1", "did.example.com", "::", ""]


@pytest.mark.parametrize("host", [*LOOPBACK, *ELSEWHERE, "0.0.0.0"])  # noqa: S104 -- a host that is asked about
def test_loopback_alone_is_this_machine(host: str) -> None:
    assert (host in LOOPBACK) == is_this_machine(host)
