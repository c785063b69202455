"""The call log is read by its indexes, in bounded parts, and every way in which that fails has its own sentence."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest

from rehearsal.dialer import fill
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import MariaDB
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON, insert, knows_none, row, settings_of
from tests.conftest import finish_calls, make_settings, pages_of, run_here
from vicisync.calls.call import Call, CallRow
from vicisync.calls.times import local
from vicisync.settings.settings import Settings
from vicisync.vicidial import call_log as module
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.pages import ROWS, Page, Second, pages

Write = Callable[..., None]
"""Writes rows into the table that is read."""


@pytest.fixture
def settings(tmp_path: Path, mariadb: MariaDB, database: str) -> Settings:
    mariadb.create_reader("cron", PASSWORD, database)
    return settings_of(tmp_path, mariadb, database)


@pytest.fixture
def log(settings: Settings) -> Iterator[CallLog]:
    with CallLog(settings) as opened:
        yield opened


@pytest.fixture
def write(mariadb: MariaDB, database: str) -> Write:
    return functools.partial(insert, mariadb, database)


def ids(rows: Sequence[CallRow] | Sequence[Call]) -> list[str]:
    return [row.uniqueid for row in rows]


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "pages"),
    [
        pytest.param([], [[]], id="empty table"),
        pytest.param([5, 1, 3], [[1, 3, 5], []], id="exactly one page"),
        pytest.param([2, 1], [[1, 2]], id="less than a page"),
        pytest.param([4, 1, 3, 2], [[1, 2, 3], [4]], id="one more than a page"),
        pytest.param([1] * 7, [[1] * 7, []], id="nothing but one second, more than two pages of it"),
        pytest.param([2] * 7 + [1, 3], [[1, *[2] * 7], [3]], id="a second longer than a page, after another"),
        pytest.param([1, 1, 2, 2, 3, 3], [[1, 1, 2, 2], [3, 3]], id="a second across the edge is read whole"),
        pytest.param([1, 2, 3, 3, 4, 5, 5, 5], [[1, 2, 3, 3, 4], [5, 5, 5], []], id="two edges within seconds"),
        pytest.param([1, 2, 900, 901, 902, 903], [[1, 2, 900], [901, 902, 903], []], id="a pause counts nothing"),
    ],
)
def test_pages_hold_whole_seconds_in_order_and_the_last_one_comes_always(
    seconds: list[int], pages: list[list[int]], write: Write, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(3, monkeypatch)
    write(*(row(f"{NOON}.{number}", NOON + second) for number, second in enumerate(seconds)))
    read = list(log.pages(NOON, knows_none))
    assert pages == [[row.start_epoch - NOON for row in page.rows] for page in read]
    assert [False] * (len(pages) - 1) + [True] == [page.is_last for page in read]
    assert [(page[0], page[-1]) for page in pages if page] == [
        (log.epoch_of(page.first_second) - NOON, log.epoch_of(page.last_second) - NOON)
        for page in read
        if page.last_second
    ]
    assert [set(ids(page.rows)) for page in read] == [page.present for page in read]
    assert {f"{NOON}.{number}" for number in range(len(seconds))} == set().union(*(page.present for page in read))


def test_no_statement_reads_more_than_so_many_rows_at_any_call_rate(
    database: str, mariadb: MariaDB, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mariadb.connect(database) as connection:
        fill(connection, 12_000, NOON, per_hour=300_000)
    read: list[int] = []
    read_whole = CallLog.read

    def counted(self: CallLog, sql: str, parameters: Mapping[str, object] = {}) -> tuple[tuple[Any, ...], ...]:
        before = mariadb.rows_read()
        found = read_whole(self, sql, parameters)
        read.append(mariadb.rows_read() - before)
        return found

    monkeypatch.setattr(CallLog, "read", counted)
    unknown = [row.uniqueid for page in log.pages(NOON - 3600, knows_none) for row in page.rows]
    assert 12_000 == len(set(unknown)) == len(unknown)
    list(log.pages(NOON - 3600, set(unknown).__contains__))
    assert 1.1 * ROWS >= max(read)
    for page in log.pages(NOON - 3600, set(unknown).__contains__):
        assert page.is_last or log.ahead(page) == 0
    assert 2 * ROWS >= max(read)
    assert 1000 == log.count_after("2026-11-06 00:00:00", 1000) == read[-1]


@pytest.mark.parametrize("limit", ["sql_select_limit", "max_join_size"])
def test_a_server_that_limits_the_rows_of_an_answer_gives_them_all(
    limit: str, write: Write, mariadb: MariaDB, settings: Settings
) -> None:
    write(*(row(f"{NOON}.{number}", NOON + number) for number in range(20)))
    mariadb.execute(f"SET GLOBAL {limit} = 5")
    try:
        with CallLog(settings) as log:
            assert 20 == sum(len(page.rows) for page in log.pages(NOON, knows_none))
    finally:
        mariadb.execute(f"SET GLOBAL {limit} = DEFAULT")


def test_a_server_that_hangs_up_on_idle_connections_waits_for_a_slow_api(site: Site, api: DidOptimizer) -> None:
    """Some dialers' databases end what is idle for half a minute: a batch takes longer where the API does."""
    finish_calls(site, 2)
    site.configure(batch_size="1", concurrency="1")
    api.fault_for = lambda _: time.sleep(1.5)
    site.mariadb.execute("SET GLOBAL wait_timeout = 1")
    try:
        assert run_here(site).error is None
    finally:
        site.mariadb.execute("SET GLOBAL wait_timeout = DEFAULT")
    assert 2 == len(api.records)


def test_an_answer_that_something_before_the_server_cuts_short_is_asked_for_by_halves(
    write: Write, log: CallLog
) -> None:
    write(*(row(f"{NOON}.{number}", NOON + number) for number in range(20)))
    read = list(pages(lambda sql, values: log.read(sql, values)[:5], NOON, knows_none))
    assert 20 == len({row.uniqueid for page in read for row in page.rows})


def test_of_seconds_with_nothing_but_known_calls_only_the_ids_are_read(write: Write, log: CallLog) -> None:
    write(*(row(f"é.{number}", NOON + number // 2) for number in range(8)))
    known = {f"é.{number}" for number in range(8)} - {"é.2", "é.5"}
    (page,) = log.pages(NOON, known.__contains__)
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
    uniqueids: list[str], known: set[str], longest: int, write: Write, log: CallLog
) -> None:
    log.read(f"SET SESSION group_concat_max_len = {longest}")
    write(*(row(uniqueid) for uniqueid in uniqueids))
    (page,) = log.pages(NOON, known.__contains__)
    assert sorted(uniqueids) == sorted(ids(page.rows))
    assert set(uniqueids) == page.present


@pytest.mark.parametrize(
    ("meanwhile", "pages"),
    [
        pytest.param("DELETE FROM vicidial_log WHERE uniqueid = '1.1'", [[], ["2.1"]], id="emptied"),
        pytest.param("UPDATE vicidial_log SET uniqueid = '1.9' WHERE uniqueid = '1.1'", [["1.9"], ["2.1"]], id="id"),
    ],
)
def test_a_page_that_changes_while_it_is_read_is_as_it_is_then_and_others_follow(
    meanwhile: str, pages: list[list[str]], write: Write, mariadb: MariaDB, database: str, log: CallLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pages_of(1, monkeypatch)
    write(row("1.1"), row("2.1", NOON + 1))

    def change(_: Iterable[str]) -> bool:
        mariadb.execute(meanwhile.replace("vicidial_log", f"`{database}`.vicidial_log"))
        return False

    *read, last = log.pages(NOON, change)
    assert Page([], set(), is_last=True) == last
    assert pages == [ids(page.rows) for page in read]
    assert [set(page) for page in pages] == [page.present for page in read]


def test_pages_begin_at_the_moment_asked_for(write: Write, log: CallLog) -> None:
    starts = (NOON - 2, NOON - 1, NOON, NOON + 1)
    write(*(row(f"{start}.1", start) for start in starts))
    assert [f"{NOON}.1", f"{NOON + 1}.1"] == ids(next(log.pages(NOON, knows_none)).rows)
    assert 4 == len(next(log.pages(0, knows_none)).rows)
    assert 4 == len(next(log.pages(-600, knows_none)).rows)


@pytest.mark.parametrize("start", [pytest.param(None, id="NULL"), pytest.param(0, id="0")])
def test_a_row_without_start_epoch_takes_its_call_date(start: int | None, write: Write, log: CallLog) -> None:
    write(row("1.1", NOON, start_epoch=start))
    expected = CallRow("1.1", 1, NOON, NOON, "NA", "", campaign="C")
    assert [Page([expected], {"1.1"}, local(NOON), local(NOON), is_last=True)] == list(log.pages(NOON, knows_none))
    assert ([expected], [expected]) == log.again({"1.1": 1, "gone": 1})


def test_null_is_nothing_in_a_sighting_and_none_in_a_whole_call(write: Write, log: CallLog) -> None:
    nothing = dict.fromkeys(("term_reason", "alt_dial", "called_count", "processed"))
    write({"uniqueid": "1.1", "lead_id": 7, **nothing})
    assert ([CallRow("1.1", 7, 0, 0, "", "")], []) == log.again({"1.1": 7})
    assert [Call("1.1", 7, *[None] * 15)] == log.whole(["1.1"])


# --- Look-ups --------------------------------------------------------------------------------------------------------


def test_rows_are_looked_up_in_parts_and_whole_calls_come_in_the_order_asked_for(
    write: Write, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    write(*(row(f"1.{number}", lead_id=number % 5) for number in range(10)))
    wanted = ["1.7", "1.2", "gone", "1.9", "1.0", "1.4"]
    assert ["1.7", "1.2", "1.9", "1.0", "1.4"] == ids(log.whole(wanted))
    rows, of_gone_ones_lead = log.again(dict.fromkeys(wanted, 2))
    assert {"1.0", "1.2", "1.4", "1.7", "1.9"} == set(ids(rows))
    assert ["1.2", "1.7"] == sorted(ids(of_gone_ones_lead))
    assert ([], ([], [])) == (log.whole([]), log.again({}))


def test_a_whole_call_is_every_column_as_it_stands(write: Write, log: CallLog) -> None:
    call = Call(
        "1793966400.12", 4294967295, 99800123456789, "CAMPAI08", "2026-11-06 12:00:00", NOON, NOON + 45, -3, "SALE",
        "44", "02071838750", "agent007", "0.123", "NIGHT", "CALLER", "ADDR3", 65535,
    )  # fmt: skip
    write(dict(call._asdict()))
    assert [call] == log.whole([call.uniqueid])


def test_a_table_may_lack_called_count(mariadb: MariaDB, settings: Settings, database: str, write: Write) -> None:
    mariadb.execute(f"ALTER TABLE `{database}`.vicidial_log DROP COLUMN called_count")
    write(row("1.1"))
    with CallLog(settings) as log:
        assert [None] == [call.called_count for call in log.whole(["1.1"])]
        assert ["1.1"] == ids(log.whole(["1.1"]))


def test_rows_behind_a_second_are_counted(write: Write, log: CallLog, monkeypatch: pytest.MonkeyPatch) -> None:
    pages_of(2, monkeypatch)
    write(*(row(f"1.{number}", NOON + number // 2) for number in range(7)))
    last_seconds = [page.last_second for page in log.pages(NOON, knows_none) if page.last_second]
    assert [5, 3, 0] == [log.count_after(second, 100) for second in last_seconds]


@pytest.mark.parametrize(
    ("second", "epoch"),
    [
        pytest.param("FROM_UNIXTIME(1793966400)", NOON, id="as the database counts"),
        pytest.param("'2199-01-01 00:00:00'", 0, id="none: later than the server can count"),
        pytest.param("'0000-00-00 00:00:00'", 0, id="none: no time at all"),
    ],
)
def test_a_call_date_has_an_epoch_or_0(second: str, epoch: int, mariadb: MariaDB, log: CallLog) -> None:
    ((text,),) = mariadb.execute(f"SELECT CAST({second} AS CHAR)")
    assert epoch == log.epoch_of(text)


# --- What reading costs the dialer -----------------------------------------------------------------------------------


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
    insert(
        site.mariadb, site.database, *(row(f"{now}.{n}", now - 60, lead_id=n, comments="x" * 255) for n in range(30))
    )
    site.configure(batch_size="4", concurrency="1")
    api.fault_for = work_on
    assert run_here(site).error is None
    assert ["done"] * 30 == noted
    assert 30 == len(api.records)


# --- Rows that are odd -----------------------------------------------------------------------------------------------

ODD_ROWS: dict[str, tuple[dict[str, object], dict[str, object] | None]] = {
    "end a day ahead": ({"end_epoch": NOON + 86400}, {"endEpoch": NOON + 86400}),
    "end as far ahead as can be": ({"end_epoch": 4294967295}, {"endEpoch": 4294967295}),
    "end 0": ({"end_epoch": 0}, None),
    "end NULL for ever": ({"end_epoch": None, "status": "LRERR"}, None),
    "negative length": ({"length_in_sec": -7}, {"duration": 0}),
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
    posts: dict[str, list[dict[str, Any]]] = {name: [] for name in [*map(str, range(len(ODD_ROWS))), "of later"]}
    with DidOptimizer() as api:
        site = Site.of(tmp_path_factory.mktemp("odd"), mariadb, "odd", api)
        for number, (columns, _) in enumerate(ODD_ROWS.values()):
            plain = row(f"{NOON + number}.5", NOON + number, lead_id=number + 1, phone_number=str(number))
            insert(mariadb, "odd", {**plain, **columns})
        site.checkpoint_file.parent.mkdir()
        site.checkpoint_file.write_text(f"{NOON - 3600}\n")
        for later in (60, 120, 9 * 3600, 9 * 3600 + 60):
            insert(mariadb, "odd", row(f"{NOON + later}.5", NOON + later, lead_id=99, phone_number="of later"))
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
    [dict.fromkeys(sorted(set(row("")) - {"uniqueid", "lead_id", "call_date", "end_epoch"})), {"uniqueid": ""}],
    ids=["NULL", "uniqueid empty"],
)
def test_a_row_that_the_api_never_stores_is_rejected(columns: dict[str, object], site: Site, api: DidOptimizer) -> None:
    insert(site.mariadb, site.database, {**row("1793966400.5", NOON), **columns}, row("1793966400.6", NOON, lead_id=6))
    site.checkpoint_file.parent.mkdir()
    site.checkpoint_file.write_text(f"{NOON - 3600}\n")
    for number, epoch in enumerate((NOON + 60, NOON + 1000, NOON + 1060), 7):
        insert(site.mariadb, site.database, row(f"1793966400.{number}", epoch - 10, lead_id=number))
        site.mariadb.set_clock(epoch)
        assert run_here(site).error is None
    assert {f"1793966400.{number}" for number in (6, 7, 8, 9)} == set(api.records)
    assert 1 == len(site.rejected_file.read_text().splitlines())


def test_bytes_of_no_character_set_become_question_marks(mariadb: MariaDB, site: Site, api: DidOptimizer) -> None:
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
    told: list[int] = []
    for epoch in (NOON + 180, NOON + 9 * 3600, NOON + 9 * 3600 + 60):
        insert(site.mariadb, site.database, row(f"{epoch - 50}.1", epoch - 50))
        site.mariadb.set_clock(epoch)
        done = run_here(site)
        assert done.error is None
        told.append(sum("gone from vicidial_log" in line for line in done.lines))
    assert [0, 0, 3] == told, "they are looked for as long as calls are watched"
    assert 4 == len(api.records)


def test_rows_that_are_gone_between_poll_and_read_are_found_again_when_they_come_back(
    site: Site, api: DidOptimizer
) -> None:
    """A table that is swapped, repaired or restored."""
    now = int(time.time())
    insert(site.mariadb, site.database, *(row(f"{now}.{n}", now - 60, lead_id=n) for n in range(40)))
    site.configure(batch_size="1", concurrency="1")

    def take_away(_: dict[str, Any]) -> None:
        site.mariadb.execute(f"DELETE FROM `{site.database}`.vicidial_log WHERE lead_id >= 30")

    api.fault_for = take_away
    assert run_here(site).error is None
    assert run_here(site).error is None
    assert {f"{now}.{n}" for n in range(30)} == set(api.records)
    api.fault_for = None
    insert(site.mariadb, site.database, *(row(f"{now}.{n}", now - 60, lead_id=n) for n in range(30, 40)))
    assert run_here(site).error is None
    assert {f"{now}.{n}" for n in range(40)} == set(api.records)
    assert 0 == api.repeats


# --- How the server is reached ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("settings")  # for the account
@pytest.mark.parametrize(
    ("host", "port", "seen_from"),
    [
        pytest.param("localhost", "3306", "localhost", id="localhost: the first socket there is"),
        pytest.param("localhost", "{port}", "127.0.0.1", id="localhost, another port: TCP"),
        pytest.param("127.0.0.1", "{port}", "127.0.0.1", id="an address: TCP"),
        pytest.param("{socket}", "1", "localhost", id="a path: a socket"),
    ],
)
def test_a_host_is_reached_by_socket_or_tcp(
    host: str,
    port: str,
    seen_from: str,
    tmp_path: Path,
    mariadb: MariaDB,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a file that is missing nor one that is no socket counts; by a socket, cron@localhost logs in."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "SOCKETS", (tmp_path / "missing", tmp_path / "file", mariadb.socket))
    server = {"db_host": host.format(socket=mariadb.socket), "db_port": port.format(port=mariadb.port)}
    with CallLog(settings_of(tmp_path, mariadb, database, **server)) as log:
        assert log.now()
        rows = mariadb.execute("SELECT host FROM information_schema.processlist WHERE user = 'cron'")
    assert [seen_from] == [address.partition(":")[0] for (address,) in rows]


def test_localhost_without_a_socket_is_tried_by_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOCKETS", (tmp_path / "missing",))
    assert module._socket(make_settings(tmp_path)) is None


@pytest.mark.parametrize(
    ("told", "listed", "longest"),
    [
        pytest.param(["1.1", "1.é"], "1.1,1.é", 12, id="shorter than any cut one"),
        pytest.param(None, "1.1,1.é", 9, id="perhaps cut within a character of two bytes"),
        pytest.param(None, "1.1,1.é", 11, id="perhaps cut within one of four"),
        pytest.param(None, "1.1,1.é,", 99, id="more commas than ids"),
    ],
)
def test_a_list_of_ids_tells_them_where_it_cannot_have_been_cut(
    told: list[str] | None, listed: str, longest: int
) -> None:
    assert told == Second("2026-11-06 12:00:00", 2, listed, longest).uniqueids()
