"""What the tests of several commands share."""

from collections.abc import Callable, Mapping

import pytest

from rehearsal.site import Site
from tests.commands.command import check_secrets, files
from tests.conftest import command_here

Refused = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def refused(site: Site) -> Refused:
    """Call the command inside this process, which is many times faster, to see how it ends with 2.

    Gives what it wrote to stderr, whole and by lines; it has to have written nothing else, and sent nothing.
    """

    def refused(*arguments: str, environment: Mapping[str, str] = {}) -> tuple[str, list[str]]:
        before = files(site)
        done = command_here(site, *arguments, **environment)
        check_secrets(site, done.stdout + done.stderr, environment)
        assert (2, "") == (done.returncode, done.stdout)
        assert before == files(site)
        return done.stderr, done.stderr.splitlines()

    return refused
