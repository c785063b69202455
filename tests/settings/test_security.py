"""What would be read on the way: whatever leaves this machine unencrypted, and nothing else."""

import pytest

from vicisync.settings.settings import is_this_machine


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", [
    "localhost.example.com", "127.0.0.1.example.com", "10.0.0.5", "192.168.0.1", "0.0.0.0", "did.example.com", "::", "",  # noqa: S104 -- hosts that are asked about
])  # fmt: skip
def test_nothing_else_is_this_machine(host: str) -> None:
    assert not is_this_machine(host)
