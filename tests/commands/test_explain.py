"""``vicisync explain``: asked about a call in every state that there is, in words that a person understands."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.did_optimizer import ERROR_500, NOT_ACCEPTED, DidOptimizer
from rehearsal.site import PASSWORD, Site
from tests.call_rows import insert, row
from tests.commands.test_reconcile import in_journal, sql
from tests.conftest import command_here, run_here
from vicisync.calls.call import stem
from vicisync.calls.readiness import WAITING, Readiness, Watched
from vicisync.calls.times import zoned
from vicisync.commands.explain import _WAITS
from vicisync.state.checkpoint import render
from vicisync.state.journal import Journal
from vicisync.state.load import read_checkpoint

LEAD, PHONE = 4711, "7145550313"


def call(site: Site, start: int, end: int | None, status: str = "SALE", **columns: object) -> str:
    """Have a call in the table; return its id."""
    uniqueid = f"{start}.{LEAD}"
    length = {"end_epoch": end, "length_in_sec": end and end - start, "status": status, "user": "agent1"}
    known = {"lead_id": LEAD, "campaign_id": "CAMP01", "phone_number": PHONE, **length, **columns}
    insert(site.mariadb, site.database, row(uniqueid, start, **known))
    return uniqueid


def sent_long_ago(site: Site) -> str:
    """Have a call delivered that no poll looks at any more; return its id."""
    now = int(time.time())
    uniqueid = call(site, now - 1900, now - 1800)
    run_here(site)
    insert(site.mariadb, site.database, row("1.1", now - 30, lead_id=1))
    run_here(site)
    return uniqueid


def explain(site: Site, what: str, code: int = 0) -> str:
    before = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file() and ".db" not in path.name}
    done = command_here(site, "explain", what)
    assert code == done.returncode, f"{done.stdout}{done.stderr}"
    assert before == {path: path.read_bytes() for path in before}
    return done.stdout + done.stderr


def held(site: Site, user: str) -> None:
    site.mariadb.create_reader(
        "cron", PASSWORD, site.database, ("vicidial_log", "vicidial_live_agents", "vicidial_auto_calls")
    )
    if user:
        agent = f"('{user}', {LEAD}, NOW())"
        sql(site, f"INSERT INTO vicidial_live_agents (user, lead_id, last_update_time) VALUES {agent}")
    else:
        sql(site, f"INSERT INTO vicidial_auto_calls (lead_id, call_time) VALUES ({LEAD}, NOW())")


STATES: dict[str, tuple[int, int | None, str, str]] = {  # start and end before now, status, what is said
    "not ended": (-60, None, "INCALL", "It waits for its end; if none comes, it is given up at "),
    "in wrap-up": (
        -90,
        -20,
        "DISPO",
        "It waits for its disposition, as DISPO is not final; at .* it goes at the latest",
    ),
    "no status": (-90, -20, "", "It waits for its disposition, as no status is not final"),
    "message": (-60, -10, "AM", "It waits, as a message may be playing; at .* it goes at the latest"),
    "to send": (-90, -20, "SALE", "It goes with the next run"),
    "before us": (
        -5000,
        -4000,
        "SALE",
        "It is not in the journal: sent before that was begun, left out by a reset, or",
    ),
    "never ended": (-30000, None, "INCALL", "It is given up: it has not ended in 8 h"),
}


@pytest.mark.parametrize(("start", "end", "status", "said"), STATES.values(), ids=STATES)
def test_what_a_run_would_do_with_a_call_and_why(
    start: int, end: int | None, status: str, said: str, site: Site
) -> None:
    now = int(time.time())
    insert(site.mariadb, site.database, row("1.1", now - 30, lead_id=1))  # seen: by it, the age of the others is known
    run_here(site)
    uniqueid = call(site, now + start, None if end is None else now + end, status)
    text = explain(site, uniqueid)
    assert re.search(rf"^[^\w]*{said}", text, re.MULTILINE), text
    head = f"📞 {uniqueid}: lead 4711, CAMP01/7145550313, agent agent1 → {status or 'no status'}"
    assert text.startswith(head)
    run_here(site)
    if said.startswith("It waits"):
        assert "⏳ It is watched: " in explain(site, uniqueid)


def test_every_reason_to_wait_has_its_words() -> None:
    assert {*Readiness, None} - {Readiness.LEFT_OUT} == set(_WAITS) > WAITING


@pytest.mark.parametrize(("user", "holder"), [("agent1", "agent1 still has lead 4711 before him"), ("", "on the line")])
def test_who_still_has_the_lead_is_named(user: str, holder: str, site: Site) -> None:
    held(site, user)
    run_here(site)
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    assert re.search(f"It waits: .*{holder}", explain(site, uniqueid))
    run_here(site)
    assert re.search(f"It waits: .*{holder}", explain(site, uniqueid))
    sql(site, "DELETE FROM vicidial_live_agents")
    sql(site, "DELETE FROM vicidial_auto_calls")
    insert(site.mariadb, site.database, row("1.1", now, lead_id=1, status="NA"))
    run_here(site)
    assert "lead 4711 has just been let go" in explain(site, uniqueid) or "next run" in explain(site, uniqueid)


def test_of_a_call_that_was_let_go_without_a_disposition_the_time_is_told_at_which_it_goes(site: Site) -> None:
    run_here(site)
    now = int(time.time())
    uniqueid = call(site, now - 400, now - 300, "DISPO")
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    checkpoint.watching[uniqueid] = Watched(4711, now - 400, "released", 0, now - 100)
    site.checkpoint_file.write_text(render(checkpoint))
    assert f"It waits for its disposition, as DISPO is not final; at {zoned(now + 800)} it" in explain(site, uniqueid)


def test_of_a_delivered_call_it_says_what_was_sent_when_and_the_api_s_words(site: Site) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    run_here(site)
    text = explain(site, uniqueid)
    assert re.search(r"✓ Delivered \d{4}-.* \w+: SALE \(70s\); the API said: 200 OK\n", text)
    assert "✅ It is delivered, as it stands there" in text
    sql(site, "UPDATE vicidial_log SET status = 'CALLBK'")
    cure = re.search(
        "It has changed since it was sent; to send it as it is: vicisync (reconcile .*)", explain(site, uniqueid)
    )
    assert cure
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", cure[1])]
    assert 0 == command_here(site, *words).returncode
    assert "✓ Delivered" in explain(site, uniqueid)
    assert "CALLBK (70s)" in explain(site, uniqueid)


def test_of_a_rejected_call_it_says_why_and_what_to_do(site: Site, api: DidOptimizer) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    insert(site.mariadb, site.database, row("1.1", now - 30, lead_id=1))
    api.fault_for = lambda sent: NOT_ACCEPTED if sent["uniqueid"] == uniqueid else None
    run_here(site)
    text = explain(site, uniqueid)
    assert re.search(r"✗ Rejected: \d{4}-.*: 400 Bad Request: Call result not accepted", text)
    assert "It is rejected; when what was wrong is mended: vicisync retry-rejected" in text


def test_of_a_call_that_does_not_get_through_it_says_so(site: Site, api: DidOptimizer) -> None:
    site.configure(max_retries="0")
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    insert(site.mariadb, site.database, row("1.1", now - 30, lead_id=1))
    api.fault_for = lambda sent: ERROR_500 if sent["uniqueid"] == uniqueid else None
    run_here(site)
    text = explain(site, uniqueid)
    assert "⏳ It is watched: did not get through, in 1 run while others passed" in text
    assert "It goes with the next run" in text


def test_of_a_missing_call_it_says_how_to_send_it(site: Site) -> None:
    uniqueid = sent_long_ago(site)
    in_journal(site, f"DELETE FROM calls WHERE uniqueid = '{uniqueid}'")
    said = re.search("It is missing, .* to send it: vicisync (reconcile .*)", explain(site, uniqueid))
    assert said
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", said[1])]
    assert 0 == command_here(site, *words).returncode
    assert "✅ It is delivered" in explain(site, uniqueid)


def test_of_a_call_left_out_by_a_reset_it_says_so(site: Site) -> None:
    now = int(time.time())
    call(site, now - 400, now - 390)
    run_here(site)
    uniqueid = call(site, now - 90, now - 60)
    assert 0 == command_here(site, "reset-checkpoint", "--to", "20s", "--yes").returncode
    assert re.search("It is not in the journal: .* left out by a reset", explain(site, uniqueid))


@pytest.mark.parametrize(("start", "end"), [(-1900, None), (-300, -20)], ids=["not ended", "in wrap-up"])
def test_of_a_call_that_no_run_looks_at_any_more_it_does_not_say_that_it_waits(
    start: int, end: int | None, site: Site
) -> None:
    """One is before what the next run reads, the other was left out with its campaign."""
    now = int(time.time())
    uniqueid = call(site, now + start, end and now + end, "SALE" if end is None else "DISPO")
    insert(site.mariadb, site.database, row("1.1", now - 30, lead_id=1))
    site.configure(exclude_campaigns="CAMP01")
    run_here(site)
    site.configure(exclude_campaigns="")
    assert "⏳ It is not over, and no run looks at it any more; once it is, " in explain(site, uniqueid)


def test_of_a_call_whose_row_is_gone_it_says_what_is_known(site: Site) -> None:
    now = int(time.time())
    delivered, wrap_up = call(site, now - 90, now - 20), call(site, now - 95, now - 20, "DISPO")
    run_here(site)
    sql(site, "DELETE FROM vicidial_log")
    text = explain(site, delivered)
    assert "there is no row of it any more" in text
    assert "✓ Delivered" in text
    assert "It is watched: no disposition yet" in explain(site, wrap_up)


def test_a_call_of_a_killed_run_was_sent_and_nobody_knows_how(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", lambda *_, **__: None)
        run_here(site)
    unknown = "✅ It is delivered; what was sent of it is not known"
    text = explain(site, uniqueid)
    assert "✓ A run has delivered it lately" in text
    assert unknown in text
    run_here(site)
    text = explain(site, uniqueid)
    assert "what was sent is not known: that run was killed" in text
    assert unknown in text


def test_an_archived_call_is_found(site: Site) -> None:
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_log_archive"))
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    run_here(site)
    sql(site, "INSERT INTO vicidial_log_archive SELECT * FROM vicidial_log")
    sql(site, "UPDATE vicidial_log_archive SET status = 'INCALL', end_epoch = NULL")
    for what in (uniqueid, str(LEAD)):
        assert "not ended" not in explain(site, what), "the copy is older than the row"
    sql(site, "DELETE FROM vicidial_log")
    assert "✅ It is delivered" in explain(site, uniqueid)


def test_a_call_whose_id_was_rewritten_is_known_by_its_former_one(site: Site) -> None:
    uniqueid = sent_long_ago(site)
    sql(site, f"UPDATE vicidial_log SET uniqueid = CONCAT(start_epoch, '.99') WHERE uniqueid = '{uniqueid}'")
    assert f"✓ Delivered, as {uniqueid} " in explain(site, f"{stem(uniqueid)}.99")


@pytest.mark.parametrize("may_ask", [True, False])
@pytest.mark.parametrize("what", [str(LEAD), PHONE])
def test_of_a_lead_or_phone_the_last_calls_are_told_a_line_each(what: str, may_ask: bool, site: Site) -> None:
    columns = "lead_id INT, phone_number VARCHAR(18), KEY phone_number (phone_number)"
    sql(site, f"CREATE TABLE vicidial_list ({columns})")
    sql(site, f"INSERT INTO vicidial_list VALUES ({LEAD}, '{PHONE}')")
    if may_ask:
        site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_list"))
    now = int(time.time())
    sent = [call(site, now - 200 - 10 * number, now - 190 - 10 * number) for number in range(25)]
    run_here(site)
    waiting = call(site, now - 5, None, "INCALL")
    found = explain(site, what)
    listed = re.findall(r"^📞 ([\d.]+): .*, lead 4711, CAMP01/7145550313 → (\w+) \(\d+s\): (.*)$", found, re.MULTILINE)
    knows_table = may_ask or what == str(LEAD)
    first = [(waiting, "INCALL", "not ended")] if knows_table else []
    expected = [*first, *((uniqueid, "SALE", "delivered") for uniqueid in sent)]
    assert listed == sorted(listed, reverse=True)
    assert (expected[:20] == listed) if knows_table else (20 == len(set(listed) & set(expected)))
    assert f"→ to be told all of one: vicisync explain {listed[0][0]}" in found
    assert may_ask != ("GRANT SELECT ON" in found)


def stop_database(site: Site) -> None:
    site.astguiclient_conf.write_text("VARDB_server => 127.0.0.1\nVARDB_port => 1\n")


def damage_journal(site: Site) -> None:
    site.journal_file.write_bytes(b"x" * 9000)


def damage_checkpoint(site: Site) -> None:
    site.checkpoint_file.write_text("x\ty\n")


def forget_key(site: Site) -> None:
    site.dids_conf.write_text(site.dids_conf.read_text().replace(f"api_key={site.api_key}", ""))


@pytest.mark.parametrize("trouble", [stop_database, damage_journal, damage_checkpoint, forget_key, Path.unlink])
def test_what_cannot_be_asked_is_told_and_the_rest_is_known_all_the_same(
    trouble: Callable[[object], None], site: Site
) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    run_here(site)
    trouble(site.checkpoint_file if trouble is Path.unlink else site)
    text = explain(site, uniqueid)
    assert ("⚠ " in text) == (trouble not in (forget_key, Path.unlink)), text
    if trouble is not damage_journal:
        assert "✓ Delivered" in text
    if trouble is not stop_database:
        assert f"📞 {uniqueid}: lead 4711" in text
        assert "It goes with the next run" not in text
    if trouble is damage_journal:
        assert "✅ It is delivered; what was sent of it is not known" in text


@pytest.mark.parametrize(
    "written", ["714-555-0313", "(714) 555-0313", " 714 555 0313 ", "714.555.0313", "\u202a714–555–0313\u202c"]
)
def test_a_phone_number_may_be_written_as_people_do(written: str, site: Site) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    run_here(site)
    assert f"📞 {uniqueid}: " in explain(site, written)


@pytest.mark.parametrize("what", ["99", "555-555-5555"])
def test_without_the_grant_it_does_not_say_that_a_phone_number_is_unknown_but_that_it_cannot_be_searched(
    what: str, site: Site
) -> None:
    run_here(site)
    text = explain(site, what, code=1)
    (grant,) = re.findall("→ as the database's root: (.*)", text)
    sql(site, "CREATE TABLE vicidial_list (lead_id INT, phone_number VARCHAR(18), KEY phone_number (phone_number))")
    site.mariadb.execute(grant.replace("%", "%%"))
    assert "No call, lead or phone number" in explain(site, what, code=1), "the cure cures"
    digits = what.replace("-", "")
    phone = "vicidial_log cannot be searched by a phone number without that grant"
    assert f"⚠ No call or lead {digits} is known, and {phone}: ask by uniqueid or lead\n" in text
    assert f"GRANT SELECT ON {site.database}.vicidial_list TO 'cron'@'%';" in text
    assert "neither in vicidial_log" not in text


@pytest.mark.parametrize("what", ["1795402744.313", "99", "5555555555", "no-such-thing"])
def test_what_nobody_knows_ends_with_1_or_where_the_database_cannot_be_asked_with_3(what: str, site: Site) -> None:
    sql(site, "CREATE TABLE vicidial_list (lead_id INT, phone_number VARCHAR(18), KEY phone_number (phone_number))")
    site.mariadb.create_reader("cron", PASSWORD, site.database, ("vicidial_log", "vicidial_list"))
    run_here(site)
    assert f"⚠ No call, lead or phone number {what} is known" in explain(site, what, code=1)
    stop_database(site)
    explain(site, what, code=3)


def test_with_the_database_down_and_nothing_known_it_ends_with_3_and_says_so_once(site: Site) -> None:
    site.mariadb.execute("DROP USER cron@'%%', cron@localhost")
    assert 1 == explain(site, "1795402744.313", code=3).count("refuses user cron")


def test_where_the_journal_may_not_be_entered_the_rest_of_the_answer_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    uniqueid = call(site, now - 90, now - 20)
    run_here(site)

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("vicisync.state.records.open_journal", denied)
    text = explain(site, uniqueid)
    assert "⚠ Cannot use the journal " in text
    assert "✅ It is delivered; what was sent of it is not known" in text
