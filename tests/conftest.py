"""What several test files share: the servers of the rehearsal, and settings."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import Site
from vicisync import sync
from vicisync.api import ApiSession
from vicisync.config import Settings, load_settings
from vicisync.delivery import StopSignal
from vicisync.errors import VicisyncError
from vicisync.report import Report, Tally, Verbosity

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A private MariaDB for the whole session; each test has a database of its own on it."""
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB) -> str:
    """The name of a fresh database with VICIdial's table as most sites have it: MyISAM, latin1."""
    name = f"vicidial_{next(_numbers)}"
    mariadb.create_table(name)
    return name


@pytest.fixture
def api() -> Iterator[DidOptimizer]:
    """A DID Optimizer, well unless told otherwise."""
    with DidOptimizer() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, mariadb: MariaDB, database: str, api: DidOptimizer) -> Iterator[Site]:
    """A VICIdial server with vicisync set up; its clock runs again when the test ends."""
    yield Site.of(tmp_path / "server", mariadb, database, api)
    mariadb.set_clock(None)


def make_settings(folder: Path, **texts: str) -> Settings:
    """Settings whose files lie in ``folder``, with the texts of settings as a file would hold them."""
    files = {
        "checkpoint_file": str(folder / "state" / "checkpoint"),
        "rejected_file": str(folder / "state" / "rejected.jsonl"),
        "old_checkpoint_file": str(folder / "old-checkpoint"),
    }
    nowhere = {"VICISYNC_ASTGUICLIENT_CONF": "", "VICISYNC_DIDS_CONF": ""}
    return load_settings(None, None, {"API_KEY": "test-key", **nowhere}, {**files, **texts})


@dataclass(frozen=True)
class Done:
    """What came of a run inside this process."""

    tally: Tally | None
    error: VicisyncError | None
    lines: list[str]


def run_here(site: Site, *, verbosity: Verbosity = Verbosity.NORMAL) -> Done:
    """Run once inside this process, as the command does; many times faster than a process each."""
    settings = load_settings(site.astguiclient_conf, site.dids_conf, {})
    output = io.StringIO()
    tally = error = None
    try:
        tally = sync.run(settings, Report(output, verbosity), StopSignal(), lambda: ApiSession(settings))
    except VicisyncError as raised:
        error = raised
    # Without the time stamp that stands before each line.
    return Done(tally, error, [line.split(" ", 3)[3] for line in output.getvalue().splitlines()])
