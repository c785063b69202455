"""The call log is read by its indexes, in bounded parts, and every way in which that fails has its own sentence."""

from __future__ import annotations

import gc
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest
import trustme
from pymysql.constants import ER

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site
from tests.conftest import make_settings, pages_of, run_here
from vicisync import call_log as module
from vicisync.call import Call, Sighting
from vicisync.call_log import CallLog, Page
from vicisync.checkpoint import Checkpoint, Dealt, Watched, render
from vicisync.checkpoint_file import read_checkpoint
from vicisync.config import Settings
from vicisync.errors import DatabaseError

NOON = 1_793_966_400  # a day in November without a change of clocks

STATEMENTS = {
    name: text
    for name, text in vars(module).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str) and "vicidial_log" in text
}
"""Every statement of the module that reads the table, collected so that a new one is not forgotten."""

NOT_EXPLAINED = {"HAS_CALLED_COUNT"}  # SHOW COLUMNS reads no row


# --- Rows to read ----------------------------------------------------------------------------------------------------


def row(uniqueid: str, start: int = NOON, **columns: object) -> dict[str, object]:
    """A call that nobody answered; ``columns`` differ."""
    return {
        "uniqueid": uniqueid,
        "lead_id": 1,
        "campaign_id": "C",
        "phone_number": "2125550100",
        "call_date": ("FROM_UNIXTIME(%s)", start),
        "start_epoch": start,
        "end_epoch": start,
        "length_in_sec": 0,
        "status": "NA",
        **columns,
    }


def insert(mariadb: MariaDB, database: str, *rows: dict[str, object]) -> None:
    """Write rows; a tuple is an expression with its parameters."""
    with mariadb.connect(database) as connection, connection.cursor() as cursor:
        for columns in rows:
            expressions = [value if isinstance(value, tuple) else ("%s", value) for value in columns.values()]
            places = [expression[0] for expression in expressions]
            values = [parameter for expression in expressions for parameter in expression[1:]]
            cursor.execute(f"INSERT INTO vicidial_log ({', '.join(columns)}) VALUES ({', '.join(places)})", values)


def settings_of(folder: Path, mariadb: MariaDB, database: str, **texts: str) -> Settings:
    """Settings with which VICIdial's account reads a database."""
    standard = {
        "db_host": mariadb.host,
        "db_port": str(mariadb.port),
        "db_user": "cron",
        "db_password": PASSWORD,
        "db_name": database,
    }
    return make_settings(folder, **{**standard, **texts})


@pytest.fixture
def settings(tmp_path: Path, mariadb: MariaDB, database: str) -> Settings:
    mariadb.create_reader("cron", PASSWORD, database)
    return settings_of(tmp_path, mariadb, database)


@pytest.fixture
def log(settings: Settings) -> Iterator[CallLog]:
    with CallLog(settings) as opened:
        yield opened


def knows_none(_: Iterable[str]) -> bool:
    return False


def ids(rows: Sequence[Sighting] | Sequence[Call]) -> list[str]:
    return [row.uniqueid for row in rows]


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "pages"),
    [
        pytest.param([], [[]], id="empty table"),
        pytest.param([5, 1, 3], [[1, 3, 5], []], id="exactly one page, then the last, empty one"),
        pytest.param([2, 1], [[1, 2]], id="less than a page"),
        pytest.param([4, 1, 3, 2], [[1, 2, 3], [4]], id="one more than a page"),
        pytest.param([1] * 7, [[1] * 7], id="nothing but one second"),
        pytest.param([2] * 7 + [1, 3], [[1, *[2] * 7, 3], []], id="a second with many calls among others"),
        pytest.param([1, 1, 2, 2, 3, 3, 4, 4], [[1, 1, 2, 2, 3, 3], [4, 4]], id="seconds are read whole"),
        pytest.param(
            [1, 2, 900, 901, 902, 903, 904], [[1, 2, 900], [901, 902, 903], [904]], id="a pause counts nothing"
        ),
    ],
)
def test_pages_hold_whole_seconds_in_order_and_the_last_one_comes_always(
    seconds: list[int],
    pages: list[list[int]],
    mariadb: MariaDB,
    database: str,
    log: CallLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages_of(3, monkeypatch)
    insert(mariadb, database, *(row(f"{NOON}.{number}", NOON + second) for number, second in enumerate(seconds)))
    read = list(log.pages(NOON, knows_none))
    assert pages == [[row.start_epoch - NOON for row in page.rows] for page in read]
    assert [False] * (len(pages) - 1) + [True] == [page.last_second is None for page in read]
    assert [(page[0], page[-1]) for page in pages[:-1]] == [
        (log.epoch_of(page.first_second) - NOON, log.epoch_of(page.last_second) - NOON)
        for page in read
        if page.last_second
    ]
    assert [set(ids(page.rows)) for page in read] == [page.present for page in read]
    assert {f"{NOON}.{number}" for number in range(len(seconds))} == set().union(*(page.present for page in read))


def test_a_page_has_as_many_seconds_as_will_hold_a_page_of_calls_as_dense_as_those_before_them(
    mariadb: MariaDB, database: str, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("PAGE", 6), ("FIRST_SECONDS", 2), ("MOST_SECONDS", 4)):
        monkeypatch.setattr(module, name, number)
    calls = dict.fromkeys(range(10), 1) | dict.fromkeys((2, 3, 4, 5), 3) | {6: 13}
    starts = [second for second, number in calls.items() for _ in range(number)]
    insert(mariadb, database, *(row(f"{NOON}.{number}", NOON + second) for number, second in enumerate(starts)))
    pages = [sorted({row.start_epoch - NOON for row in page.rows}) for page in log.pages(NOON, knows_none)]
    assert [[0, 1], [2, 3, 4, 5], [6, 7], [8], [9]] == pages


def test_of_seconds_with_nothing_but_known_calls_only_the_ids_are_read(
    mariadb: MariaDB, database: str, log: CallLog
) -> None:
    insert(mariadb, database, *(row(f"é.{number}", NOON + number // 2) for number in range(8)))
    known = {f"é.{number}" for number in range(8)} - {"é.2", "é.5"}
    (page,) = log.pages(NOON, known.issuperset)
    assert ["é.2", "é.3", "é.4", "é.5"] == sorted(ids(page.rows))
    assert {f"é.{number}" for number in range(8)} == page.present


@pytest.mark.parametrize(
    ("uniqueids", "known", "longest"),
    [
        pytest.param(["1", "2,3"], {"1", "2", "3"}, 1024, id="an id with a comma"),
        pytest.param(["1", ","], {"1", ""}, 1024, id="an id that is a comma"),
        pytest.param(["1.1", "1.23"], {"1.1", "1.2"}, 7, id="a list cut within an id"),
        pytest.param(["1.1", "1.2", "1.3"], {"1.1", "1.2"}, 7, id="a list cut between ids"),
        pytest.param(["1.1", "1,2", "1.3"], {"1.1", "1", "2"}, 7, id="a comma makes up for an id cut off"),
    ],
)
def test_a_second_whose_ids_cannot_be_told_from_their_list_is_read_whole(
    uniqueids: list[str], known: set[str], longest: int, mariadb: MariaDB, database: str, log: CallLog
) -> None:
    log.inspect(f"SET SESSION group_concat_max_len = {longest}")
    insert(mariadb, database, *(row(uniqueid) for uniqueid in uniqueids))
    (page,) = log.pages(NOON, known.issuperset)
    assert sorted(uniqueids) == sorted(ids(page.rows))
    assert set(uniqueids) == page.present


def test_a_page_that_is_emptied_while_it_is_read_has_no_rows_and_others_follow(
    mariadb: MariaDB, database: str, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(1, monkeypatch)
    insert(mariadb, database, row("1.1"), row("2.1", NOON + 1))

    def archive(_: Iterable[str]) -> bool:
        mariadb.execute(f"DELETE FROM `{database}`.vicidial_log WHERE uniqueid = '1.1'")
        return False

    assert [[], ["2.1"], []] == [ids(page.rows) for page in log.pages(NOON, archive)]


def test_a_row_rewritten_while_its_page_is_read_is_on_it_under_its_new_id(
    mariadb: MariaDB, database: str, log: CallLog
) -> None:
    insert(mariadb, database, row("1.1"), row("2.1"))

    def rewrite(_: Iterable[str]) -> bool:
        mariadb.execute(f"UPDATE `{database}`.vicidial_log SET uniqueid = '1.9' WHERE uniqueid = '1.1'")
        return False

    (page,) = log.pages(NOON, rewrite)
    assert ["1.9", "2.1"] == sorted(ids(page.rows))
    assert {"1.9", "2.1"} == page.present


def test_a_page_that_is_the_last_is_in_order_too(mariadb: MariaDB, database: str, log: CallLog) -> None:
    insert(mariadb, database, *(row(f"{NOON}.{second}", NOON + second) for second in (3, 1, 2)))
    assert [f"{NOON}.1", f"{NOON}.2", f"{NOON}.3"] == ids(next(log.pages(NOON, knows_none)).rows)


def test_pages_begin_at_the_moment_asked_for(mariadb: MariaDB, database: str, log: CallLog) -> None:
    starts = (NOON - 2, NOON - 1, NOON, NOON + 1)
    insert(mariadb, database, *(row(f"{start}.1", start) for start in starts))
    assert [f"{NOON}.1", f"{NOON + 1}.1"] == ids(next(log.pages(NOON, knows_none)).rows)
    assert 4 == len(next(log.pages(0, knows_none)).rows)
    assert 4 == len(next(log.pages(-600, knows_none)).rows)


@pytest.mark.parametrize("start", [pytest.param(None, id="NULL"), pytest.param(0, id="0")])
def test_a_row_without_start_epoch_takes_its_call_date(
    start: int | None, mariadb: MariaDB, database: str, log: CallLog
) -> None:
    insert(mariadb, database, row("1.1", NOON, start_epoch=start))
    expected = Sighting("1.1", 1, NOON, NOON, "NA", "")
    assert [Page([expected], {"1.1"}, None)] == list(log.pages(NOON, knows_none))
    assert ([expected], [expected]) == (log.by_uniqueid(["1.1"]), log.by_lead([1]))


def test_null_is_nothing_in_a_sighting_and_none_in_a_whole_call(mariadb: MariaDB, database: str, log: CallLog) -> None:
    nothing = dict.fromkeys(("term_reason", "alt_dial", "called_count", "processed"))
    insert(mariadb, database, {"uniqueid": "1.1", "lead_id": 7, **nothing})
    assert [Sighting("1.1", 7, 0, 0, "", "")] == log.by_uniqueid(["1.1"])
    assert [Call("1.1", 7, *[None] * 15)] == log.whole(["1.1"])


# --- Look-ups --------------------------------------------------------------------------------------------------------


def test_rows_are_looked_up_in_parts_and_whole_calls_come_in_the_order_asked_for(
    mariadb: MariaDB, database: str, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    insert(mariadb, database, *(row(f"1.{number}", lead_id=number % 5) for number in range(10)))
    wanted = ["1.7", "1.2", "gone", "1.9", "1.0", "1.4"]
    assert ["1.7", "1.2", "1.9", "1.0", "1.4"] == ids(log.whole(wanted))
    assert {"1.0", "1.2", "1.4", "1.7", "1.9"} == set(ids(log.by_uniqueid(wanted)))
    assert ["1.0", "1.1", "1.2", "1.5", "1.6", "1.7"] == sorted(ids(log.by_lead([0, 1, 2, 77])))
    assert ([], [], []) == (log.whole([]), log.by_uniqueid([]), log.by_lead([]))


def test_a_whole_call_is_every_column_as_it_stands(mariadb: MariaDB, database: str, log: CallLog) -> None:
    call = Call(
        "1793966400.12", 4294967295, 99800123456789, "CAMPAI08", "2026-11-06 12:00:00", NOON, NOON + 45, -3, "SALE",
        "44", "02071838750", "agent007", "0.123", "NIGHT", "CALLER", "ADDR3", 65535,
    )  # fmt: skip
    insert(mariadb, database, dict(call._asdict()))
    assert [call] == log.whole([call.uniqueid])


def test_a_table_older_than_called_count_gives_none_for_it(mariadb: MariaDB, settings: Settings, database: str) -> None:
    mariadb.execute(f"ALTER TABLE `{database}`.vicidial_log DROP COLUMN called_count")
    insert(mariadb, database, row("1.1"))
    with CallLog(settings) as log:
        assert [None] == [call.called_count for call in log.whole(["1.1"])]
        assert ["1.1"] == ids(log.whole(["1.1"]))


def test_rows_behind_a_second_are_counted(
    mariadb: MariaDB, database: str, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(1, monkeypatch)
    insert(mariadb, database, *(row(f"1.{number}", NOON + number // 2) for number in range(7)))
    last_seconds = [page.last_second for page in log.pages(NOON, knows_none)]
    assert [5, 3, 1, 0] == [log.count_after(second) for second in last_seconds if second]


@pytest.mark.parametrize(
    ("second", "epoch"),
    [
        pytest.param("FROM_UNIXTIME(1793966400)", NOON, id="as the database counts"),
        pytest.param("'2099-01-01 00:00:00'", 0, id="none: later than the server can count"),
        pytest.param("'0000-00-00 00:00:00'", 0, id="none: no time at all"),
    ],
)
def test_a_call_date_has_an_epoch_or_0(second: str, epoch: int, mariadb: MariaDB, log: CallLog) -> None:
    ((text,),) = mariadb.execute(f"SELECT CAST({second} AS CHAR)")
    assert epoch == log.epoch_of(text)


def test_now_is_the_databases_clock(mariadb: MariaDB, settings: Settings) -> None:
    mariadb.set_clock(NOON)
    try:
        with CallLog(settings) as log:
            assert NOON == log.now()
    finally:
        mariadb.set_clock(None)


# --- What reading costs the dialer -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(mariadb: MariaDB) -> dict[tuple[str, str, int], str]:
    """Databases by engine, character set and number of calls."""
    databases = {}
    for engine, charset, calls in (
        ("MyISAM", "latin1", 50),
        ("MyISAM", "utf8", 20_000),
        ("InnoDB", "utf8", 50),
        ("InnoDB", "latin1", 20_000),
    ):
        name = databases[engine, charset, calls] = f"explain_{engine}_{calls}"
        mariadb.create_table(name, engine=engine, charset=charset)
        with mariadb.connect(name) as connection:
            fill(connection, calls, NOON)
    return databases


@pytest.mark.parametrize("statement", sorted(set(STATEMENTS) - NOT_EXPLAINED))
def test_every_statement_goes_by_an_index(
    statement: str, mariadb: MariaDB, tables: dict[tuple[str, str, int], str]
) -> None:
    """On large and small tables, of both engines, in both character sets, for few ids and many, odd ones among them."""
    column = "uniqueid" if "uniqueid IN" in STATEMENTS[statement] else "lead_id"
    for table, database in tables.items():
        with mariadb.connect(database) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"SET timestamp = {NOON}")
            cursor.execute(f"SELECT {column} AS id, CAST(call_date AS CHAR) AS second FROM vicidial_log LIMIT 500")
            rows = list(cursor.fetchall())
            odd = [{"id": "O'Brien.é" if column == "uniqueid" else 0, "second": rows[0]["second"]}]
            for wanted in (rows[:1], rows[:3] + odd, rows):
                second = wanted[0]["second"]
                parameters = {"since": NOON - 600, "seconds": module.FIRST_SECONDS, "after": second, "second": second}
                parameters.update(first=rows[0]["second"], last=second)
                parameters["ids"] = [row["second" if statement == "BY_SECOND" else "id"] for row in wanted]
                cursor.execute(f"EXPLAIN {STATEMENTS[statement]}", parameters)
                (plan,) = cursor.fetchall()
                assert plan["type"] in ("range", "ref", "eq_ref", "const"), (table, len(wanted), plan)
                assert plan["key"] is not None
                assert "filesort" not in (plan["Extra"] or ""), (table, len(wanted), plan)


def test_all_statements_are_explained_but_the_one_that_reads_no_row() -> None:
    unexplained = {name for name, text in STATEMENTS.items() if not text.lstrip().startswith("SELECT")}
    assert NOT_EXPLAINED == unexplained
    assert 8 <= len(STATEMENTS)


OVERLAP, WATCHED, PER_HOUR = 600, 12, 30_000


def rows_of_an_idle_run(folder: Path, mariadb: MariaDB, api: DidOptimizer, calls: int) -> tuple[int, int]:
    """Return the rows that the server reads for an idle run on a table of so many calls, and those that it must."""
    database = f"idle_{calls}"
    mariadb.create_table(database)
    with mariadb.connect(database) as connection:
        fill(connection, calls, NOON, PER_HOUR)
    talking = [row(f"{NOON}.{number}", NOON - 1000, lead_id=number, end_epoch=None) for number in range(WATCHED)]
    insert(mariadb, database, *talking)
    site = Site.of(folder / database, mariadb, database, api)
    checkpoint = Checkpoint(NOON, NOON - 3600, NOON)
    for number in range(WATCHED):
        checkpoint.watching[f"{NOON}.{number}"] = Watched(number, NOON - 1000, "not_ended")
    sql = f"SELECT uniqueid, start_epoch, lead_id FROM `{database}`.vicidial_log WHERE start_epoch >= %s"
    checkpoint.delivered = {uniqueid: Dealt(*rest) for uniqueid, *rest in mariadb.execute(sql, (NOON - OVERLAP,))}
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(render(checkpoint))
    assert run_here(site).error is None
    before = mariadb.rows_read()
    done = run_here(site)
    read = mariadb.rows_read() - before
    assert done.error is None
    assert [True] == [line.startswith("✅ Nothing new since ") for line in done.lines]
    ((overlap,),) = mariadb.execute(
        f"SELECT COUNT(*) FROM `{database}`.vicidial_log WHERE call_date >= FROM_UNIXTIME(%s)", (NOON - OVERLAP,)
    )
    return read, overlap + WATCHED


def test_an_idle_run_reads_the_overlap_and_the_watched_rows_however_long_the_table(
    tmp_path: Path, mariadb: MariaDB, api: DidOptimizer
) -> None:
    """Counted by the server: index entries and rows."""
    mariadb.set_clock(NOON)
    try:
        small, needed = rows_of_an_idle_run(tmp_path, mariadb, api, 20_000)
        large, needed_of_large = rows_of_an_idle_run(tmp_path, mariadb, api, 200_000)
    finally:
        mariadb.set_clock(None)
    assert needed == needed_of_large
    assert needed == pytest.approx(PER_HOUR * OVERLAP / 3600, rel=0.01)
    assert needed <= small <= 1.2 * needed
    assert small == pytest.approx(large, rel=0.05)


@pytest.mark.parametrize("engine", ["MyISAM", "InnoDB"])
def test_nothing_is_locked_while_calls_are_on_their_way(engine: str, site: Site, api: DidOptimizer) -> None:
    """In the middle of each POST the dialer writes, and root even locks the whole table and alters it, at once."""
    site.mariadb.execute(f"ALTER TABLE `{site.database}`.vicidial_log ENGINE = {engine}")
    noted: list[object] = []

    def work_on(payload: dict[str, Any]) -> None:
        try:
            with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
                cursor.execute("SET SESSION max_statement_time = 2, lock_wait_timeout = 2")
                cursor.execute("UPDATE vicidial_log SET processed = 'Y' WHERE uniqueid = %s", (payload["uniqueid"],))
                cursor.execute("LOCK TABLES vicidial_log WRITE")
                cursor.execute("UNLOCK TABLES")
                cursor.execute("ALTER TABLE vicidial_log COMMENT = %s", (payload["uniqueid"],))
            noted.append("done")
        except pymysql.MySQLError as error:
            noted.append(error)

    now = int(time.time())
    insert(site.mariadb, site.database, *(row(f"{now}.{n}", now - 60, comments="x" * 255) for n in range(30)))
    site.configure(batch_size="4", concurrency="1")
    api.fault_for = work_on
    assert run_here(site).error is None
    assert ["done"] * 30 == noted
    assert 30 == len(api.records)


# --- Failures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA) -> Iterator[MariaDB]:
    """A MariaDB with TLS, and with plug-ins, that tests may kill."""
    folder = tmp_path_factory.mktemp("spare")
    certificate = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
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


def use_all(settings: Settings) -> None:
    """Read in every way there is."""
    with CallLog(settings) as log:
        log.now()
        list(log.pages(NOON, knows_none))
        log.count_after("2026-11-06 12:00:00")
        log.by_uniqueid(["1.1"])
        log.by_lead([1])
        log.whole(["1.1"])


def broken(use: Callable[[Settings], None], settings: Settings) -> DatabaseError:
    """Return the error, which may not show the password anywhere, and came soon."""
    began = time.monotonic()
    with pytest.raises(DatabaseError) as caught:
        use(settings)
    assert 12 > time.monotonic() - began
    error = caught.value
    assert 3 == error.exit_code
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert settings.db_password not in shown
    assert "\n" not in str(error)
    return error


def _nobody_listens(bench: Bench) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bench.texts["db_port"] = str(probe.getsockname()[1])


def _no_such_host(bench: Bench) -> None:
    bench.texts["db_host"] = "no-such-host.invalid"


def _wrong_password(bench: Bench) -> None:
    bench.texts["db_password"] = "wr0ng-s3cr3t"


def _other_table_only(bench: Bench) -> None:
    bench.root("CREATE TABLE other (id INT)")
    for host in ("%", "localhost"):
        bench.root(f"REVOKE ALL, GRANT OPTION FROM cron@'{host}'; GRANT SELECT ON other TO cron@'{host}'")


def _nothing_granted(bench: Bench) -> None:
    bench.root("REVOKE ALL, GRANT OPTION FROM cron@'%'")


def _no_such_database(bench: Bench) -> None:
    bench.texts["db_name"] = "asterix"


def _no_such_database_says_the_server(bench: Bench) -> None:
    bench.root("GRANT SELECT ON *.* TO cron@'%'")
    bench.texts["db_name"] = "asterix"


def _locked(bench: Bench) -> None:
    bench.texts["db_timeout"] = "1"
    bench.root("LOCK TABLES vicidial_log WRITE")


def _locked_without_a_limit(bench: Bench) -> None:
    """The server takes itself for a MySQL, and knows no max_execution_time: only the socket's timeout is left."""
    _locked(bench)
    bench.monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")


def _slow(bench: Bench) -> None:
    bench.texts["db_timeout"] = "1"
    bench.monkeypatch.setattr(module, "NOW", "SELECT SLEEP(60)")


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


def _file(suffix: str, damage: Callable[[bytes], bytes]) -> Callable[[Bench], None]:
    def break_it(bench: Bench) -> None:
        bench.root("FLUSH TABLES vicidial_log")
        file = bench.mariadb.folder / "data" / bench.database / f"vicidial_log.{suffix}"
        file.write_bytes(damage(file.read_bytes()))

    return break_it


def _listener(greeting: bytes | None) -> Callable[[Bench], None]:
    """Something listens that sends this, or nothing at all, and takes what comes."""

    def listen(bench: Bench) -> None:
        listener = bench.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        bench.texts.update(db_port=str(listener.getsockname()[1]), db_timeout="1")

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting or b"")
                while greeting is None and connection.recv(1000):
                    pass

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        bench.stack.callback(server.join)

    return listen


SLOW = "vicidial_log was not readable within 1 s, held up by OPTIMIZE or archiving? The next run goes on"
LIMIT = "max_statement_time exceeded"  # so it was the server that ended the statement, and not only our patience
DAMAGED = "The table is damaged; as the database's root: REPAIR TABLE"
NO_MARIADB = "is no MariaDB; check VARDB_server and VARDB_port"
NO_INDEX = "vicidial_log lacks an index of VICIdial's, and would be locked for seconds; put it back"
NO_TABLE = "such as VICIdial makes; check VARDB_database"
GRANT = ["As the database's root: GRANT SELECT ON", ".vicidial_log TO 'cron'@'…'; or correct VARDB_database"]


def sql(text: str) -> Callable[[Bench], None]:
    return lambda bench: bench.root(text)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        pytest.param(_nobody_listens, ["Cannot reach the database at 127.0.0.1:", "systemctl"], id="server down"),
        pytest.param(_no_such_host, ["Cannot reach the database at no-such-host.invalid:"], id="unknown host"),
        pytest.param(_wrong_password, ["refuses user cron; check VARDB_pass"], id="wrong password"),
        pytest.param(_other_table_only, [*GRANT, "SELECT command denied"], id="no grant on the table"),
        pytest.param(_nothing_granted, GRANT, id="no grant at all"),
        pytest.param(_no_such_database, ["asterix", "correct VARDB_database"], id="no database, or no grant on it"),
        pytest.param(_no_such_database_says_the_server, ["no asterix.vicidial_log", NO_TABLE], id="no database"),
        pytest.param(sql("DROP TABLE vicidial_log"), [NO_TABLE], id="no table"),
        pytest.param(sql("ALTER TABLE vicidial_log DROP alt_dial"), [NO_TABLE, "alt_dial"], id="no such column"),
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
        pytest.param(_listener(None), [NO_MARIADB, "timed out"], id="server that never says a word"),
        pytest.param(_listener(b""), [NO_MARIADB], id="server that hangs up"),
        pytest.param(_listener(b"SSH-2.0-OpenSSH_9.2\r\n"), [NO_MARIADB], id="SSH"),
        pytest.param(_listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"), [NO_MARIADB], id="HTTP"),
        pytest.param(_listener(b"\x05\0\0\0hello"), [NO_MARIADB], id="a packet, but no greeting"),
        pytest.param(_listener(b"\0\0\0\0"), [NO_MARIADB], id="an empty packet"),
        pytest.param(_listener(b"\x06\0\0\0\x0a\xff\xfe\xfd\0\0"), [NO_MARIADB], id="a greeting that is no text"),
        pytest.param(
            _listener(b"\x16\x00\x00\x00\xff\x10\x04#08004Too many conn"),
            ["The database at 127.0.0.1:", "failed; the next run goes on from here", "Too many conn"],
            id="a failure without advice of its own",
        ),
    ],
)  # fmt: skip
def test_each_failure_has_its_own_sentence_and_never_shows_the_password(
    break_it: Callable[[Bench], None], said: list[str], bench: Bench
) -> None:
    break_it(bench)
    sentence = str(broken(use_all, bench.settings))
    assert [] == [part for part in said if part not in sentence], sentence


@dataclass
class Secured:
    """The MariaDB with TLS, a database on it, and the files of two CAs."""

    mariadb: MariaDB
    folder: Path
    right_ca: Path
    wrong_ca: Path

    def settings(self, **texts: str) -> Settings:
        return settings_of(self.folder, self.mariadb, "asterisk", **texts)


@pytest.fixture
def secured(tmp_path: Path, spare: MariaDB, ca: trustme.CA) -> Iterator[Secured]:
    spare.create_table("asterisk")
    spare.create_reader("cron", PASSWORD, "asterisk")
    files = tmp_path / "ca.pem", tmp_path / "other.pem"
    ca.cert_pem.write_to_path(str(files[0]))
    trustme.CA().cert_pem.write_to_path(str(files[1]))
    yield Secured(spare, tmp_path, *files)
    spare.execute("SET GLOBAL require_secure_transport = OFF")
    spare.execute("DROP DATABASE asterisk")


def test_a_server_that_wants_tls_says_so_and_is_served_with_its_ca(secured: Secured) -> None:
    secured.mariadb.execute("SET GLOBAL require_secure_transport = ON")
    assert "db_ssl_ca where it wants TLS" in str(broken(use_all, secured.settings()))
    with CallLog(secured.settings(db_ssl_ca=str(secured.right_ca))) as log:
        assert log.now()


def test_a_certificate_of_another_ca_is_refused(secured: Secured) -> None:
    sentence = str(broken(use_all, secured.settings(db_ssl_ca=str(secured.wrong_ca))))
    assert "No TLS with the database at 127.0.0.1:" in sentence
    assert "check db_ssl_ca and its certificate" in sentence
    assert "CERTIFICATE_VERIFY_FAILED" in sentence


@pytest.mark.parametrize("text", [pytest.param(None, id="gone"), pytest.param("no certificate", id="not PEM")])
def test_a_file_that_holds_no_ca_is_named_by_its_setting(text: str | None, secured: Secured) -> None:
    settings = secured.settings(db_ssl_ca=str(secured.wrong_ca))
    secured.wrong_ca.unlink()
    if text:
        secured.wrong_ca.write_text(text)
    assert "check db_ssl_ca" in str(broken(use_all, settings))


def test_a_server_without_tls_is_not_trusted_where_a_ca_is_set(bench: Bench, secured: Secured) -> None:
    """With nothing in the middle to tell of it, the password would go to whoever listens."""
    bench.texts["db_ssl_ca"] = str(secured.right_ca)
    assert "No TLS with the database at 127.0.0.1:" in str(broken(use_all, bench.settings))


def test_a_login_that_needs_another_package_is_named(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymysql._auth.ed25519_password", _lacks_a_package)
    secured.mariadb.execute("INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'")
    secured.mariadb.execute("CREATE OR REPLACE USER cron@'%%' IDENTIFIED VIA ed25519 USING PASSWORD(%s)", (PASSWORD,))
    sentence = str(broken(use_all, secured.settings()))
    assert "PyMySQL lacks a part for the way user cron logs in; let it log in by mere password" in sentence
    assert "'pynacl' package is required" in sentence


def _lacks_a_package(password: bytes, scramble: bytes) -> bytes:  # noqa: ARG001 -- PyMySQL's signature
    raise RuntimeError("'pynacl' package is required for ed25519_password auth method")


def test_a_server_that_goes_in_the_middle_of_a_run_costs_nothing_but_time(
    tmp_path: Path, spare: MariaDB, api: DidOptimizer
) -> None:
    """It is killed with calls in flight: what got through is recorded, and the next run sends the rest."""
    spare.create_table("killed")
    site = Site.of(tmp_path, spare, "killed", api, batch_size="5")
    now = int(time.time())
    expected = {f"{now}.{number}" for number in range(200)}
    insert(spare, "killed", *(row(uniqueid, now - 60) for uniqueid in expected))
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
    assert set(api.records) == set(checkpoint.delivered)

    down = run_here(site)
    assert "Cannot reach the database" in str(down.error)
    spare.start()
    assert run_here(site).error is None
    assert expected == set(api.records)
    assert 0 == api.repeats


def test_a_table_that_is_locked_for_minutes_ends_the_run_and_the_next_one_goes_on(
    site: Site, api: DidOptimizer
) -> None:
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


def test_a_server_without_a_time_limit_for_statements_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB knows MySQL's variable as little as old servers know theirs, and answers 1193."""
    monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")
    use_all(settings)


def test_a_limit_that_is_refused_for_another_reason_is_a_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pymysql.connections.Connection, "get_server_info", lambda _: "5.6.51-log")
    monkeypatch.setattr(ER, "UNKNOWN_SYSTEM_VARIABLE", 0)
    assert "failed; the next run goes on" in str(broken(use_all, settings))


# --- Rows that are odd -----------------------------------------------------------------------------------------------

ODD_ROWS: dict[str, tuple[dict[str, object], dict[str, object] | None]] = {
    "end a day ahead": ({"end_epoch": NOON + 86400}, {"endEpoch": NOON + 86400}),
    "end as far ahead as can be": ({"end_epoch": 4294967295}, {"endEpoch": 4294967295}),
    "end 0": ({"end_epoch": 0}, None),
    "end NULL for ever": ({"end_epoch": None, "status": "LRERR"}, None),
    "negative length": ({"length_in_sec": -7}, {"duration": -7}),
    "no lead, no list": ({"lead_id": 0, "list_id": None}, {"leadId": "0", "listId": None}),
    "status NULL": ({"status": None}, {"disposition": None}),
    "status empty": ({"status": ""}, {"disposition": ""}),
    "start NULL": ({"start_epoch": None}, {"startEpoch": None}),
    "reason that the ENUM lacks": ({"term_reason": "NO SUCH"}, {"termReason": ""}),
    "quotes": ({"comments": 'O\'B said "100%s" \\ `; --'}, {"comments": 'O\'B said "100%s" \\ `; --'}),
    "tab, newline and NUL": ({"comments": "a\tb\nc\0d"}, {"comments": "a\tb\nc\0d"}),
    "latin1 as MariaDB knows it": ({"comments": "é €"}, {"comments": "é €"}),
    "emoji, which the column cannot hold": ({"comments": "😀"}, {"comments": "?"}),
    "bytes that are no text anywhere": ({"comments": ("X'ff81fe'",)}, {"comments": "ÿ\x81þ"}),
    "odd uniqueid": ({"uniqueid": "O'B\"%s\\;é"}, {"uniqueid": "O'B\"%s\\;é"}),
    "white space in the uniqueid": ({"uniqueid": " 1.2\t3\n"}, {"uniqueid": " 1.2\t3\n"}),
    "bytes in the uniqueid": ({"uniqueid": ("X'31ff2e35'",)}, {"uniqueid": "1ÿ.5"}),
    "largest list": ({"list_id": 2**64 - 1}, {"listId": str(2**64 - 1)}),
}
"""What differs in the row, and what must be sent of that; None: the call never ends."""


@pytest.fixture(scope="module")
def odd_calls(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> dict[str, list[dict[str, Any]]]:
    """What was sent of each odd row, in the end; its name stands in a column that is not odd."""
    mariadb.create_table("odd")
    posts: dict[str, list[dict[str, Any]]] = {str(number): [] for number in range(len(ODD_ROWS))}
    with DidOptimizer() as api:
        site = Site.of(tmp_path_factory.mktemp("odd"), mariadb, "odd", api)
        for number, (columns, _) in enumerate(ODD_ROWS.values()):
            plain = row(f"{NOON + number}.5", NOON + number, lead_id=number + 1, phone_number=str(number))
            insert(mariadb, "odd", {**plain, **columns})
        site.checkpoint_file.parent.mkdir()
        site.checkpoint_file.write_text(f"{NOON - 3600}\n")
        for later in (60, 120, 9 * 3600, 9 * 3600 + 60):
            mariadb.set_clock(NOON + later)
            assert run_here(site).error is None
        assert not site.rejected_file.exists()
        for post in api.posts:
            posts[post.payload["phoneNumber"]].append(post.payload)
    mariadb.set_clock(None)
    return posts


@pytest.mark.parametrize("name", ODD_ROWS)
def test_an_odd_row_is_delivered_as_it_stands(name: str, odd_calls: dict[str, list[dict[str, Any]]]) -> None:
    """At once, or when it is found to be old; one that never ends is given up."""
    _, sent = ODD_ROWS[name]
    posted = odd_calls[str(list(ODD_ROWS).index(name))]
    assert ([] if sent is None else [sent]) == [{key: payload[key] for key in sent or {}} for payload in posted]


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(
            dict.fromkeys(sorted(set(row("")) - {"uniqueid", "lead_id", "call_date", "end_epoch"})), id="NULL"
        ),
        pytest.param({"uniqueid": ""}, id="uniqueid empty"),
    ],
)
def test_a_row_that_the_api_refuses_for_what_it_lacks_is_put_aside(
    columns: dict[str, object], site: Site, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, {**row("1793966400.5", NOON), **columns}, row("1793966400.6", NOON))
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(f"{NOON - 3600}\n")
    for epoch in (NOON + 60, NOON + 1000, NOON + 1060):
        site.mariadb.set_clock(epoch)
        assert run_here(site).error is None
    assert ["1793966400.6"] == list(api.records)
    assert 1 == len(site.rejected_file.read_text().splitlines())
    assert 2 == len(api.posts)


def test_bytes_on_disk_that_no_character_set_knows_are_delivered_as_question_marks(
    mariadb: MariaDB, site: Site, api: DidOptimizer
) -> None:
    """A utf8 column cannot be given such bytes, but a damaged or copied table has them."""
    mariadb.execute(f"ALTER TABLE `{site.database}`.vicidial_log CONVERT TO CHARACTER SET utf8")
    now = int(time.time())
    insert(mariadb, site.database, row(f"{now}.1", now - 60, comments="PATCH ME"))
    mariadb.execute(f"FLUSH TABLES `{site.database}`.vicidial_log")
    file = mariadb.folder / "data" / site.database / "vicidial_log.MYD"
    file.write_bytes(file.read_bytes().replace(b"PATCH", b"a\xff\xc3(\xf0"))
    assert run_here(site).error is None
    assert ["a??(? ME"] == [post.payload["comments"] for post in api.posts]


def test_rows_dated_later_than_the_server_can_count_do_not_hold_up_the_others(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole page of them behind today's calls: the last second of that page has no epoch."""
    pages_of(2, monkeypatch)
    now = int(time.time())
    insert(
        site.mariadb,
        site.database,
        *(row(f"{now}.{n}", now - 60, lead_id=n, call_date=f"2099-01-01 00:00:0{n}") for n in range(5)),
        *(row(f"{now}.{n}", now - 70 + n) for n in range(5, 10)),
    )
    assert run_here(site).error is None
    assert run_here(site).error is None
    assert {f"{now}.{n}" for n in range(10)} == set(api.records)
    assert 0 == api.repeats


def test_a_table_emptied_overnight_goes_on_with_new_calls(site: Site, api: DidOptimizer) -> None:
    talking = [row(f"{NOON}.{n}", NOON, end_epoch=None, lead_id=n) for n in range(3)]
    insert(site.mariadb, site.database, row(f"{NOON}.9", NOON), *talking)
    site.mariadb.set_clock(NOON + 60)
    assert run_here(site).error is None
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    site.mariadb.set_clock(NOON + 120)
    done = run_here(site)
    assert done.error is None
    assert 3 == sum("gone from vicidial_log" in line for line in done.lines)
    insert(site.mariadb, site.database, row(f"{NOON + 130}.1", NOON + 130))
    site.mariadb.set_clock(NOON + 180)
    assert run_here(site).error is None
    assert [f"{NOON}.9", f"{NOON + 130}.1"] == list(api.records)


def test_rows_that_are_archived_between_look_and_read_are_gone_and_harm_nobody(site: Site, api: DidOptimizer) -> None:
    now = int(time.time())
    insert(site.mariadb, site.database, *(row(f"{now}.{n}", now - 60, lead_id=n) for n in range(40)))
    site.configure(batch_size="1", concurrency="1")

    def archive(_: dict[str, Any]) -> None:
        site.mariadb.execute(f"DELETE FROM `{site.database}`.vicidial_log WHERE lead_id >= 30")

    api.fault_for = archive
    assert run_here(site).error is None
    done = run_here(site)
    assert done.error is None
    assert {f"{now}.{n}" for n in range(30)} == set(api.records)
    assert 10 == sum("gone from vicidial_log" in line for line in done.lines)


# --- How the server is reached ---------------------------------------------------------------------------------------


def connected_from(mariadb: MariaDB) -> list[str]:
    """From where VICIdial's account is connected: localhost is the socket."""
    rows = mariadb.execute("SELECT host FROM information_schema.processlist WHERE user = 'cron'")
    return [host.partition(":")[0] for (host,) in rows]


def test_localhost_is_reached_by_the_first_socket_there_is(
    tmp_path: Path, mariadb: MariaDB, database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file that is missing nor one that is no socket counts; so cron@localhost is who logs in."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "SOCKETS", (tmp_path / "missing", tmp_path / "file", mariadb.socket))
    settings = settings_of(tmp_path, mariadb, database, db_host="localhost", db_port="3306")
    with CallLog(settings) as log:
        assert log.now()
        assert ["localhost"] == connected_from(mariadb)


@pytest.mark.usefixtures("settings")  # for the account
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_port_or_an_address_is_reached_by_tcp(
    host: str, tmp_path: Path, mariadb: MariaDB, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOCKETS", (mariadb.socket,))
    with CallLog(settings_of(tmp_path, mariadb, database, db_host=host)) as log:
        assert log.now()
        assert ["127.0.0.1"] == connected_from(mariadb)


def test_a_path_as_host_is_a_socket(tmp_path: Path, mariadb: MariaDB, database: str, settings: Settings) -> None:
    settings = settings_of(tmp_path, mariadb, database, db_host=str(mariadb.socket), db_port="1")
    with CallLog(settings) as log:
        assert log.now()
        assert ["localhost"] == connected_from(mariadb)


def test_localhost_without_a_socket_is_tried_by_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOCKETS", (tmp_path / "missing",))
    assert module._socket(make_settings(tmp_path)) is None


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # PyMySQL's, where nobody listens
def test_a_socket_at_which_nobody_listens_is_a_server_that_is_down(tmp_path: Path) -> None:
    path = tmp_path / "mysqld.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    sentence = str(broken(use_all, make_settings(tmp_path, db_host=str(path), db_password=PASSWORD)))
    assert f"Cannot reach the database at {path};" in sentence
    gc.collect()
