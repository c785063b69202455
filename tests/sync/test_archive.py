"""VICIdial archives a copy of the whole table, then deletes what is old: a copy is how a row was, not how it is."""

from typing import Any

import pytest

from rehearsal.dialer import Dialer
from rehearsal.did_optimizer import DidOptimizer
from rehearsal.mariadb import READ
from rehearsal.site import PASSWORD, Site
from tests.call_rows import NOON, insert, row
from tests.conftest import pages_of
from tests.sync.conftest import at


@pytest.fixture(autouse=True)
def granted(site: Site) -> None:
    site.mariadb.create_reader("cron", PASSWORD, site.database, READ)


def execute(site: Site, *statements: str) -> None:
    with site.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def archived(site: Site) -> None:
    """As ADMIN_archive_log_tables.pl begins."""
    execute(site, "INSERT IGNORE INTO vicidial_log_archive SELECT * FROM vicidial_log")


def minutes(site: Site, dialer: Dialer, first: int, last: int) -> None:
    """Let runs go on while other calls end, so that what is known of a call is forgotten."""
    for minute in range(first, last):
        insert(site.mariadb, site.database, row(f"{NOON + 60 * minute}.9", NOON + 60 * minute, lead_id=100 + minute))
        at(site, dialer, NOON + 60 * minute + 1)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["still in the table", "archived once more and deleted"])
def test_a_call_whose_id_was_rewritten_since_it_was_archived_is_sent_as_it_ended(
    is_deleted: bool, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON, lead_id=7, status="INCALL", end_epoch=None))
    minutes(site, dialer, 1, 3)
    archived(site)
    minutes(site, dialer, 3, 20)
    end = f"uniqueid = '{NOON}.2', status = 'SALE', end_epoch = {NOON + 1200}, length_in_sec = 1200"
    execute(site, f"UPDATE vicidial_log SET {end} WHERE lead_id = 7")
    if is_deleted:
        archived(site)
        execute(site, "DELETE FROM vicidial_log")
    minutes(site, dialer, 21, 24)
    assert [(f"{NOON}.2", "SALE")] == [(u, sent["disposition"]) for u, sent in api.records.items() if ".9" not in u]


@pytest.mark.parametrize("stray", [False, True], ids=["empty", "with a row of 1970 in the table"])
def test_what_was_archived_unseen_is_found_whatever_else_stands_in_the_table(
    stray: bool, site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    insert(site.mariadb, site.database, *(row(f"{NOON}.{number}", NOON, lead_id=number) for number in range(5)))
    archived(site)
    execute(site, "DELETE FROM vicidial_log")
    if stray:
        insert(site.mariadb, site.database, row("86400.1", 86400, lead_id=99))
    at(site, dialer, NOON + 60)
    assert 5 == len(api.records)


COLD = "TABLE vicidial_log_archive TO cold"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(("DROP TABLE vicidial_log_archive",), id="none"),
        pytest.param(
            (f"RENAME {COLD}", "CREATE TABLE vicidial_log_archive AS SELECT * FROM cold"), id="without indexes"
        ),
        pytest.param(("ALTER TABLE vicidial_log_archive DROP INDEX lead_id",), id="without one"),
        pytest.param((f"RENAME {COLD}", "CREATE VIEW vicidial_log_archive AS SELECT * FROM cold"), id="a view"),
    ],
)
def test_an_archive_that_cannot_be_read_as_the_table_keeps_no_call_from_going(
    changes: tuple[str, ...], site: Site, dialer: Dialer, api: DidOptimizer
) -> None:
    """Neither new ones, nor what ended and is gone."""
    insert(site.mariadb, site.database, row(f"{NOON}.1", NOON, lead_id=1, status="INCALL", user="agent1"))
    at(site, dialer, NOON + 60)
    execute(site, *changes, "DELETE FROM vicidial_log")
    insert(site.mariadb, site.database, row(f"{NOON + 60}.2", NOON + 60, lead_id=2))
    at(site, dialer, NOON + 120)
    assert f"{NOON + 60}.2" in api.records
    at(site, dialer, NOON + 1200)
    assert {f"{NOON}.1", f"{NOON + 60}.2"} == set(api.records)


def test_what_is_archived_while_a_backlog_is_read_is_found_and_nothing_goes_twice(
    site: Site, dialer: Dialer, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(20, monkeypatch)
    insert(site.mariadb, site.database, *(row(f"{NOON + 60 * n}.1", NOON + 60 * n, lead_id=n) for n in range(1, 200)))

    def archive(_: dict[str, Any]) -> None:
        if len(api.posts) == 50:
            archived(site)
            execute(site, f"DELETE FROM vicidial_log WHERE start_epoch < {NOON + 60 * 150}")

    api.fault_for = archive
    for minute in (205, 206):
        at(site, dialer, NOON + 60 * minute)
    assert (199, 0) == (len(api.records), api.repeats)
