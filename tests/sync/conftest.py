from collections.abc import Iterator

import pytest

from rehearsal.dialer import Dialer
from rehearsal.site import Site
from tests.call_rows import NOON
from tests.conftest import run_at


@pytest.fixture
def dialer(site: Site) -> Iterator[Dialer]:
    """The dialer of the site; the first run was just before noon, so that all that follows is news."""
    run_at(site, NOON - 60)
    dialer = Dialer(lambda: site.mariadb.connect(site.database))
    yield dialer
    dialer.close()


def at(site: Site, dialer: Dialer, epoch: int) -> list[str]:
    """Let the dialer work up to an epoch, then run; return the lines."""
    dialer.play(epoch)
    return run_at(site, epoch)
