"""What the tests of several commands share."""

import sys
from collections.abc import Callable, Mapping

import pytest

from rehearsal.site import Site
from tests.commands.command import check_secrets, files
from vicisync.commands.cli import main

Refused = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def refused(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Call the command inside this process, which is many times faster, to see how it ends with 2.

    Gives what it wrote to stderr, whole and by lines; it has to have written nothing else, and sent nothing.
    """

    def refused(*arguments: str, environment: Mapping[str, str] = {}) -> tuple[str, list[str]]:
        before = files(site)
        with monkeypatch.context() as patch:
            for name, value in site.environment(**environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["vicisync", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        check_secrets(site, out + err, environment)
        assert (2, "") == (ended.value.code, out)
        assert before == files(site)
        return err, err.splitlines()

    return refused
