"""Every way in which the database fails has its own sentence, which says what to do and shows no password."""

import gc
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import ER

from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.ports import Listener, hold_port
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON, insert, knows_none, row, settings_of
from tests.certificates import UNTRUSTED, Offered, valid
from tests.conftest import make_settings, run_here
from vicisync.errors import DatabaseError
from vicisync.settings.settings import Settings
from vicisync.state.load import read_checkpoint
from vicisync.vicidial import statements
from vicisync.vicidial.call_log import CallLog


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB with TLS, and with plug-ins, that tests may kill."""
    folder = tmp_path_factory.mktemp("spare")
    valid().write(folder)
    tls = [f"--ssl-{what}={folder / what}.pem" for what in ("ca", "cert", "key")]
    with MariaDB(folder / "mariadb", options=tls) as server:
        yield server


@dataclass
class Bench:
    """A readable database for a test to break; what its settings become."""

    folder: Path
    mariadb: MariaDB
    database: str
    stack: ExitStack
    monkeypatch: pytest.MonkeyPatch
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return settings_of(self.folder, self.mariadb, self.database, **self.texts)

    def root(self, sql: str) -> None:
        """Run statements of root's, in turn, on a connection that stays open."""
        connection = self.mariadb.connect(self.database)
        self.stack.callback(connection.close)
        with connection.cursor() as cursor:
            for statement in sql.split(";"):
                cursor.execute(statement)


@pytest.fixture
def bench(tmp_path: Path, mariadb: MariaDB, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    mariadb.create_reader("cron", PASSWORD, database)
    insert(mariadb, database, *(row(f"1.{number}", NOON + number, comments="abc") for number in range(300)))
    with ExitStack() as stack:
        yield Bench(tmp_path, mariadb, database, stack, monkeypatch)


Break = Callable[[Bench], None]


def use_all(settings: Settings) -> None:
    """Read in every way there is."""
    with CallLog(settings) as log:
        log.now()
        list(log.pages(NOON, knows_none))
        log.count_after("2026-11-06 12:00:00", 100)
        log.again({"1.1": 1, "gone": 1})
        log.whole(["1.1"])


def sentence_of(settings: Settings) -> str:
    """Return what the error says, which may not show the password anywhere, and came soon."""
    began = time.monotonic()
    with pytest.raises(DatabaseError) as caught:
        use_all(settings)
    assert 12 > time.monotonic() - began
    error = caught.value
    assert 3 == error.exit_code
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert settings.db_password not in shown
    wrong, *cures = str(error).split("\n")
    assert not [cure for cure in cures if not cure.startswith("→ ")]
    return " ".join([wrong, *cures])


def _nobody_listens(bench: Bench) -> None:
    bench.texts["db_port"] = str(bench.stack.enter_context(hold_port()).getsockname()[1])


def setting(**texts: str) -> Break:
    return lambda bench: bench.texts.update(texts)


def sql(text: str, **texts: str) -> Break:
    """Root does this, and settings become these."""

    def break_it(bench: Bench) -> None:
        bench.root(text)
        bench.texts.update(texts)

    return break_it


def _as_root(change: str) -> Break:
    """The account is changed; each test makes it anew."""
    return lambda bench: bench.root(f"ALTER USER cron@'%' {change}")


_locked = sql("LOCK TABLES vicidial_log WRITE", db_timeout="1")


def _locked_without_a_limit(bench: Bench) -> None:
    """The server takes itself for a MySQL, and knows no max_execution_time: only the socket's timeout is left."""
    _locked(bench)
    bench.monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")


def _slow(bench: Bench) -> None:
    bench.texts["db_timeout"] = "1"
    bench.monkeypatch.setattr(statements, "NOW", "SELECT SLEEP(60)")


def _killed(bench: Bench) -> None:
    """An administrator ends the connection, while it waits for the table."""
    bench.root("LOCK TABLES vicidial_log WRITE")

    def kill() -> None:
        busy = "SELECT id FROM information_schema.processlist WHERE user = 'cron' AND info LIKE '%%vicidial_log%%'"
        while not (found := bench.mariadb.execute(busy)):
            time.sleep(0.02)
        bench.mariadb.execute(f"KILL {found[0][0]}")

    killer = threading.Thread(target=kill)
    killer.start()
    bench.stack.callback(killer.join)


def _file(suffix: str, damage: Callable[[bytes], bytes] | None, table: str = "vicidial_log") -> Break:
    """Damage a file of the table, or take it away."""

    def break_it(bench: Bench) -> None:
        bench.root(f"GRANT SELECT ON {table} TO cron@'%'; FLUSH TABLES {table}")
        file = bench.mariadb.folder / "data" / bench.database / f"{table}.{suffix}"
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()

    return break_it


def _listener(greeting: bytes | None) -> Break:
    """Something listens that sends this, or nothing at all, and takes what comes."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting or b"")
        while greeting is None and connection.recv(1000):
            pass

    def listen(bench: Bench) -> None:
        bench.texts.update(db_port=str(bench.stack.enter_context(Listener(serve)).port), db_timeout="1")

    return listen


OTHER_TABLE_ONLY = """
CREATE TABLE other (id INT);
REVOKE ALL, GRANT OPTION FROM cron@'%'; GRANT SELECT ON other TO cron@'%';
REVOKE ALL, GRANT OPTION FROM cron@localhost; GRANT SELECT ON other TO cron@localhost
"""
SLOW = "vicidial_log was not readable within 1 s, held up by OPTIMIZE or archiving? The next run goes on"
LIMIT = "max_statement_time exceeded"  # so it was the server that ended the statement, and not only our patience
AS_ROOT = " → as the database's root: "
ALTER = f"{AS_ROOT}ALTER USER 'cron'@'…' "
NO_NAME = "The name of the database's server, no-such.invalid, cannot be resolved"
DAMAGED = f"{AS_ROOT}REPAIR TABLE"
NO_MARIADB = ["is no MariaDB (", ") → correct VARDB_server and VARDB_port (option --db-host)"]
NO_GREETING = "accepted and did not greet: overloaded, or a balancer without a server ("
NO_INDEX = "vicidial_log lacks an index of VICIdial's, and would be locked for seconds ("
NO_TLS = "No TLS with the database at 127.0.0.1:"
NO_TABLE = ["such as VICIdial makes (", ") → correct VARDB_database (option --db-name)"]
GRANT = [
    "Account cron may not read ", ".vicidial_log, or there is none (", " → correct VARDB_database (option --db-name)",
    " → or as the database's root: GRANT SELECT ON", ".vicidial_log TO 'cron'@'…';",
]  # fmt: skip


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        pytest.param(_nobody_listens, ["Cannot reach the database at 127.0.0.1:", "systemctl"], id="server down"),
        pytest.param(setting(db_host="no-such.invalid"), [NO_NAME, " → correct VARDB_server (op"], id="unknown host"),
        pytest.param(
            setting(db_password="wr0ng-s3cr3t"), ["refuses user cron (", " → correct VARDB_user or VARDB_pass (option"],
            id="wrong password",
        ),
        pytest.param(_as_root("ACCOUNT LOCK"), ["Account cron is locked (", f"{ALTER}ACCOUNT UNLOCK;"], id="locked"),
        pytest.param(
            _as_root("PASSWORD EXPIRE"), ["The password of account cron has expired (", f"{AS_ROOT}SET PASSWORD"],
            id="password expired",
        ),
        pytest.param(
            _as_root("WITH MAX_QUERIES_PER_HOUR 1"), ["has used up what it may (", f"{ALTER}WITH MAX_QUERIES_PER_HO"],
            id="limit of queries",
        ),
        pytest.param(sql("DROP USER cron@'%'"), ["refuses user cron ("], id="no such account"),
        pytest.param(_file("MYI", None), ["A file of ", "is gone", "USE_FRM;"], id="index file gone"),
        pytest.param(_file("MYD", None), ["A file of ", "is gone", " → restore it from a ba"], id="rows' file gone"),
        pytest.param(sql(OTHER_TABLE_ONLY), [*GRANT, "SELECT command denied"], id="no grant on the table"),
        pytest.param(sql("REVOKE ALL, GRANT OPTION FROM cron@'%'"), GRANT, id="no grant at all"),
        pytest.param(setting(db_name="asterix"), ["asterix", *GRANT], id="no database, or no grant"),
        pytest.param(
            sql("GRANT SELECT ON *.* TO cron@'%'", db_name="asterix"), ["no asterix.vicidial_log", *NO_TABLE],
            id="no database",
        ),
        pytest.param(sql("DROP TABLE vicidial_log"), NO_TABLE, id="no table"),
        pytest.param(sql("ALTER TABLE vicidial_log DROP alt_dial"), [*NO_TABLE, "alt_dial"], id="no such column"),
        pytest.param(sql("DROP INDEX call_date ON vicidial_log"), [NO_INDEX, "call_date"], id="no index on call_date"),
        pytest.param(sql("DROP INDEX lead_id ON vicidial_log"), [NO_INDEX, "lead_id"], id="no index on lead_id"),
        pytest.param(sql("ALTER TABLE vicidial_log DROP PRIMARY KEY"), [NO_INDEX, "PRIMARY"], id="no primary key"),
        pytest.param(_locked, [SLOW, LIMIT], id="table locked, by the server's time limit"),
        pytest.param(_locked_without_a_limit, [SLOW, "timed out"], id="table locked, server without a time limit"),
        pytest.param(_slow, [SLOW, LIMIT], id="statement past db_timeout"),
        pytest.param(_killed, ["The connection to the database at 127.0.0.1:", "was lost"], id="connection killed"),
        pytest.param(_file("MYD", lambda data: data[: len(data) // 2]), [DAMAGED], id="half of the rows"),
        pytest.param(_file("MYD", lambda _: b""), [DAMAGED], id="rows' file empty"),
        pytest.param(_file("MYD", lambda data: b"\xff" * len(data)), [DAMAGED], id="rows' file overwritten"),
        pytest.param(_file("MYI", lambda data: data[: len(data) // 2]), [DAMAGED], id="half of the index"),
        pytest.param(_file("MYI", lambda data: data[:1500] + b"\xff" * 5000), [DAMAGED], id="index overwritten"),
        pytest.param(_file("MYI", lambda _: b""), [DAMAGED], id="index file empty"),
        pytest.param(
            _file("MYI", lambda _: b"", "vicidial_log_archive"), [DAMAGED, ".vicidial_log_archive;"],
            id="index file of the archive empty",
        ),
        pytest.param(_listener(None), [NO_GREETING, "timed out"], id="server that never says a word"),
        pytest.param(_listener(b""), [NO_GREETING, "the balancer's own status"], id="HAProxy without a live server"),
        pytest.param(_listener(b"SSH-2.0-OpenSSH_9.2\r\n"), NO_MARIADB, id="SSH"),
        pytest.param(_listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"), NO_MARIADB, id="HTTP"),
        pytest.param(_listener(b"\x05\0\0\0hello"), NO_MARIADB, id="a packet, but no greeting"),
        pytest.param(_listener(b"\0\0\0\0"), NO_MARIADB, id="an empty packet"),
        pytest.param(_listener(b"\x06\0\0\0\x0a\xff\xfe\xfd\0\0"), NO_MARIADB, id="a greeting that is no text"),
        pytest.param(
            _listener(b"\x16\x00\x00\x00\xff\x10\x04#08004Too many conn"),
            ["The database at 127.0.0.1:", "failed; the next run tries again", "Too many conn"],
            id="a failure without advice of its own",
        ),
    ],
)  # fmt: skip
def test_each_failure_has_its_own_sentence_without_the_password(break_it: Break, said: list[str], bench: Bench) -> None:
    break_it(bench)
    sentence = sentence_of(bench.settings)
    assert [] == [part for part in said if part not in sentence], sentence


@pytest.fixture
def secured(tmp_path: Path, spare: MariaDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A database on the MariaDB with TLS, which wants it."""
    spare.create_table("asterisk")
    spare.create_reader("cron", PASSWORD, "asterisk")
    spare.execute("SET GLOBAL require_secure_transport = ON")
    with ExitStack() as stack:
        bench = Bench(tmp_path, spare, "asterisk", stack, monkeypatch, {"db_ssl_ca": str(tmp_path / "ca.pem")})
        show(valid(), bench)
        yield bench
    spare.execute("SET GLOBAL require_secure_transport = OFF")
    spare.execute("DROP DATABASE asterisk")


def show(offered: Offered, bench: Bench) -> None:
    """Have the server show a certificate on connections to come, and the client trust its CA."""
    offered.write(bench.mariadb.folder.parent)
    offered.write(bench.folder)
    bench.root("FLUSH SSL")


def _no_ca(bench: Bench) -> None:
    del bench.texts["db_ssl_ca"]


def _other_login(bench: Bench) -> None:
    def lack(password: bytes, scramble: bytes) -> bytes:  # noqa: ARG001 -- PyMySQL's signature
        raise RuntimeError("'pynacl' package is required for ed25519_password auth method")

    bench.monkeypatch.setattr("pymysql._auth.ed25519_password", lack)
    bench.root("INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'")
    bench.root(f"CREATE OR REPLACE USER cron@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')")


@pytest.mark.parametrize(("offer", "said"), UNTRUSTED)
def test_a_server_not_to_be_trusted_is_not_read(offer: Callable[[], Offered], said: str, secured: Bench) -> None:
    use_all(secured.settings)
    show(offer(), secured)
    sentence = sentence_of(secured.settings)
    assert NO_TLS in sentence
    assert re.search(said, sentence), sentence


NO_PACKAGE = "PyMySQL cannot log cron in by the method that the account asks for ("


def _pam(bench: Bench) -> None:
    bench.root("INSTALL PLUGIN IF NOT EXISTS pam SONAME 'auth_pam'")
    bench.root("CREATE OR REPLACE USER cron@'%' IDENTIFIED VIA pam")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        pytest.param(_no_ca, ["; where it wants TLS, write db_ssl_ca"], id="no CA set"),
        pytest.param(
            _other_login,
            [f"{NO_PACKAGE}client_ed25519: ", "'pynacl' package is required", "mysql_native_password"],
            id="login that needs another package",
        ),
        pytest.param(_pam, [f"{NO_PACKAGE}dialog: ", f"{AS_ROOT}ALTER USER 'cron'@'…' IDENTIFIED VIA"], id="pam"),
    ],
)
def test_a_login_that_fails_has_its_own_sentence(break_it: Break, said: list[str], secured: Bench) -> None:
    break_it(secured)
    sentence = sentence_of(secured.settings)
    assert [] == [part for part in said if part not in sentence], sentence


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["gone", "not PEM"])
def test_a_file_that_holds_no_ca_is_named_by_its_setting(text: str | None, secured: Bench) -> None:
    settings = secured.settings
    (secured.folder / "ca.pem").unlink()
    if text:
        (secured.folder / "ca.pem").write_text(text)
    assert "check db_ssl_ca" in sentence_of(settings)


def test_a_server_without_tls_is_not_trusted_where_a_ca_is_set(bench: Bench, secured: Bench) -> None:
    """With nothing in the middle to tell of it, the password would go to whoever listens."""
    bench.texts["db_ssl_ca"] = secured.texts["db_ssl_ca"]
    assert NO_TLS in sentence_of(bench.settings)


def test_a_server_that_goes_amid_a_run_costs_only_time(tmp_path: Path, spare: MariaDB, api: DidOptimizer) -> None:
    """It is killed with calls in flight: what got through is recorded, and the next run sends the rest."""
    spare.create_table("killed")
    site = Site.of(tmp_path, spare, "killed", api, batch_size="5")
    now = int(time.time())
    expected = {f"{now}.{number}" for number in range(200)}
    insert(spare, "killed", *(row(uniqueid, now - 60, lead_id=number) for number, uniqueid in enumerate(expected)))
    spare.execute("FLUSH TABLES")
    killed = threading.Event()

    def kill_at_the_tenth(_: dict[str, Any]) -> None:
        if len(api.posts) == 10 and not killed.is_set():
            spare.kill()
            killed.set()

    api.fault_for = kill_at_the_tenth
    first = run_here(site)
    assert killed.is_set()
    assert isinstance(first.error, DatabaseError)
    assert f"The connection to the database at 127.0.0.1:{spare.port} was lost" in str(first.error)
    assert 10 < len(api.records) < 200
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint is not None
    assert set(api.records) == set(checkpoint.handled)

    down = run_here(site)
    assert "Cannot reach the database" in str(down.error)
    spare.start()
    assert run_here(site).error is None
    assert expected == set(api.records)
    assert 0 == api.repeats


def test_a_table_locked_for_minutes_ends_the_run_and_the_next_goes_on(site: Site, api: DidOptimizer) -> None:
    now = int(time.time())
    insert(site.mariadb, site.database, row(f"{now}.1", now - 60))
    site.configure(db_timeout="1")
    with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES vicidial_log WRITE")
        done = site.vicisync("run")
    assert 3 == done.returncode
    assert f"❌ {site.database}.{SLOW}" in done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert run_here(site).error is None
    assert [f"{now}.1"] == list(api.records)


def test_a_server_without_a_time_limit_for_statements_serves(bench: Bench) -> None:
    """MariaDB knows MySQL's variable as little as old servers know theirs, and answers 1193."""
    bench.monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")
    use_all(bench.settings)


def test_a_limit_that_is_refused_for_another_reason_is_a_failure(bench: Bench) -> None:
    bench.monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")
    bench.monkeypatch.setattr(ER, "UNKNOWN_SYSTEM_VARIABLE", 0)
    assert "failed; the next run tries again" in sentence_of(bench.settings)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # PyMySQL's, where nobody listens
def test_a_socket_at_which_nobody_listens_is_a_server_that_is_down(tmp_path: Path) -> None:
    path = tmp_path / "mysqld.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    sentence = sentence_of(make_settings(tmp_path, db_host=str(path), db_password=PASSWORD))
    assert f"Cannot reach the database at {path} (" in sentence
    gc.collect()
