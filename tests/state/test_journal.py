"""The journal, as real runs write it: what it holds, what it knows to lack, and that it stands in no call's way."""

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from rehearsal.did_optimizer import NOT_ACCEPTED, DidOptimizer, slow
from rehearsal.site import Site
from tests.conftest import finish_calls, run_here, unmeasured
from tests.limits import as_nobody
from vicisync.commands.reset_checkpoint import reset
from vicisync.errors import CheckpointError
from vicisync.settings.settings import load_settings
from vicisync.state import journal
from vicisync.state.journal import Entry, Journal, Outcome, problem_of
from vicisync.state.load import read_checkpoint
from vicisync.state.records import Records
from vicisync.state.store import Store

HOUR = 3600


def records(site: Site) -> Records:
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    return Records(site.journal_file, checkpoint)


def entries(site: Site) -> dict[str, Entry]:
    with records(site) as found:
        return found.of_calls([str(uniqueid) for (uniqueid,) in table(site)])


def table(site: Site, columns: str = "uniqueid") -> list[tuple[object, ...]]:
    return site.mariadb.execute(f"SELECT {columns} FROM `{site.database}`.vicidial_log ORDER BY uniqueid")


def in_journal(site: Site, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(site.journal_file)
    with connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def may_lack(site: Site, *ends: float) -> list[bool]:
    with records(site) as found:
        return [found.may_lack(int(end)) for end in ends]


def move(site: Site, to: float | str) -> None:
    settings = load_settings(site.astguiclient_conf, site.dids_conf, {})
    assert reset(settings, str(to if isinstance(to, str) else int(to)), lambda _: None, None, yes=True)


# What it holds


def test_it_holds_what_was_sent_of_each_call_when_and_what_the_api_said(site: Site, api: DidOptimizer) -> None:
    finish_calls(site, 3)
    (first, *_), began = table(site, "uniqueid"), int(time.time())
    api.fault_for = lambda sent: NOT_ACCEPTED if sent["uniqueid"] == first[0] else None
    run_here(site)
    columns = "uniqueid, lead_id, campaign_id, phone_number, start_epoch, end_epoch, status, length_in_sec"
    found = entries(site)
    assert table(site, columns) == sorted(tuple(entry[:8]) for entry in found.values())
    assert all(began <= entry.sent <= time.time() for entry in found.values())
    rejected = [entry for entry in found.values() if entry.outcome == Outcome.REJECTED]
    assert [(first[0], "400 Bad Request: Call result not accepted")] == [each[::10] for each in rejected]
    assert {"200 OK"} == {each.words for each in found.values() if each.outcome == Outcome.DELIVERED}


def test_it_is_one_file_for_its_owner_alone(site: Site) -> None:
    finish_calls(site, 2)
    run_here(site)
    assert ["journal.db"] == [path.name for path in site.journal_file.parent.glob("journal*")]
    assert 0o600 == stat.S_IMODE(site.journal_file.stat().st_mode)


def test_a_call_that_is_sent_again_stands_as_it_was_sent_last(site: Site) -> None:
    finish_calls(site, 2)
    run_here(site)
    site.mariadb.execute(f"UPDATE `{site.database}`.vicidial_log SET status = 'CALLBK'")
    move(site, "1h")
    run_here(site)
    assert ["CALLBK"] * 2 == [entry.disposition for entry in entries(site).values()]


def test_a_backlog_is_written_before_the_checkpoint_forgets_it_and_takes_the_memory_of_one_transaction(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 2500, per_hour=5000)
    transactions: list[int] = []
    write = Journal._write

    def counted(self: Journal, *arguments: object, **more: object) -> None:
        transactions.append(len(self._pending))
        write(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "_write", counted)
    run_here(site)
    assert 2500 == sum(transactions) == len(entries(site))
    assert max(transactions) <= journal.AT_ONCE


def test_of_a_lead_or_a_phone_the_last_calls_are_found_and_of_a_call_those_that_begin_alike(site: Site) -> None:
    finish_calls(site, 5)
    run_here(site)
    lead, phone, uniqueid = table(site, "lead_id, phone_number, uniqueid")[2]
    with records(site) as found:
        assert [[uniqueid]] * 2 == [[e.uniqueid for e in found.last_of(str(it), 20)] for it in (lead, phone)]
        assert 2 == len(found._entries("1 ORDER BY rowid DESC LIMIT ?", (2,)))
        rewritten = str(uniqueid).partition(".")[0] + ".99999"
        assert [uniqueid] == [entry.uniqueid for entry in found.same_stem(rewritten, int(str(lead)))]
        assert [] == found.same_stem(rewritten, int(str(lead)) + 1)


@pytest.mark.parametrize(("age", "left"), [(30, 4), (32, 2)])
def test_what_was_sent_longer_ago_than_its_days_goes_with_the_next_calls(age: int, left: int, site: Site) -> None:
    finish_calls(site, 2)
    run_here(site)
    in_journal(site, f"UPDATE calls SET sent = sent - {age * 86400}")
    finish_calls(site, 2, ago=100, first_lead=20_000_000)
    run_here(site)
    assert left == len(in_journal(site, "SELECT * FROM calls"))
    assert [True, False] == may_lack(site, time.time() - 31 * 86400 - 60, time.time() - 30)


# Kills


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("at", ["write", "close", "note"])
def test_what_a_killed_run_could_not_write_the_next_one_adds_even_an_idle_one(
    at: str, site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 5)
    if not (child := os.fork()):
        if at == "note":
            monkeypatch.setattr("vicisync.sync.run.report_answer", kill)  # the first call's
        else:
            monkeypatch.setattr(Journal, at, kill)
        run_here(site)
        os._exit(0)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    before = set(api.records)
    assert before
    run_here(site)
    found = entries(site)
    assert set(api.records) == set(found)
    assert 5 == len(found)
    unknown = {entry.uniqueid for entry in found.values() if entry.disposition is None}
    assert unknown <= before
    assert bool(unknown) == (at != "close")
    assert None is read_checkpoint(site.checkpoint_file, 28800).unjournalled  # type: ignore[union-attr]
    assert [False] == may_lack(site, time.time() - 200)


def test_what_a_killed_run_knew_answers_what_had_no_answer_and_changes_nothing_else(
    site: Site, api: DidOptimizer
) -> None:
    finish_calls(site, 3)
    rejected, unanswered, _ = (str(uniqueid) for (uniqueid,) in table(site, "uniqueid"))
    api.fault_for = lambda sent: NOT_ACCEPTED if sent["uniqueid"] == rejected else None
    run_here(site)
    checkpoint = read_checkpoint(site.checkpoint_file, 28800)
    assert checkpoint
    with journal.open_journal(site.journal_file) as connection:  # as retry-rejected and reconcile have left them
        connection.execute("UPDATE calls SET rejected = 0 WHERE uniqueid = ?", (rejected,))
        connection.execute("UPDATE calls SET rejected = 2 WHERE uniqueid = ?", (unanswered,))
    connection.close()
    before = entries(site)
    checkpoint.unjournalled = checkpoint.ended_after
    Journal(site.journal_file, 31, checkpoint).write(last=True)
    answered = before[unanswered]._replace(outcome=Outcome.DELIVERED, duration=None, words=None)
    assert {**before, unanswered: answered} == entries(site), "of what that run has sent, it knows no more"


def test_a_run_killed_in_a_backlog_has_written_all_that_the_checkpoint_has_forgotten(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 2500, per_hour=3600)
    if not (child := os.fork()):
        monkeypatch.setattr(journal, "AT_ONCE", 10**9)
        looked, seen = Store.looked, []

        def kill_at_the_second(self: Store, *arguments: int) -> None:
            looked(self, *arguments)
            seen.append(arguments)
            if len(seen) == 2:
                kill()

        monkeypatch.setattr(Store, "looked", kill_at_the_second)
        run_here(site)
        os._exit(0)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert len(api.records) > 1000
    run_here(site)
    assert set(entries(site)) == set(api.records)


def test_a_reset_after_a_kill_keeps_what_the_checkpoint_knew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_calls(site, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", lambda *_, **__: None)
        run_here(site)
    move(site, time.time())
    assert 3 == len(entries(site))


def test_an_idle_run_does_not_import_sqlite3(site: Site) -> None:
    finish_calls(site, 2)
    program = (
        "import sys; from vicisync.commands import cli; sys.exit = print; sys.argv[1:] = ['run', '-q']; cli.main();"
        "print('sqlite3' in sys.modules, 'vicisync.state.journal' in sys.modules)"
    )
    # Measured coverage is written by sqlite3, too.
    environment = unmeasured(site.environment())
    said = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True, encoding="utf-8"
        ).stdout.split("\n")[-2]
        for _ in range(2)
    ]
    assert ["True True", "False True"] == said


# In nobody's way


def damage(site: Site) -> None:
    site.journal_file.write_bytes(b"no database at all, " * 500)


def occupy(site: Site) -> None:
    site.journal_file.unlink()
    site.journal_file.mkdir()


def plant_a_link(site: Site) -> None:
    elsewhere = site.journal_file.rename(site.folder / "elsewhere")
    site.journal_file.symlink_to(elsewhere)


def fill_its_disk(_: Site) -> None:
    journal.ROOM_LEFT = 1 << 60


def change_its_tables(site: Site) -> None:
    in_journal(site, "ALTER TABLE calls RENAME COLUMN words TO said")
    in_journal(site, "ALTER TABLE calls DROP COLUMN sent")


TROUBLES = {
    "damaged": (damage, "not a database\n   → to begin a new one: mv "),
    "no file": (occupy, "it is not a file"),
    "a link": (plant_a_link, "symbolic link"),
    "full": (fill_its_disk, r"its disk has less than \d+ MiB left; no call waits for it\n   → make room: df -h "),
    "another's tables": (change_its_tables, "11 values.*"),
}


@pytest.mark.parametrize(("trouble", "said"), TROUBLES.values(), ids=TROUBLES)
def test_a_journal_that_cannot_be_written_costs_a_warning_and_never_a_call(
    trouble: Callable[[Site], None], said: str, site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 2, ago=300)
    run_here(site)
    monkeypatch.setattr(journal, "ROOM_LEFT", journal.ROOM_LEFT)
    trouble(site)
    finish_calls(site, 2, first_lead=20_000_000)
    done = run_here(site)
    assert (None, 4) == (done.error, len(api.records))
    (warning,) = [line for line in done.lines if line.startswith("⚠")]
    assert f"⚠ Cannot use the journal {site.journal_file}: " in warning
    assert re.search(said, "\n".join(done.lines)), done.lines


def test_another_that_writes_it_is_waited_for_and_in_vain_costs_a_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 2)
    run_here(site)
    monkeypatch.setattr(journal, "PATIENCE", 0.1)
    other = sqlite3.connect(site.journal_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    finish_calls(site, 2, ago=100, first_lead=20_000_000)
    assert any("database is locked" in line for line in run_here(site).lines)
    other.close()
    run_here(site)
    assert 4 == len(entries(site))


# What it knows to lack


def test_a_new_site_s_journal_lacks_nothing_that_ended_after_its_first_run_s_beginning(site: Site) -> None:
    finish_calls(site, 2)
    run_here(site)
    assert [True, False, False] == may_lack(site, time.time() - HOUR - 60, time.time() - HOUR + 60, time.time())


def test_what_was_delivered_before_it_was_begun_it_may_lack(site: Site) -> None:
    finish_calls(site, 2)
    run_here(site)
    site.journal_file.unlink()
    assert [True] == may_lack(site, time.time())
    finish_calls(site, 2, ago=30, first_lead=20_000_000)
    run_here(site)
    assert [True, True, False] == may_lack(site, time.time() - 300, time.time() - 30, time.time() + 1)


RESETS = {
    "forward": (-100, [False, True, False]),
    "back": (-HOUR, [False, False, False]),
    "back before it began": (-3 * HOUR, [False, False, False]),
}


@pytest.mark.parametrize("is_run_since", [False, True])
@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(("to", "lacks"), RESETS.values(), ids=RESETS)
def test_a_reset_forward_leaves_out_a_stretch_and_one_back_nothing(
    to: int, lacks: list[bool], by_hand: bool, is_run_since: bool, site: Site
) -> None:
    now = time.time()
    finish_calls(site, 2, ago=1000)
    run_here(site)
    if by_hand:
        site.checkpoint_file.write_text(f"{int(now) + to}\n")
    else:
        move(site, now + to)
    if is_run_since:
        finish_calls(site, 2, ago=30, first_lead=20_000_000)
        run_here(site)
        if to == -3 * HOUR:
            assert [False, True] == may_lack(site, now - 2 * HOUR, now - 4 * HOUR)
    assert lacks == may_lack(site, now - 1100, now - 500, now - 30)


def test_a_reset_back_takes_back_what_an_earlier_one_left_out(site: Site) -> None:
    now = time.time()
    finish_calls(site, 2, ago=2000)
    run_here(site)
    move(site, now - 100)
    finish_calls(site, 2, ago=30, first_lead=20_000_000)
    run_here(site)
    assert [True] == may_lack(site, now - 500)
    move(site, now - 1000)
    finish_calls(site, 2, ago=20, first_lead=30_000_000)
    run_here(site)
    assert [False, True] == may_lack(site, now - 500, now - 1500)


def test_what_was_sent_while_it_could_not_be_written_it_may_lack_once_the_checkpoint_has_forgotten_it(
    site: Site,
) -> None:
    now = time.time()
    finish_calls(site, 2, ago=2000)
    run_here(site)
    site.configure(journal_file=str(site.folder / "state" / "is-a-folder"))
    (site.folder / "state" / "is-a-folder").mkdir()
    finish_calls(site, 2, ago=1000, first_lead=20_000_000)
    run_here(site)
    site.configure(journal_file=str(site.journal_file))
    finish_calls(site, 2, ago=0, first_lead=30_000_000)
    run_here(site)
    assert [False, True] == may_lack(site, now - 2010, now - 1000)
    assert [False] == may_lack(site, time.time() + 1)


def test_a_dry_run_writes_none(site: Site) -> None:
    finish_calls(site, 2)
    assert 0 == site.vicisync("run", "--dry-run").returncode
    assert not site.journal_file.exists()


def test_without_one_there_is_nothing_in_it_and_none_is_made_by_asking(tmp_path: Path) -> None:
    with Records(tmp_path / "journal.db", None) as found:
        assert ({}, []) == (found.of_calls(["1.1"]), found.last_of("1", 20))
        assert found.may_lack(int(time.time()))
    assert not (tmp_path / "journal.db").exists()


def test_what_a_killed_run_has_left_to_it_is_written_before_the_checkpoint_forgets_it(
    site: Site, api: DidOptimizer
) -> None:
    """Also by a run that has nothing to send itself."""
    move(site, time.time() - 9 * HOUR)
    finish_calls(site, 200, ago=600, per_hour=100)
    *_, (last,) = table(site)
    api.fault_for = lambda sent: slow(30) if sent["uniqueid"] == last else None
    with site.start("run", "-q") as run:
        while len(api.records) < 199:
            time.sleep(0.01)
        time.sleep(0.2)
        run.kill()
    finish_calls(site, 1, ago=5, first_lead=80_000_000)
    name = f"`{site.database}`.vicidial_log"
    site.mariadb.execute(f"UPDATE {name} SET status = 'INCALL', end_epoch = NULL WHERE uniqueid >= %s", (last,))
    for _ in range(2):
        run_here(site)
    assert sorted({*api.records} - {last}) == sorted(entries(site))


def test_an_empty_file_in_its_place_is_a_new_one(site: Site) -> None:
    finish_calls(site, 2, ago=1000)
    run_here(site)
    site.journal_file.write_bytes(b"")
    finish_calls(site, 1, ago=3, first_lead=20_000_000)
    run_here(site)
    assert [True] == may_lack(site, time.time() - 1000)


def test_what_it_has_forgotten_it_knows_to_lack_whatever_journal_days_or_the_clock_say_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_calls(site, 20, ago=1000)
    run_here(site)
    with monkeypatch.context() as patch:
        patch.setattr("vicisync.state.journal.time", mock.Mock(time=lambda: time.time() + 40 * 86400))
        finish_calls(site, 1, ago=3, first_lead=20_000_000)
        run_here(site)
    assert 2 > len(entries(site))
    assert [True, False] == may_lack(site, time.time() - 1000, time.time() + 60)


def test_after_a_first_row_that_is_no_call_it_is_complete_from_the_begin(site: Site) -> None:
    site.configure(exclude_campaigns="SALES")
    finish_calls(site, 4, ago=1000)
    run_here(site)
    assert [True, False] == may_lack(site, time.time() - 2 * HOUR, time.time() - 1000)


def test_one_in_a_folder_that_may_not_be_entered_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    with as_nobody(), pytest.raises(CheckpointError, match=r"Cannot use the journal .*: Permission denied"):
        Records(folder / "journal.db", None)


def test_the_cure_of_a_damaged_journal_works_as_it_is_copied_whatever_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "it's a journal.db"
    path.write_bytes(b"no database at all")
    cure = problem_of(path, ValueError("file is not a database")).partition("to begin a new one: ")[2]
    subprocess.run(["sh", "-c", cure], check=True)
    assert ["it's a journal.db.damaged"] == [file.name for file in tmp_path.iterdir()]


def test_a_python_that_was_built_without_sqlite3_delivers_without_a_journal(
    site: Site, api: DidOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    for run in range(3):
        finish_calls(site, 2, first_lead=10_000_000 + 10 * run)
        done = run_here(site)
        assert (None, 2 + 2 * run) == (done.error, len(api.records))
        assert 1 == sum("⚠ Cannot use the journal " in line and "has no sqlite3: " in line for line in done.lines)
    site.journal_file.touch()
    with pytest.raises(CheckpointError, match="this Python has no sqlite3"):
        Records(site.journal_file, None)
