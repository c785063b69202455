from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import Watched
from vicisync.report import Report, Tally, Verbosity, counted

NOON = 1729771200  # 2024-10-24 12:00:00 UTC
CALL = Call(
    uniqueid="1634567890.123",
    lead_id=7,
    list_id=999,
    campaign_id="CAMPAIGN001",
    call_date="2024-10-24 12:00:00",
    start_epoch=NOON,
    end_epoch=NOON + 45,
    length_in_sec=45,
    status="SALE",
    phone_code="1",
    phone_number="5551234567",
    user="agent001",
    comments="AUTO",
    user_group="AGENTS",
    term_reason="CALLER",
    alt_dial="MAIN",
    called_count=3,
)
EMPTY = Call("1634567890.123", 7, *([None] * 15))
ROW = CallRow("1634567890.123", 7, NOON, 0, "INCALL", "AUTO")
WATCHED = Watched(7, NOON, "no_disposition")

Event = Callable[[Report], None]


@pytest.fixture(autouse=True, scope="module")
def _utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC0")
        time.tzset()
        yield
    time.tzset()


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def said(
    event: Event, verbosity: Verbosity = Verbosity.NORMAL, *, show_phone_numbers: bool = True, dry_run: bool = False
) -> str:
    terminal = Terminal()
    event(Report(terminal, verbosity, show_phone_numbers=show_phone_numbers, dry_run=dry_run))
    return terminal.getvalue()


def end(
    tally: Tally,
    watching: dict[str, Watched] | None = None,
    *,
    ended_well: bool = True,
    looked_at_all: bool = True,
) -> Event:
    def event(report: Report) -> None:
        report.tally = tally
        report.end(
            NOON,
            watching or {},
            1.234,
            ended_well=ended_well,
            looked_at_all=looked_at_all,
            rejected_file=Path("/var/lib/rejected.jsonl"),
        )

    return event


def resent(tally: Tally, remaining: int) -> Event:
    def event(report: Report) -> None:
        report.tally = tally
        report.resent(remaining, 1.234)

    return event


OPENING = "🚀 Starting call results sync...\n✅ Connected to VICIdial database\n📅 Last check: 2024-10-24 12:00:00\n"
SAVED = "💾 Saved checkpoint: 2024-10-24 12:00:00\n"
CLOSING = f"{SAVED}✅ Sync completed successfully\n"
MORE = "⏳ There is more to look at; the next run goes on\n"


@pytest.mark.parametrize(
    ("text", "event"),
    [
        pytest.param(f"{OPENING}📞 Found 15 new call results\n", lambda r: r.opening(NOON, 15, 0), id="opening"),
        pytest.param(
            f"{OPENING}📞 Found 15 new call results, and about 2000 rows more to look at\n",
            lambda r: r.opening(NOON, 15, 2000),
            id="opening of a backlog",
        ),
        pytest.param("✨ so it is\n", lambda r: r.note("✨ so it is"), id="note"),
        pytest.param("⚠ beware\n", lambda r: r.warning("beware"), id="warning"),
        pytest.param(
            "✓ 1634567890.123: CAMPAIGN001/5551234567 → SALE (45s)\n",
            lambda r: r.delivered(CALL, duplicate=False),
            id="delivered",
        ),
        pytest.param(
            "✓ 1634567890.123: CAMPAIGN001/5551234567 → SALE (45s) (duplicate)\n",
            lambda r: r.delivered(CALL, duplicate=True),
            id="a duplicate",
        ),
        pytest.param(
            "✓ 1634567890.123: -/- → - (0s)\n", lambda r: r.delivered(EMPTY, duplicate=False), id="NULL everywhere"
        ),
        pytest.param(
            "✗ 1634567890.123: failed: 503 Service Unavailable; will try again\n",
            lambda r: r.failed(CALL, "503 Service Unavailable"),
            id="failed",
        ),
        pytest.param(
            "✗ 1634567890.123: failed: 400 Bad Request; rejected\n",
            lambda r: r.rejected(CALL, "400 Bad Request"),
            id="rejected",
        ),
        pytest.param(
            "⚠ 1634567890.123: gone from vicidial_log; it was watched: no disposition yet\n",
            lambda r: r.gone("1634567890.123", WATCHED),
            id="gone",
        ),
        pytest.param(
            "⚠ 1634567890.123: never ended; given up, started 2024-10-24 12:00:00\n",
            lambda r: r.never_ended(ROW),
            id="never ended",
        ),
        pytest.param(
            f"📊 Summary: 15 processed, 0 failed in 1.23s\n{CLOSING}", end(Tally(delivered=15)), id="all went well"
        ),
        pytest.param(
            f"📊 Summary: 0 processed, 2 failed in 1.23s (1 rejected)\n{SAVED}"
            "⚠ 1 call rejected: see /var/lib/rejected.jsonl\n",
            end(Tally(failed=2, rejected=1)),
            id="nothing went well",
        ),
        pytest.param(
            f"📊 Summary: 3 processed, 1 failed in 1.23s (1 duplicate)\n{CLOSING}",
            end(Tally(delivered=3, duplicates=1, failed=1)),
            id="one of a kind",
        ),
        pytest.param(
            "📊 Summary: 1 processed, 2 failed in 1.23s"
            f" (3 duplicates, 4 rejected, 7 waiting, 5 gone, 6 never ended)\n{SAVED}"
            "⚠ 4 calls rejected: see /var/lib/rejected.jsonl\n",
            end(Tally(1, duplicates=3, failed=2, rejected=4, gone=5, never_ended=6, waiting=7)),
            id="all kinds",
        ),
        pytest.param(
            f"📊 Summary: 15 processed, 0 failed in 1.23s\n{SAVED}",
            end(Tally(delivered=15), ended_well=False),
            id="broken off",
        ),
        pytest.param(
            f"📊 Summary: 15 processed, 1 failed in 1.23s (1 rejected)\n{SAVED}",
            end(Tally(delivered=15, failed=1, rejected=1), ended_well=False, looked_at_all=False),
            id="broken off, after a rejection and before all was looked at",
        ),
        pytest.param("", end(Tally(), ended_well=False), id="broken off before anything"),
        pytest.param("", end(Tally(), ended_well=False, looked_at_all=False), id="broken off while looking"),
        pytest.param(
            f"📊 Summary: 15 processed, 0 failed in 1.23s\n{SAVED}{MORE}",
            end(Tally(delivered=15), looked_at_all=False),
            id="more is left",
        ),
        pytest.param(MORE, end(Tally(), looked_at_all=False), id="more is left, and nothing was sent yet"),
        pytest.param(
            f"📊 Summary: 15 processed, 1 failed in 1.23s (1 rejected)\n{SAVED}"
            "⚠ 1 call rejected: see /var/lib/rejected.jsonl\n",
            end(Tally(delivered=15, failed=1, rejected=1), looked_at_all=False),
            id="more is left, and one was rejected",
        ),
        pytest.param("✅ Nothing new since 2024-10-24 12:00:00\n", end(Tally()), id="nothing new"),
        pytest.param(
            "✅ Nothing new since 2024-10-24 12:00:00; waiting: 2 not ended yet, 1 did not get through\n",
            end(
                Tally(waiting=3),
                {"1": Watched(7, 1, "failed"), "2": Watched(7, 1, "not_ended"), "3": Watched(7, 1, "not_ended")},
            ),
            id="nothing new, some waiting",
        ),
        pytest.param("📞 Found 15 rejected calls\n", lambda r: r.resending(15), id="rejected calls to send again"),
        pytest.param("📞 Found 1 rejected call\n", lambda r: r.resending(1), id="one rejected call to send again"),
        pytest.param("✅ No rejected calls\n", lambda r: r.resending(0), id="no rejected calls"),
        pytest.param(
            "📊 Summary: 15 processed, 0 failed in 1.23s\n✅ None is left\n",
            resent(Tally(delivered=15), 0),
            id="all rejected calls got through",
        ),
        pytest.param(
            "📊 Summary: 15 processed, 3 failed in 1.23s (2 duplicates, 1 rejected)\n💾 Left: 3 rejected calls\n",
            resent(Tally(delivered=15, duplicates=2, failed=3, rejected=1), 3),
            id="some rejected calls got through",
        ),
        pytest.param(
            "📊 Summary: 15 processed, 1 failed in 1.23s\n💾 Left: 1 rejected call\n",
            resent(Tally(delivered=15, failed=1), 1),
            id="all rejected calls but one got through",
        ),
        pytest.param("", resent(Tally(), 15), id="no rejected call was sent"),
        pytest.param("❌ It broke\n❌ Mend it\n", lambda r: r.error("It broke\nMend it"), id="errors"),
    ],
)
def test_each_event_is_told_in_the_words_that_operators_know(text: str, event: Event) -> None:
    assert text == said(event)


def test_a_dry_run_says_what_would_be_sent_and_that_nothing_was() -> None:
    would = said(lambda report: report.delivered(CALL, duplicate=False), dry_run=True)
    assert would == "→ would send 1634567890.123: CAMPAIGN001/5551234567 → SALE (45s)\n"
    sent_nothing = "would be sent; nothing was sent, nothing was saved\n"
    assert said(end(Tally(delivered=15)), dry_run=True) == f"🔍 Dry run: 15 calls {sent_nothing}"
    assert said(end(Tally(delivered=1)), dry_run=True) == f"🔍 Dry run: 1 call {sent_nothing}"
    assert said(end(Tally(delivered=4), looked_at_all=False), dry_run=True) == f"🔍 Dry run: 4 calls {sent_nothing}"
    assert said(end(Tally()), dry_run=True) == "✅ Nothing new since 2024-10-24 12:00:00\n"


@pytest.mark.parametrize(("text", "number"), [("0 calls", 0), ("1 call", 1), ("2 calls", 2), ("21 calls", 21)])
def test_what_is_counted_stands_in_the_singular_where_there_is_one(text: str, number: int) -> None:
    assert text == counted(number, "call")


def test_what_becomes_of_a_call_that_failed_is_said_in_the_command_s_own_words() -> None:
    terminal = Terminal()
    Report(terminal, after_failure="stays rejected").failed(CALL, "503 Service Unavailable")
    assert "✗ 1634567890.123: failed: 503 Service Unavailable; stays rejected\n" == terminal.getvalue()


ONE_LINERS: dict[str, tuple[Verbosity, Event]] = {
    "note": (Verbosity.NORMAL, lambda report: report.note("so")),
    "delivered": (Verbosity.NORMAL, lambda report: report.delivered(CALL, duplicate=False)),
    "gone": (Verbosity.NORMAL, lambda report: report.gone("1.2", WATCHED)),
    "never ended": (Verbosity.NORMAL, lambda report: report.never_ended(ROW)),
    "resending": (Verbosity.NORMAL, lambda report: report.resending(15)),
    "no rejected calls": (Verbosity.NORMAL, lambda report: report.resending(0)),
    "nothing new": (Verbosity.NORMAL, end(Tally())),
    "warning": (Verbosity.QUIET, lambda report: report.warning("so")),
    "failed": (Verbosity.QUIET, lambda report: report.failed(CALL, "503")),
    "rejected": (Verbosity.QUIET, lambda report: report.rejected(CALL, "400")),
    "error": (Verbosity.QUIET, lambda report: report.error("so")),
    "waiting": (Verbosity.VERBOSE, lambda report: report.waiting({"1.2": WATCHED})),
}


@pytest.mark.parametrize("verbosity", list(Verbosity))
@pytest.mark.parametrize(("least", "event"), [pytest.param(*line, id=name) for name, line in ONE_LINERS.items()])
def test_each_line_is_said_from_its_verbosity_on(least: Verbosity, event: Event, verbosity: Verbosity) -> None:
    assert (1 if verbosity >= least else 0) == said(event, verbosity).count("\n")


def test_quiet_leaves_the_summary_and_nothing_else_of_a_run_that_went_well() -> None:
    assert said(lambda report: report.opening(NOON, 15, 0), Verbosity.QUIET) == ""
    assert said(end(Tally(delivered=15)), Verbosity.QUIET) == "📊 Summary: 15 processed, 0 failed in 1.23s\n"


def test_quiet_leaves_the_summary_of_what_was_sent_again() -> None:
    text = said(resent(Tally(delivered=15), 3), Verbosity.QUIET)
    assert "📊 Summary: 15 processed, 0 failed in 1.23s\n" == text


def test_verbose_tells_why_each_call_waits() -> None:
    text = said(
        lambda report: report.waiting({"1.2": WATCHED, "3.4": Watched(8, NOON + 1, "failed")}), Verbosity.VERBOSE
    )
    assert text == (
        "… 1.2: waiting: no disposition yet; started 2024-10-24 12:00:00\n"
        "… 3.4: waiting: did not get through; started 2024-10-24 12:00:01\n"
    )


def test_a_masked_phone_number_is_masked_in_the_words_of_the_api_too() -> None:
    said = io.StringIO()
    report = Report(said, show_phone_numbers=False)
    report.failed(CALL, f"400 Bad Request: {CALL.phone_number} is no number")
    report.rejected(CALL, f"400 Bad Request: {CALL.phone_number} is no number")
    assert CALL.phone_number
    assert CALL.phone_number not in said.getvalue()
    assert 2 == said.getvalue().count(f"400 Bad Request: …{CALL.phone_number[-4:]} is no number; ")


@pytest.mark.parametrize(
    ("shown", "number"),
    [
        ("…4567", "5551234567"),
        pytest.param("…", None, id="NULL"),
        pytest.param("…", "", id="empty"),
        pytest.param("…", "911", id="short"),
    ],
)
def test_a_masked_phone_number_shows_its_last_four_digits_at_most(shown: str, number: str | None) -> None:
    text = said(
        lambda report: report.delivered(CALL._replace(phone_number=number), duplicate=False), show_phone_numbers=False
    )
    assert text == f"✓ 1634567890.123: CAMPAIGN001/{shown} → SALE (45s)\n"


TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(["\n❌ forged", "\x1b[31m", "\u2028", "\x85", "\ud800"])
CALLS = st.builds(
    lambda uniqueid, campaign_id, number, status: CALL._replace(
        uniqueid=uniqueid, campaign_id=campaign_id, phone_number=number, status=status
    ),
    TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
)


@pytest.mark.parametrize(
    "tell",
    [
        pytest.param(lambda report, call, _: report.delivered(call, duplicate=False), id="delivered"),
        pytest.param(lambda report, call, why: report.failed(call, why), id="failed"),
        pytest.param(lambda report, call, why: report.rejected(call, why), id="rejected"),
        pytest.param(lambda report, call, why: report.gone(call.uniqueid, Watched(7, 1, why)), id="gone"),
        pytest.param(lambda report, call, _: report.never_ended(ROW._replace(uniqueid=call.uniqueid)), id="never"),
        pytest.param(lambda report, call, why: report.waiting({call.uniqueid: Watched(7, 1, why)}), id="waiting"),
        pytest.param(lambda report, _, why: report.warning(why), id="warning"),
        pytest.param(lambda report, _, why: report.note(why), id="note"),
    ],
)
@given(call=CALLS, why=TEXT, masked=st.booleans())
def test_one_event_gives_exactly_one_printable_line(
    tell: Callable[[Report, Call, str], None], call: Call, why: str, masked: bool
) -> None:
    text = said(lambda report: tell(report, call, why), Verbosity.VERBOSE, show_phone_numbers=not masked)
    assert text[-1] == "\n"
    assert text[:-1].isprintable()


@given(text=TEXT)
def test_every_line_of_an_error_begins_with_the_sign_that_operators_grep_for(text: str) -> None:
    lines = said(lambda report: report.error(f"It broke: {text}")).split("\n")
    assert lines.pop() == ""
    assert all(line.startswith("❌ ") and line.isprintable() for line in lines)
