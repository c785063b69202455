"""``vicisync retry-rejected``: the installed command, a real HTTP server, real signals."""

import json
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rehearsal.did_optimizer import (
    ERROR_500,
    LOST_ANSWER,
    NOT_ACCEPTED,
    DidOptimizer,
    Fault,
    answer,
    rate_limited_429,
    unavailable_503,
)
from rehearsal.site import Site
from tests.call_rows import insert, row
from tests.limits import largest_file
from vicisync.calls.call import Call, payload
from vicisync.did_optimizer.delivery import FAILURES_BEFORE_OUTAGE
from vicisync.state.journal import open_journal
from vicisync.state.records import Records
from vicisync.state.rejected import add_delivered, add_rejected, read_rejected

START = 1729785600
CONCURRENCY = 4


def call(number: int, **changed: str) -> Call:
    whole = Call(
        uniqueid=f"{START}.{number}", lead_id=number, list_id=101, campaign_id="CAMP01",
        call_date="2024-10-24 12:00:00", start_epoch=START, end_epoch=START + number, length_in_sec=number,
        status="SALE", phone_code="1", phone_number=f"21255501{number:02}", user="6666", comments="AUTO",
        user_group="AGENTS", term_reason="AGENT", alt_dial="MAIN", called_count=1,
    )  # fmt: skip
    return whole._replace(**changed)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _set_up(site: Site) -> None:
    site.configure(max_retries="0", concurrency=str(CONCURRENCY))


def reject(site: Site, *calls: Call) -> None:
    for each in calls:
        add_rejected(site.rejected_file, "400 Bad Request: an old mistake", payload(each, {}))


def left(site: Site) -> list[int]:
    """The numbers of the calls that are still to get through."""
    return [number_of(uniqueid) for uniqueid in read_rejected(site.rejected_file).calls]


def stored(api: DidOptimizer) -> list[int]:
    return sorted(number_of(uniqueid) for uniqueid in api.records)


def posted(api: DidOptimizer) -> list[int]:
    return [number_of(post.payload["uniqueid"]) for post in api.posts]


def number_of(uniqueid: str) -> int:
    return int(uniqueid.partition(".")[2])


def fault_of(faults: dict[int, Fault]) -> Callable[[dict[str, Any]], Fault | None]:
    return lambda sent: faults.get(number_of(sent["uniqueid"]))


def retry(site: Site, *options: str, code: int = 0) -> list[str]:
    """Run the command, which has to exit with ``code``; return the lines on both streams, without their time stamps."""
    done = site.vicisync("retry-rejected", *options)
    assert code == done.returncode, done.stderr
    return [line.split(" ", 3)[3] for line in (done.stdout + done.stderr).splitlines()]


# What gets through, what stays


def test_what_was_rejected_is_sent_again_and_when_all_got_through_the_file_is_empty(
    site: Site, api: DidOptimizer
) -> None:
    calls = [call(number) for number in range(1, 13)]
    reject(site, *calls)
    lines = retry(site)
    assert {each.uniqueid: payload(each, {}) for each in calls} == api.records
    assert len(calls) == len(api.posts)
    assert b"" == site.rejected_file.read_bytes()
    assert "📞 Found 12 rejected calls" == lines[0]
    assert f"✓ {START}.7: CAMP01/2125550107 → SALE (7s)" in lines
    assert lines[-2].startswith("📊 Summary: 12 processed, 0 failed in ")
    assert "✅ None is left" == lines[-1]


@pytest.mark.parametrize("shown", ["yes", "no"])
def test_a_dry_run_lists_what_is_rejected_and_why_and_changes_nothing(
    shown: str, site: Site, api: DidOptimizer
) -> None:
    reject(site, call(1), call(2), call(3))
    add_delivered(site.rejected_file, call(2).uniqueid)
    api.down()
    site.api_key = ""
    site.configure(log_phone_numbers=shown)
    site.astguiclient_conf.write_text("VARDB_server => 127.0.0.1\nVARDB_port => 1\n")
    before = site.rejected_file.read_bytes()
    *lines, last = retry(site, "--dry-run")
    number = r"21255501(\d\d)" if shown == "yes" else r"…01(\d\d)"
    listed = rf"⚠ (\S+): \S+: 400 Bad Request: an old mistake: CAMP01/{number} → SALE \(\ds\)"
    assert [("1729785600.1", "01"), ("1729785600.3", "03")] == re.findall(listed, "\n".join(lines))
    assert "🔍 Dry run: 2 rejected calls; nothing was sent, nothing was changed" == last
    assert (before, []) == (site.rejected_file.read_bytes(), api.posts)


def test_calls_of_a_campaign_that_is_left_out_stay_rejected(site: Site, api: DidOptimizer) -> None:
    reject(site, call(1), call(2, campaign_id="TEST"))
    site.configure(exclude_campaigns="test")
    stays = "⚠ 1 rejected call not sent: left out by campaigns or exclude_campaigns"
    lines = retry(site)
    assert ([1], [2], "💾 Left: 1 rejected call") == (stored(api), left(site), lines[-1])
    assert stays in lines
    assert [stays] == retry(site)


def test_what_fails_again_stays_as_it_was_written(site: Site, api: DidOptimizer) -> None:
    reject(site, call(1), call(2, phone_number=""), call(3), call(4), call(5))
    before = site.rejected_file.read_bytes().splitlines()
    api.fault_for = fault_of({3: ERROR_500, 4: NOT_ACCEPTED})
    lines = retry(site, code=6)
    assert [1, 5] == stored(api)
    assert before[1:4] == site.rejected_file.read_bytes().splitlines()
    assert f"✗ {START}.2: failed: 400 Bad Request: Missing required fields: phoneNumber; rejected" in lines
    for number, words in ((3, "500.*; stays rejected"), (4, "400.*; rejected")):
        assert any(re.fullmatch(f"✗ {START}.{number}: failed: {words}", line) for line in lines)
    assert re.fullmatch(r"📊 Summary: 2 processed, 3 failed in .*s \(2 rejected\)", lines[-2])
    assert "💾 Left: 3 rejected calls" == lines[-1]
    api.fault_for = None
    failed, summary = retry(site, "--quiet", code=6)
    assert failed.startswith(f"✗ {START}.2: failed: 400 ")
    assert summary.startswith("📊 Summary: 2 processed, 1 failed in ")


def test_a_call_whose_answer_was_lost_stays_and_is_taken_out_as_a_duplicate(site: Site, api: DidOptimizer) -> None:
    api.knows_repeats = True
    reject(site, call(1), call(2))
    api.fault_for = fault_of({2: LOST_ANSWER})
    retry(site, code=6)
    assert [2] == left(site)
    api.fault_for = None
    assert any(line.endswith("(duplicate)") for line in retry(site))
    assert 1 == posted(api).count(1)
    assert b"" == site.rejected_file.read_bytes()


def test_a_call_whose_answer_was_lost_counts_as_perhaps_stored_twice_when_it_gets_through(
    site: Site, api: DidOptimizer
) -> None:
    open_journal(site.journal_file).close()
    reject(site, call(1), call(2))
    api.fault_for = fault_of({1: NOT_ACCEPTED, 2: LOST_ANSWER})
    retry(site, code=4)
    api.fault_for = fault_of({1: NOT_ACCEPTED, 2: unavailable_503()})
    retry(site, code=4)
    with Records(site.journal_file, None) as records:
        (noted,) = records.of_calls([call(2).uniqueid]).values()
    assert "the connection was cut without an answer" == noted.words, "the first time, not what came since"
    api.fault_for = None
    (summary,) = [line for line in retry(site) if "Summary" in line]
    assert summary.endswith("; 1 may have been stored twice (their answers were lost)")
    assert "stored twice" not in "".join(retry(site))


@pytest.mark.parametrize(("delivered", "sent"), [([1], [2]), ([1, 2], [])])
def test_calls_noted_as_delivered_before_a_kill_are_not_sent_but_taken_out(
    delivered: list[int], sent: list[int], site: Site, api: DidOptimizer
) -> None:
    reject(site, call(1), call(2))
    for number in delivered:
        add_delivered(site.rejected_file, call(number).uniqueid)
    retry(site)
    assert (sent, b"") == (posted(api), site.rejected_file.read_bytes())


def test_without_a_rejected_file_or_calls_in_it_it_says_so_and_makes_none(site: Site, api: DidOptimizer) -> None:
    assert ["✅ No rejected calls"] == retry(site)
    assert not site.rejected_file.exists()
    site.rejected_file.touch()
    assert ["✅ No rejected calls"] == retry(site)
    assert [] == api.posts


# What a person has fixed


def test_the_result_follows_from_the_overrides_in_force_now(site: Site, api: DidOptimizer) -> None:
    reject(site, call(1, status="XFER"), call(2, status="SALE"))
    with site.dids_conf.open("a") as conf:
        conf.write("[dispositions]\nXFER = answered\n")
    retry(site)
    results = {number_of(sent["uniqueid"]): (sent["disposition"], sent["result"]) for sent in api.records.values()}
    assert {1: ("XFER", "answered"), 2: ("SALE", "answered")} == results


def test_a_line_that_holds_no_call_is_warned_about_and_kept(site: Site, api: DidOptimizer) -> None:
    reject(site, call(1))
    torn = b'{"when": "2024-10-24T12:00:00+0000", "why": "400", "payl'
    with site.rejected_file.open("ab") as file:
        file.write(torn)
    reject(site, call(2))
    for number, quiet in ((2, []), (1, ["--quiet"])):
        assert f"⚠ {site.rejected_file} line {number} holds no call; left as it is" == retry(site, *quiet)[0]
        assert torn + b"\n" == site.rejected_file.read_bytes()
    assert [1, 2] == stored(api)


# The API cannot be given everything


@pytest.mark.parametrize(
    ("tried", "fault"),
    [(0, None), (1, answer(401)), (5, answer(503)), (5, rate_limited_429(0))],
    ids=["it is down", "the key is refused", "the server behind is down", "too many requests"],
)
def test_an_api_that_takes_nothing_gets_exit_4_and_is_soon_left_alone(
    site: Site, api: DidOptimizer, tried: int, fault: Fault | None
) -> None:
    reject(site, *map(call, range(1, 21)))
    before = site.rejected_file.read_bytes()
    api.fault_for = lambda _: fault
    if not fault:
        api.down()
    error = next(line for line in reversed(retry(site, code=4)) if not line.startswith("   → "))
    assert error.startswith(f"❌ DID Optimizer at {api.url}")
    assert ("is down: 5 calls in a row failed" in error) == (tried != 1)
    assert tried == len(api.posts)
    assert before == site.rejected_file.read_bytes()


def test_an_api_that_goes_down_in_the_middle_keeps_what_it_did_not_take(site: Site, api: DidOptimizer) -> None:
    reject(site, *map(call, range(1, 41)))
    api.fault_for = lambda _: ERROR_500 if len(api.records) >= 15 else None
    lines = retry(site, code=4)
    assert sorted(set(range(1, 41)) - set(stored(api))) == left(site)
    assert len(left(site)) == len(site.rejected_file.read_bytes().splitlines())
    assert f"💾 Left: {len(left(site))} rejected calls" in lines
    api.fault_for = None
    retry(site)
    assert list(range(1, 41)) == stored(api)
    assert 0 == api.repeats


def test_an_api_that_asks_for_an_hour_s_wait_gets_exit_4_and_the_runs_go_on(site: Site, api: DidOptimizer) -> None:
    reject(site, *map(call, range(1, 9)))
    api.fault_for = lambda _: rate_limited_429(3600) if len(api.records) >= 3 else None
    began = time.monotonic()
    retry(site, code=4)
    assert time.monotonic() - began < 10
    assert sorted(set(range(1, 9)) - set(stored(api))) == left(site)


@pytest.mark.parametrize(("number", "runs"), [(4, 1), (6, 20)], ids=["too few for an outage", "enough for one"])
def test_calls_that_can_never_be_stored_do_not_keep_the_others_from_getting_through(
    number: int, runs: int, site: Site, api: DidOptimizer
) -> None:
    """The API answers 500 to them also; that is why they were rejected, after ten runs.

    Five of them in a row are an outage, by the chance of the order, and the next run goes on.
    """
    poisoned = range(1, 1 + number)
    others = range(7, 21)
    reject(site, *map(call, [*poisoned, *others]))
    api.fault_for = fault_of(dict.fromkeys(poisoned, ERROR_500))
    for _ in range(runs):
        done = site.vicisync("retry-rejected")
        assert done.returncode in ((6,) if number < FAILURES_BEFORE_OUTAGE else (4, 6)), done.stderr
        if list(others) == stored(api):
            break
    assert list(others) == stored(api)
    assert list(poisoned) == left(site)
    assert 0 == api.repeats


def test_a_disk_without_room_for_the_notes_ends_it_at_the_first_call(site: Site, api: DidOptimizer) -> None:
    reject(site, *map(call, range(1, 9)))
    before = site.rejected_file.read_bytes()
    with largest_file(len(before) + 10):
        done = site.vicisync("retry-rejected")
    assert 5 == done.returncode
    # Not the last line where coverage is measured: its own file is too large for this disk as well.
    assert f"❌ Cannot write the rejected file {site.rejected_file}: No space left on device\n" in done.stderr
    assert "   → make room: df -h " in done.stderr
    assert before == site.rejected_file.read_bytes()
    assert 1 == len(api.posts)


# Cut short


def reached(api: DidOptimizer, posts: int) -> threading.Event:
    """Return what is set when the API has been sent so many calls, and is being sent one more."""
    event = threading.Event()

    def watch(_: dict[str, Any]) -> None:
        if len(api.posts) >= posts:
            event.set()

    api.fault_for = watch
    return event


def cut_short(site: Site, api: DidOptimizer, signal_number: signal.Signals, posts: int) -> int:
    api.latency = 0.05
    is_reached = reached(api, posts)
    with site.start("retry-rejected") as process:
        assert is_reached.wait(30)
        process.send_signal(signal_number)
        process.communicate(timeout=30)
    api.latency = 0.0
    return process.returncode


@pytest.mark.parametrize("posts", [0, 1, 8, 40])
def test_a_kill_loses_no_call_and_repeats_only_what_was_in_flight(site: Site, api: DidOptimizer, posts: int) -> None:
    calls = range(1, 61)
    reject(site, *map(call, calls))
    open_journal(site.journal_file).close()
    assert -signal.SIGKILL == cut_short(site, api, signal.SIGKILL, posts)
    entries = map(json.loads, site.rejected_file.read_bytes().splitlines())
    noted = {number_of(entry["delivered"]) for entry in entries if "delivered" in entry}
    assert max(0, posts - CONCURRENCY) <= len(noted) <= len(api.records)
    assert sorted(set(calls) - noted) == left(site)
    with Records(site.journal_file, None) as journal:
        assert len(noted) - 1 <= len(journal.of_calls([call(number).uniqueid for number in noted]))
    first = len(api.posts)
    retry(site)
    assert list(calls) == stored(api)
    assert b"" == site.rejected_file.read_bytes()
    assert not noted & set(posted(api)[first:])
    assert api.repeats <= CONCURRENCY


@pytest.mark.parametrize(("code", "number"), [(143, signal.SIGTERM), (130, signal.SIGINT)])
def test_a_signal_ends_it_when_what_got_through_is_out_of_the_file(
    site: Site, api: DidOptimizer, code: int, number: signal.Signals
) -> None:
    calls = range(1, 41)
    reject(site, *map(call, calls))
    assert code == cut_short(site, api, number, 8)
    assert 8 <= len(api.records) < len(calls)
    assert sorted(set(calls) - set(stored(api))) == left(site)
    assert len(left(site)) == len(site.rejected_file.read_bytes().splitlines())
    retry(site)
    assert list(calls) == stored(api)
    assert 0 == api.repeats


# Beside others


def test_while_it_is_at_work_no_other_is(site: Site, api: DidOptimizer) -> None:
    reject(site, *map(call, range(1, 9)))
    api.latency = 0.4
    is_reached = reached(api, 0)
    with site.start("retry-rejected") as process:
        assert is_reached.wait(30)
        assert [75, 75] == [site.vicisync(command).returncode for command in ("run", "retry-rejected")]
        process.communicate(timeout=30)
    assert (0, 8) == (process.returncode, len(api.posts))


def test_a_call_that_a_run_rejected_gets_through_and_no_later_run_sends_it_again(site: Site, api: DidOptimizer) -> None:
    assert 0 == site.vicisync("run").returncode
    now = int(time.time())
    insert(site.mariadb, site.database, row(f"{now}.1", now, phone_number=""), row(f"{now}.2", now, lead_id=2))
    assert 6 == site.vicisync("run").returncode
    text = site.rejected_file.read_text("ascii")
    site.rejected_file.write_text(text.replace('"phoneNumber": ""', '"phoneNumber": "2125550199"'))
    retry(site)
    assert 0 == site.vicisync("run").returncode
    numbers = [post.payload["phoneNumber"] for post in api.posts if post.payload["uniqueid"] == f"{now}.1"]
    assert ["", "2125550199"] == numbers
    assert "2125550199" == api.records[f"{now}.1"]["phoneNumber"]


def test_the_one_of_many_that_was_mended_gets_through_wherever_its_turn_comes(site: Site, api: DidOptimizer) -> None:
    """That the others are refused once more tells nothing of the API."""
    reject(site, *(call(number) for number in range(1, 31)))
    api.fault_for = lambda sent: None if number_of(sent["uniqueid"]) == 7 else NOT_ACCEPTED
    retry(site, code=6)
    assert [7] == stored(api)
    assert 29 == len(left(site))
    assert "✅" not in "".join(retry(site, code=6)), "none gets through"
