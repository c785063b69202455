"""``vicisync reconcile``: real runs, then the table or the journal changed under them, and what is found and sent."""

import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable

import pytest

from rehearsal.did_optimizer import (
    ERROR_500,
    LOST_ANSWER,
    NOT_ACCEPTED,
    DidOptimizer,
    rate_limited_429,
    unavailable_503,
)
from rehearsal.mariadb import READ
from rehearsal.site import PASSWORD, Site
from tests.conftest import command_here, finish_calls, pages_of, run_here
from vicisync.commands import reconcile
from vicisync.state.lock import locked

RANGE = ("--from", "3h")
COUNTED = re.compile(
    r"Summary: (\d+) calls? ended: (\d+) delivered, (\d+) rejected, (\d+) waiting, (\d+) missing, (\d+) changed since, "
    r"(\d+) not in the journal"
)


def sql(site: Site, statement: str) -> list[tuple[object, ...]]:
    return site.mariadb.execute(re.sub(r"\b(vicidial_[a-z]\w+)", rf"`{site.database}`.\1", statement))


def in_journal(site: Site, statement: str) -> None:
    connection = sqlite3.connect(site.journal_file, isolation_level=None)
    connection.execute(statement)
    connection.close()


def ids(site: Site) -> list[str]:
    return [str(uniqueid) for (uniqueid,) in sql(site, "SELECT uniqueid FROM vicidial_log ORDER BY end_epoch")]


def call(site: Site, *options: str, code: int = 0) -> tuple[list[int], list[str]]:
    """Reconcile the last hours; return its numbers in the order of `COUNTED`, and its lines."""
    done = command_here(site, "reconcile", *(options if "--from" in options else (*RANGE, *options)))
    assert code == done.returncode, f"{done.stdout}{done.stderr}"
    (numbers,) = COUNTED.findall(done.stdout) or [()]
    lines = [re.sub(r"^\d.{24} ", "", line) for line in (done.stdout + done.stderr).splitlines()]
    return [int(number) for number in numbers], lines


def ended_long_ago(site: Site, calls: int = 6) -> None:
    """Deliver calls that no run meets again."""
    finish_calls(site, calls, ago=1800)
    run_here(site)
    finish_calls(site, 1, ago=5, first_lead=30_000_000)
    run_here(site)


def missing(site: Site, calls: int = 6) -> None:
    """Deliver such calls, of which the journal knows nothing."""
    ended_long_ago(site, calls)
    in_journal(site, "DELETE FROM calls WHERE lead < 30000000")


def test_after_runs_nothing_is_missing_and_the_numbers_are_the_receiver_s(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 5, ago=1800)
    (first, *_) = ids(site)
    api.fault_for = lambda sent: NOT_ACCEPTED if sent["uniqueid"] == first else None
    run_here(site)
    sql(site, "UPDATE vicidial_log SET status = 'CALLBK' WHERE lead_id = 10000004")
    finish_calls(site, 2, ago=5, first_lead=20_000_000)
    numbers, lines = call(site, code=0)
    assert [7, 3, 1, 2, 0, 1, 0] == numbers
    assert (3 + 1) == len(api.records)
    assert re.fullmatch(r"📅 Calls that ended from .* \w+ to before .* \w+", lines[0])
    assert "✅ Nothing is missing" == lines[-1]


def test_a_call_deleted_from_the_journal_and_one_changed_in_the_table_are_found_sent_and_found_no_more(
    site: Site, api: DidOptimizer
) -> None:
    ended_long_ago(site)
    lost, changed, *_ = ids(site)
    in_journal(site, f"DELETE FROM calls WHERE uniqueid = '{lost}'")
    sql(site, f"UPDATE vicidial_log SET status = 'CALLBK' WHERE uniqueid = '{changed}'")
    before, checkpoint = len(api.posts), site.checkpoint_file.read_bytes()
    numbers, lines = call(site, code=6)
    assert [7, 5, 0, 0, 1, 1, 0] == numbers
    assert any(line.startswith(f"⚠ {lost}: missing: ") for line in lines)
    assert any(re.match(rf"⚠ {changed}: changed since; sent as \w+ \(\d+s\): .* → CALLBK", line) for line in lines)
    assert before == len(api.posts)
    assert any(line.startswith("→ would send") for line in call(site, "--send", "--dry-run", code=6)[1])
    assert before == len(api.posts)

    numbers, lines = call(site, "--send", "--corrections")
    assert [lost, changed] == [post.payload["uniqueid"] for post in api.posts[before:]]
    assert any("1 call sent before will be sent again; servers of today count" in line for line in lines)
    assert "✅ Nothing is missing" == lines[-1]
    assert [7, 7, 0, 0, 0, 0, 0] == call(site)[0]
    assert checkpoint == site.checkpoint_file.read_bytes()
    assert "CALLBK" == api.posts[-1].payload["disposition"]


def test_without_corrections_what_has_changed_stays_and_is_nothing_missing(site: Site, api: DidOptimizer) -> None:
    ended_long_ago(site)
    sql(site, "UPDATE vicidial_log SET length_in_sec = length_in_sec + 7 WHERE lead_id < 30000000")
    before = len(api.posts)
    assert [7, 1, 0, 0, 0, 6, 0] == call(site, "--send")[0]
    assert before == len(api.posts)


def test_a_status_is_compared_as_mariadb_does_and_a_length_as_it_is_sent(site: Site) -> None:
    sql(site, "ALTER TABLE vicidial_log ALTER status DROP DEFAULT")
    finish_calls(site, 3, ago=1800)
    sql(site, "UPDATE vicidial_log SET length_in_sec = -2")
    run_here(site)
    sql(site, "UPDATE vicidial_log SET length_in_sec = 0, status = LOWER(status)")
    assert 3 == call(site)[0][1]


def test_all_of_a_time_is_sent_again_and_a_limit_leaves_the_rest(site: Site, api: DidOptimizer) -> None:
    ended_long_ago(site)
    before = len(api.posts)
    call(site, "--send", "--all", "--limit", "4")
    assert 4 == len(api.posts) - before
    call(site, "--send", "--all")
    assert 4 + 7 == len(api.posts) - before


def test_with_a_limit_what_is_left_is_still_missing(site: Site, api: DidOptimizer) -> None:
    missing(site)
    before = len(api.posts)
    numbers, lines = call(site, "--send", "--limit", "4", code=6)
    assert (6, 4) == (numbers[4], len(api.posts) - before)
    assert "💾 Left: 2 missing calls" in lines
    assert "⚠ 2 calls missing" == lines[-2]
    assert lines[-1].startswith("   → to send them: vicisync reconcile --from '")
    again = re.findall(r"(--\w+) '([^']+)'", lines[-1])
    call(site, *(word for pair in again for word in pair), "--send")
    assert 6 == len(api.posts) - before


def test_what_the_api_rejects_goes_into_the_rejected_file_and_what_fails_stays_missing(
    site: Site, api: DidOptimizer
) -> None:
    site.configure(max_retries="0")
    missing(site)
    rejected, failed, *_ = ids(site)
    api.fault_for = lambda sent: {rejected: NOT_ACCEPTED, failed: ERROR_500}.get(sent["uniqueid"])
    _, lines = call(site, "--send", code=6)
    assert any(line.startswith(f"✗ {failed}: failed: 500 ") and line.endswith("; stays missing") for line in lines)
    assert rejected in site.rejected_file.read_text()
    assert [7, 5, 1, 0, 1, 0, 0] == call(site, code=6)[0]
    api.fault_for = None
    command_here(site, "retry-rejected")
    assert [7, 6, 0, 0, 1, 0, 0] == call(site, code=6)[0]


def test_a_call_whose_answer_was_lost_is_missing_still_and_counts_as_perhaps_stored_twice_when_it_gets_through(
    site: Site, api: DidOptimizer
) -> None:
    site.configure(max_retries="0")
    missing(site)
    lost, changed, *_ = ids(site)
    api.fault_for = lambda sent: LOST_ANSWER if sent["uniqueid"] in (lost, changed) else None
    call(site, "--send", code=6)
    in_journal(site, f"UPDATE calls SET rejected = 0, disposition = 'NI', duration = 1 WHERE uniqueid = '{changed}'")
    api.fault_for = lambda sent: {lost: unavailable_503(), changed: LOST_ANSWER}[str(sent["uniqueid"])]
    call(site, "--send", "--corrections", code=4)
    numbers, lines = call(site, code=6)
    assert [7, 5, 0, 0, 1, 1, 0] == numbers
    assert any(re.match(rf"⚠ {lost}: missing; sent as \w+ \(\d+s\), but the answer was lost: ", line) for line in lines)
    explained = command_here(site, "explain", lost).stdout
    assert "⚠ Perhaps stored, as the answer was lost, sent 20" in explained
    assert "; what came: the connection was cut" in explained, "the first time, not what came since"
    assert "⚠ It is missing" in explained
    api.fault_for = None
    (summary,) = [line for line in call(site, "--send")[1] if "processed" in line]
    assert summary.endswith("; 1 may have been stored twice (their answers were lost)")
    assert [7, 6, 0, 0, 0, 1, 0] == call(site)[0]


def test_an_outage_ends_it_with_4_and_all_is_still_missing(site: Site, api: DidOptimizer) -> None:
    site.configure(max_retries="0")
    missing(site, 9)
    api.down()
    _, lines = call(site, "--send", code=4)
    assert any(line.startswith("❌ ") for line in lines)
    assert 9 == call(site, code=6)[0][4]


def interrupted(
    site: Site, api: DidOptimizer, by: signal.Signals, meanwhile: Callable[[], object] = lambda: None
) -> tuple[int, int]:
    """Send 300 missing calls until a signal comes; return how many POSTs came before them, and the exit code."""
    site.configure(concurrency="1")
    missing(site, 300)
    before = len(api.posts)
    api.latency = 0.01
    with site.start("reconcile", *RANGE, "--send", "-q") as process:
        while len(api.posts) < before + 20:
            time.sleep(0.01)
        meanwhile()
        seen = len(api.posts)
        while len(api.posts) < seen + 30:
            time.sleep(0.01)
        process.send_signal(by)
        code = process.wait(20)
    api.latency = 0
    return before, code


def test_a_kill_repeats_no_call_that_was_answered(site: Site, api: DidOptimizer) -> None:
    before, _ = interrupted(site, api, signal.SIGKILL)
    call(site, "--send")
    sent = [post.payload["uniqueid"] for post in api.posts[before:]]
    assert 300 == len(set(sent))
    assert len(sent) <= 301


def test_a_signal_ends_it_as_a_run(site: Site, api: DidOptimizer) -> None:
    before, code = interrupted(site, api, signal.SIGTERM)
    assert 143 == code
    sent = len(api.posts) - before
    assert sent < 300
    assert 300 - sent == call(site, code=6)[0][4]


def test_a_run_at_work_is_waited_for_and_in_vain_ends_it_with_75(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(site)
    before = len(api.posts)
    monkeypatch.setattr(reconcile, "PATIENCE", 0.3)
    with locked(site.checkpoint_file):
        call(site, "--send", code=75)
        call(site, code=6)
    assert before == len(api.posts)
    monkeypatch.setattr(reconcile, "PATIENCE", 20)
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(site.checkpoint_file):
            holds.set()
            let_go.wait(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    call(site, "--send")
    thread.join()
    assert 6 == len(api.posts) - before


def test_what_was_delivered_before_the_journal_or_left_out_by_a_reset_is_not_missing(site: Site) -> None:
    ended_long_ago(site)
    site.journal_file.unlink()
    numbers, lines = call(site)
    assert [7, 1, 0, 0, 0, 0, 6] == numbers  # the checkpoint still knows the last
    assert lines[-1].startswith("⚠ Nothing is known to be missing, but nothing is known of 6 calls: ")
    finish_calls(site, 1, ago=5, first_lead=40_000_000)
    run_here(site)
    assert 6 == call(site)[0][6]
    finish_calls(site, 3, ago=60, first_lead=50_000_000)
    command_here(site, "reset-checkpoint", "--to", "10s", "--yes")
    assert [0, 9] == call(site)[0][4::2]


def test_a_call_whose_id_was_rewritten_since_and_the_second_row_of_one_are_not_missing(site: Site) -> None:
    ended_long_ago(site)
    first, second, *_ = ids(site)
    sql(site, f"UPDATE vicidial_log SET uniqueid = CONCAT(start_epoch, '.7') WHERE uniqueid = '{first}'")
    columns = "lead_id, campaign_id, call_date, end_epoch, length_in_sec, status, phone_number"
    sql(
        site,
        f"INSERT INTO vicidial_log (uniqueid, start_epoch, {columns})"
        f" SELECT CONCAT(start_epoch, '.8'), start_epoch + 1, {columns} FROM vicidial_log WHERE uniqueid = '{second}'",
    )
    assert [0] == call(site)[0][4:5]


@pytest.mark.parametrize("is_rejected", [False, True], ids=["nothing is known of", "rejected"])
def test_of_two_rows_of_a_call_that_the_journal_lacks_all_sends_the_first(
    is_rejected: bool, site: Site, api: DidOptimizer
) -> None:
    api.fault_for = lambda sent: NOT_ACCEPTED if is_rejected and sent["leadId"] == "10000000" else None
    ended_long_ago(site)
    first = ids(site)[0]
    columns = "lead_id, campaign_id, call_date, end_epoch, length_in_sec, status, phone_number"
    twin = f"SELECT CONCAT(start_epoch, '.8'), start_epoch + 1, {columns} FROM vicidial_log WHERE uniqueid = '{first}'"
    sql(site, f"INSERT INTO vicidial_log (uniqueid, start_epoch, {columns}) {twin}")
    site.journal_file.unlink()
    before = len(api.posts)
    assert [7, 1, is_rejected, 0, 0, 0, 6 - is_rejected] == call(site, "--send", "--all")[0]
    assert 7 - is_rejected == len(api.posts) - before


def test_what_was_archived_is_found_where_the_account_may_read_that(site: Site, api: DidOptimizer) -> None:
    missing(site)
    sql(site, "INSERT INTO vicidial_log_archive SELECT * FROM vicidial_log WHERE lead_id < 30000000")
    sql(site, "DELETE FROM vicidial_log WHERE lead_id < 30000000")
    before = len(api.posts)
    assert [1, 1] == call(site)[0][:2]
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_log_archive"))
    assert 6 == call(site, code=6)[0][4]
    call(site, "--send")
    assert 6 == len(api.posts) - before


def test_a_call_that_began_hours_before_counts_by_its_end(site: Site) -> None:
    finish_calls(site, 2, ago=1800)
    run_here(site)
    sql(site, "UPDATE vicidial_log SET start_epoch = start_epoch - 14400, call_date = call_date - INTERVAL 4 HOUR")
    assert 2 == call(site, "--from", "1h")[0][0]


def test_a_large_time_is_read_page_by_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_calls(site, 60, ago=1800)
    run_here(site)
    pages_of(5, monkeypatch)
    assert [60, 60, 0, 0, 0, 0, 0] == call(site)[0]


@pytest.mark.parametrize("by", ["campaign", "disposition"])
def test_a_table_by_campaign_or_disposition(by: str, site: Site) -> None:
    ended_long_ago(site, 30)
    column = "campaign_id" if by == "campaign" else "status"
    lines = call(site, "--by", by)[1]
    (start,) = [number for number, line in enumerate(lines) if line.startswith(by)]
    expected = sql(site, f"SELECT {column}, COUNT(*) FROM vicidial_log GROUP BY 1 ORDER BY BINARY {column}")
    found = [tuple(line.split()[:2]) for line in lines[start + 1 : start + 1 + len(expected)]]
    assert [(str(key), str(number)) for key, number in expected] == found


@pytest.mark.parametrize(
    "options",
    [("--corrections",), ("--all",), ("--from", "1h", "--to", "2h"), ("--from", "never"), ("--limit", "0")],
)
def test_what_makes_no_sense_is_refused_with_2(options: tuple[str, ...], site: Site) -> None:
    assert 2 == command_here(site, "reconcile", *options).returncode


def test_by_default_it_is_yesterday_from_midnight_to_midnight() -> None:
    now = time.mktime((2026, 11, 26, 3, 30, 0, 0, 0, -1))
    midnights = time.mktime((2026, 11, 25, 0, 0, 0, 0, 0, -1)), time.mktime((2026, 11, 26, 0, 0, 0, 0, 0, -1))
    assert midnights == reconcile.stretch(None, None, now)
    assert (now - 7200, now) == reconcile.stretch("2h", None, now)


def test_a_damaged_journal_proves_nothing(site: Site) -> None:
    ended_long_ago(site)
    site.journal_file.write_bytes(b"x" * 9000)
    lines = call(site, "--send", code=5)[1]
    assert any("to begin a new one: mv " in line for line in lines)


def test_what_stands_in_the_table_and_its_archive_is_one_call_and_sent_once(site: Site, api: DidOptimizer) -> None:
    ended_long_ago(site)
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_log_archive"))
    in_journal(site, "DELETE FROM calls WHERE lead < 30000000")
    sql(site, "INSERT INTO vicidial_log_archive SELECT * FROM vicidial_log")
    before = len(api.posts)
    assert [7, 1, 0, 0, 6, 0, 0] == call(site, "--send")[0]
    assert 6 == len(api.posts) - before
    assert [7, 7, 0, 0, 0, 0, 0] == call(site)[0]


def test_what_has_changed_and_goes_again_after_a_reset_is_left_to_the_run(site: Site, api: DidOptimizer) -> None:
    ended_long_ago(site)
    sql(site, "UPDATE vicidial_log SET status = 'CALLBK' WHERE lead_id < 30000000")
    assert 0 == command_here(site, "reset-checkpoint", "--to", "1h", "--yes").returncode
    before = len(api.posts)
    assert [7, 1, 0, 6, 0, 0, 0] == call(site, "--send", "--corrections")[0]
    assert before == len(api.posts)
    run_here(site)
    assert [7, 7, 0, 0, 0, 0, 0] == call(site, "--send", "--corrections")[0]
    assert 7 == len(api.posts) - before


def test_a_copy_that_was_archived_while_the_call_went_on_corrects_nothing(site: Site, api: DidOptimizer) -> None:
    ended_long_ago(site)
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_log_archive"))
    sql(site, "INSERT INTO vicidial_log_archive SELECT * FROM vicidial_log WHERE lead_id < 30000000")
    sql(site, "UPDATE vicidial_log_archive SET status = 'INCALL', length_in_sec = 1")
    sql(site, "DELETE FROM vicidial_log WHERE lead_id < 30000000")
    before = len(api.posts)
    assert [7, 7, 0, 0, 0, 0, 0] == call(site, "--send", "--corrections")[0]
    assert before == len(api.posts)


def test_a_call_whose_lead_vicidial_still_has_is_not_sent_however_final_it_looks(site: Site, api: DidOptimizer) -> None:
    """As of a dialer whose clock is behind, whose calls no run finds."""
    site.mariadb.create_reader("cron", PASSWORD, site.database, READ)
    missing(site)
    sql(site, "UPDATE vicidial_log SET status = 'SALE', user = 'agent1' WHERE lead_id < 30000000")
    sql(site, "INSERT INTO vicidial_auto_calls (server_ip, lead_id, call_time) VALUES ('', 10000003, NOW())")
    before = len(api.posts)
    assert [7, 1, 0, 1, 5, 0, 0] == call(site, "--send", code=0)[0]
    assert 5 == len(api.posts) - before
    assert "10000003" not in {post.payload["leadId"] for post in api.posts[before:]}


@pytest.mark.parametrize("asked", [False, True], ids=["alone", "while somebody asks explain"])
def test_what_was_sent_is_in_the_journal_at_once_whoever_else_reads_it(
    asked: bool, site: Site, api: DidOptimizer
) -> None:
    """To close a file drops the locks that SQLite has on it: the other then takes the log of what was written away."""

    def ask() -> None:
        if asked:
            assert 0 == site.vicisync("explain", ids(site)[0]).returncode

    before, _ = interrupted(site, api, signal.SIGKILL, ask)
    call(site, "--send")
    assert len(api.posts) - before <= 301


def test_where_the_api_asks_for_a_longer_wait_than_a_run_lasts_nothing_more_is_sent(
    site: Site, api: DidOptimizer
) -> None:
    """Runs would be kept away by the lock meanwhile."""
    missing(site)
    api.fault_for = lambda _: rate_limited_429(900)
    assert any(" asks us to wait 900 s " in line for line in call(site, "--send", code=4)[1])


def test_what_a_longer_overlap_does_not_bring_back_waits_for_no_run(site: Site) -> None:
    ended_long_ago(site)
    site.configure(overlap="4200")
    finish_calls(site, 1, ago=1500, first_lead=40_000_000)
    assert [8, 7, 0, 0, 1, 0, 0] == call(site, code=6)[0]


@pytest.mark.parametrize("options", [(), ("--all",)], ids=["missing", "all"])
def test_what_is_archived_while_it_is_sent_goes_once(
    options: tuple[str, ...], site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(20, monkeypatch)
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_log_archive"))
    missing(site, 80)
    before = len(api.posts)

    def archive(_: object) -> None:
        if len(api.posts) - before == 15:
            sql(site, "INSERT IGNORE INTO vicidial_log_archive SELECT * FROM vicidial_log")
            sql(site, "DELETE FROM vicidial_log WHERE lead_id < 10000050")

    api.fault_for = archive
    call(site, "--send", *options)
    assert (
        80 + len(options) == len({post.payload["uniqueid"] for post in api.posts[before:]}) == len(api.posts) - before
    )
