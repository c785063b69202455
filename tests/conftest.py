"""What several test files share: the servers of the rehearsal, and settings."""

import fcntl
import functools
import http.server
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import hypothesis
import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.ports import hold_port
from rehearsal.site import COMMAND, Site
from tests.checked_dialer import CheckedDialer
from vicisync.commands.cli import main
from vicisync.did_optimizer.delivery import StopSignal
from vicisync.did_optimizer.session import ApiSession
from vicisync.errors import VicisyncError
from vicisync.report import Report, Tally, Verbosity
from vicisync.settings.settings import Settings, load_settings
from vicisync.sync import run as sync
from vicisync.vicidial import pages

# On a busy machine an example may take any time; and the suite says the same of one commit each time that it runs.
# What is new is searched for by hand: pytest --hypothesis-profile=long -m hypothesis tests/calls
patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("suite", patient, derandomize=True)
hypothesis.settings.register_profile("long", patient, max_examples=50_000)
hypothesis.settings.load_profile("suite")


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers ``-n auto`` means: one more than processors, as a third of the tests' time is waiting."""
    return len(os.sched_getaffinity(0)) + 1


@functools.cache
def starts_the_command(file: Path) -> bool:
    return re.search(r"\bCOMMAND\b|\b(site|guarded)\.(vicisync|start)\(", file.read_text()) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts the installed command, and begin with what takes long, so that no worker waits for it alone."""
    for item in items:
        if starts_the_command(item.path):
            item.add_marker(pytest.mark.end_to_end)
        if item.get_closest_marker("slow"):  # what it runs is measured by others, which takes half of its time
            item.add_marker(pytest.mark.no_cover)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


_numbers = itertools.count(1)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Pytest's, in folders that other accounts may go through; in parallel there is one more of them."""
    for folder in list(tmp_path.parents)[:3]:
        if folder.name.startswith(("pytest-", "popen-gw")):  # no other is pytest's own
            folder.chmod(0o755)
    return tmp_path


@pytest.fixture(autouse=True)
def no_coverage_in_processes_of_slow_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but coverage reads that variable."""
    if request.node.get_closest_marker("slow"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A private MariaDB for the whole session; each test has a database of its own on it."""
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what ``make dist`` builds, built once for all workers; not to be written to."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # which the workers share
    dist, unfinished = run / "dist", run / "dist.unfinished"
    with (run / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not dist.exists():
            command = [sys.executable, "-m", "release.dist", "--out", str(unfinished)]
            subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, timeout=180)
            unfinished.rename(dist)
    return dist


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


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port of loopback at which nobody listens, nor will."""
    with hold_port() as holder:
        yield holder.getsockname()[1]


@pytest.fixture
def site(tmp_path: Path, mariadb: MariaDB, database: str, api: DidOptimizer) -> Iterator[Site]:
    """A VICIdial server with vicisync set up; its clock runs again when the test ends."""
    yield Site.of(tmp_path / "server", mariadb, database, api)
    mariadb.set_clock(None)


@dataclass
class Pings:
    """A monitoring service: what it was told, in order, and what it answers."""

    url: str
    paths: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    answer: int = 200
    knows_start: bool = True  # or else only the address itself


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    """Be on a machine in another zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def utc() -> Iterator[None]:
    """A machine in UTC."""
    with time_zone("UTC0"):
        yield


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which coverage neither imports anything, nor looks at another tree, nor writes."""
    return {name: text for name, text in environment.items() if not name.startswith("COVERAGE_")}


@pytest.fixture
def pings() -> Iterator[Pings]:
    """A monitoring service on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            service.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.do_GET()

        def do_GET(self) -> None:
            service.paths.append(self.path)
            is_known = service.knows_start or self.path == "/s3cret-id"
            self.send_response(service.answer if is_known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = Pings(f"http://127.0.0.1:{server.server_address[1]}/s3cret-id")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield service
        server.shutdown()
        thread.join()


@pytest.fixture
def dialer(
    mariadb: MariaDB, database: str, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CheckedDialer]:
    """A dialer on which all is well; unlike pytest's own, its folder survives a reboot."""
    with tempfile.TemporaryDirectory(prefix="vicisync-check-", dir="/var/tmp") as folder:
        found = CheckedDialer(Path(folder), mariadb, database, api)
        monkeypatch.setenv("PATH", f"{found.programs}:{os.environ['PATH']}")
        yield found
    mariadb.set_clock(None)


def make_settings(folder: Path, **texts: str) -> Settings:
    """Settings whose files lie in ``folder``, with the texts of settings as a file would hold them."""
    files = {
        "checkpoint_file": str(folder / "state" / "checkpoint"),
        "rejected_file": str(folder / "state" / "rejected.jsonl"),
        "journal_file": str(folder / "state" / "journal.db"),
        "old_checkpoint_file": str(folder / "old-checkpoint"),
    }
    nowhere = {"VICISYNC_ASTGUICLIENT_CONF": "", "VICISYNC_DIDS_CONF": ""}
    return load_settings(None, None, {"API_KEY": "test-key", **nowhere}, {**files, **texts})


def pages_of(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the call log make pages of so few calls, out of statements that read as few rows as they can."""
    monkeypatch.setattr(pages, "PAGE", calls)
    monkeypatch.setattr(pages, "ROWS", 1)


@dataclass(frozen=True)
class Done:
    """What came of a run inside this process; the lines without the time stamp that stands before each in the log."""

    tally: Tally | None
    error: VicisyncError | None
    lines: list[str]
    log: str


def run_here(
    site: Site, *, verbosity: Verbosity = Verbosity.NORMAL, limit: int | None = None, machine: int | None = None
) -> Done:
    """Run once inside this process, as the command does; many times faster than a process each.

    This machine's clock stands at the epoch ``machine``; without it, where the database's stands.
    """
    machine = machine or site.mariadb.clock
    settings = load_settings(site.astguiclient_conf, site.dids_conf, {})
    output = io.StringIO()
    tally = error = None
    try:
        tally = sync.run(
            settings,
            Report(output, verbosity),
            StopSignal(),
            lambda: ApiSession(settings),
            limit=limit,
            machine_clock=(lambda: machine) if machine else time.time,
        )
    except VicisyncError as raised:
        error = raised
    log = output.getvalue()
    return Done(tally, error, [line.split(" ", 3)[3] for line in log.splitlines()], log)


def run_at(site: Site, epoch: int) -> list[str]:
    """Run with the database's clock there, and well; return the lines."""
    site.mariadb.set_clock(epoch)
    done = run_here(site)
    assert done.error is None
    return done.lines


def finish_calls(site: Site, calls: int, ago: int = 200, *, per_hour: int = 3600, first_lead: int = 10_000_000) -> None:
    """Have calls end, the last of them so many seconds ago."""
    with site.mariadb.connect(site.database) as connection:
        fill(connection, calls, int(time.time()) - ago, per_hour, first_lead)


def command_here(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command inside this process, where it does not matter how one begins and ends: a start takes 0.3 s."""
    written = io.BytesIO(), io.BytesIO()
    stdout, stderr = (io.TextIOWrapper(buffer, encoding="utf-8", write_through=True) for buffer in written)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        Path(os.devnull).open() as stdin,
        mock.patch.dict(os.environ, site.environment(**environment), clear=True),
        mock.patch.multiple(sys, argv=[str(COMMAND), *arguments], stdin=stdin, stdout=stdout, stderr=stderr),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    said = [buffer.getvalue().decode() for buffer in written]
    return subprocess.CompletedProcess([COMMAND, *arguments], int(ended.value.code or 0), *said)
