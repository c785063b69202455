import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicisync.calls.call import Call, CallRow
from vicisync.calls.readiness import Watched
from vicisync.report import Report, Tally, Verbosity, counted

NOON = 1729771200  # 2024-10-24 12:00:00 UTC
CALL = Call(
    "1634567890.123", 7, 999, "CAMPAIGN001", "2024-10-24 12:00:00", NOON, NOON + 45, 45, "SALE", "1",
    "5551234567", "agent001", "AUTO", "AGENTS", "CALLER", "MAIN", 3,
)  # fmt: skip
EMPTY = Call("1634567890.123", 7, *([None] * 15))
ROW = CallRow("1634567890.123", 7, NOON, 0, "INCALL", "AUTO")
WATCHED = Watched(7, NOON, "no_disposition")

Event = Callable[[Report], None]

pytestmark = pytest.mark.usefixtures("utc")


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
    watching: dict[str, Watched] | None = None, *, ended_well: bool = True, looked_at_all: bool = True, **counts: int
) -> Event:
    def event(report: Report) -> None:
        report.tally, report.rejected_file = Tally(**counts, seconds=1.234), Path(FILE)
        report.end(NOON, watching or {}, ended_well=ended_well, looked_at_all=looked_at_all)

    return event


def resent(remaining: int, **counts: int) -> Event:
    def event(report: Report) -> None:
        report.tally = Tally(**counts, seconds=1.234)
        report.resent(remaining)

    return event


OPENING = "🚀 Starting call results sync...\n✅ Connected to VICIdial database\n📅 Last check: 2024-10-24 12:00:00\n"
FOUND = f"{OPENING}📞 Found 15 new call results"
SUMMARY = "📊 Summary:"
SAVED = "💾 Saved checkpoint: 2024-10-24 12:00:00\n"
SUCCESS = "✅ Sync completed successfully\n"
FILE = "/var/lib/rejected.jsonl"
REJECTED = f"⚠ 1 call rejected: see {FILE}\n"
ALL_KINDS = "3 duplicates, 4 rejected, 7 waiting, 5 gone, 6 never ended"
MORE = "⏳ There is more to look at; the next run goes on\n"
NOTHING_NEW = "✅ Nothing new since 2024-10-24 12:00:00"
ID = CALL.uniqueid
SALE = f"{ID}: CAMPAIGN001/5551234567 → SALE (45s)"
NOTHING_SENT = "nothing was sent, nothing was saved\n"
NOT_ENDED = Watched(7, 1, "not_ended")
SEVEN_WAIT = dict.fromkeys("abcdefg", NOT_ENDED)

EVENTS: dict[str, tuple[str, Event]] = {
    "opening": (f"{FOUND}\n", lambda r: r.opening(NOON, 15, 0)),
    "opening of a backlog": (f"{FOUND}, and about 2000 rows more to look at\n", lambda r: r.opening(NOON, 15, 2000)),
    "note": ("✨ so it is\n", lambda r: r.note("✨ so it is")),
    "warning": ("⚠ beware\n", lambda r: r.warning("beware")),
    "delivered": (f"✓ {SALE}\n", lambda r: r.delivered(CALL, duplicate=False)),
    "a duplicate": (f"✓ {SALE} (duplicate)\n", lambda r: r.delivered(CALL, duplicate=True)),
    "NULL everywhere": (f"✓ {ID}: -/- → - (0s)\n", lambda r: r.delivered(EMPTY, duplicate=False)),
    "failed": (f"✗ {ID}: failed: 503 Sorry; will try again\n", lambda r: r.failed(CALL, "503 Sorry")),
    "rejected": (f"✗ {ID}: failed: 400 Bad Request; rejected\n", lambda r: r.rejected(CALL, "400 Bad Request")),
    "gone": (
        f"⚠ {ID}: gone from vicidial_log; it was watched: no disposition yet\n", lambda r: r.gone(ID, WATCHED)
    ),
    "never ended": (
        f"⚠ {ID}: never ended; given up, started 2024-10-24 12:00:00\n", lambda r: r.never_ended(ROW)
    ),
    "all went well": (f"{SUMMARY} 15 processed, 0 failed in 1.23s\n{SAVED}{SUCCESS}", end(delivered=15)),
    "nothing went well": (
        f"{SUMMARY} 0 processed, 2 failed in 1.23s (1 rejected)\n{SAVED}{REJECTED}", end(failed=2, rejected=1)
    ),
    "one of a kind": (
        f"{SUMMARY} 3 processed, 1 failed in 1.23s (1 duplicate)\n{SAVED}{SUCCESS}",
        end(delivered=3, duplicates=1, failed=1),
    ),
    "all kinds": (
        f"{SUMMARY} 1 processed, 2 failed in 1.23s ({ALL_KINDS})\n{SAVED}⚠ 4 calls rejected: see {FILE}\n",
        end(SEVEN_WAIT, delivered=1, duplicates=3, failed=2, rejected=4, gone=5, never_ended=6),
    ),
    "broken off": (f"{SUMMARY} 15 processed, 0 failed in 1.23s\n{SAVED}", end(delivered=15, ended_well=False)),
    "broken off, after a rejection and before all was looked at": (
        f"{SUMMARY} 15 processed, 1 failed in 1.23s (1 rejected)\n{SAVED}",
        end(delivered=15, failed=1, rejected=1, ended_well=False, looked_at_all=False),
    ),
    "broken off before anything": ("", end(ended_well=False)),
    "broken off while looking": ("", end(ended_well=False, looked_at_all=False)),
    "more is left": (
        f"{SUMMARY} 15 processed, 0 failed in 1.23s\n{SAVED}{MORE}", end(delivered=15, looked_at_all=False)
    ),
    "more is left, and nothing was sent yet": (MORE, end(looked_at_all=False)),
    "more is left, and one was rejected": (
        f"{SUMMARY} 15 processed, 1 failed in 1.23s (1 rejected)\n{SAVED}{REJECTED}",
        end(delivered=15, failed=1, rejected=1, looked_at_all=False),
    ),
    "nothing new": (f"{NOTHING_NEW}\n", end()),
    "nothing new, some waiting": (
        f"{NOTHING_NEW}; waiting: 2 not ended yet, 1 did not get through\n",
        end({"1": Watched(7, 1, "failed"), "2": NOT_ENDED, "3": NOT_ENDED}, waiting=3),
    ),
    "all rejected calls got through": (
        f"{SUMMARY} 15 processed, 0 failed in 1.23s\n✅ None is left\n", resent(0, delivered=15)
    ),
    "some rejected calls got through": (
        f"{SUMMARY} 15 processed, 3 failed in 1.23s (2 duplicates, 1 rejected)\n💾 Left: 3 rejected calls\n",
        resent(3, delivered=15, duplicates=2, failed=3, rejected=1),
    ),
    "all rejected calls but one got through": (
        f"{SUMMARY} 15 processed, 1 failed in 1.23s\n💾 Left: 1 rejected call\n", resent(1, delivered=15, failed=1)
    ),
    "no rejected call was sent": ("", resent(15)),
    "errors": ("❌ It broke\n❌ Mend it\n", lambda r: r.error("It broke\nMend it")),
}  # fmt: skip


@pytest.mark.parametrize(("text", "event"), EVENTS.values(), ids=EVENTS)
def test_each_event_is_told_in_the_words_that_operators_know(text: str, event: Event) -> None:
    assert text == said(event)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (f"→ would send {SALE}\n", lambda r: r.delivered(CALL, duplicate=False)),
        (f"🔍 Dry run: 15 calls would be sent; {NOTHING_SENT}", end(delivered=15)),
        (f"🔍 Dry run: 1 call would be sent; {NOTHING_SENT}", end(delivered=1)),
        (f"🔍 Dry run: 4 calls would be sent; {NOTHING_SENT}", end(delivered=4, looked_at_all=False)),
        (f"{NOTHING_NEW}\n", end()),
    ],
    ids=["a call", "calls", "one call", "more is left", "nothing new"],
)
def test_a_dry_run_says_what_would_be_sent_and_that_nothing_was(text: str, event: Event) -> None:
    assert text == said(event, dry_run=True)


def test_what_is_counted_stands_in_the_singular_where_there_is_one() -> None:
    assert ["0 calls", "1 call", "2 calls", "21 calls"] == [counted(number, "call") for number in (0, 1, 2, 21)]


def test_what_becomes_of_a_call_that_failed_is_said_in_the_command_s_own_words() -> None:
    terminal = Terminal()
    Report(terminal, after_failure="stays rejected").failed(CALL, "503 Service Unavailable")
    assert f"✗ {ID}: failed: 503 Service Unavailable; stays rejected\n" == terminal.getvalue()


LEAST = {
    Verbosity.QUIET: ["warning", "failed", "rejected", "errors"],
    Verbosity.NORMAL: ["note", "delivered", "gone", "never ended", "nothing new"],
}


@pytest.mark.parametrize("verbosity", list(Verbosity))
@pytest.mark.parametrize(("least", "name"), [(least, name) for least, names in LEAST.items() for name in names])
def test_each_line_is_said_from_its_verbosity_on(least: Verbosity, name: str, verbosity: Verbosity) -> None:
    text, event = EVENTS[name]
    assert (text if verbosity >= least else "") == said(event, verbosity)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("", EVENTS["opening"][1]),
        (f"{SUMMARY} 15 processed, 0 failed in 1.23s\n", end(delivered=15)),
        (f"{SUMMARY} 15 processed, 0 failed in 1.23s\n", resent(3, delivered=15)),
    ],
    ids=["opening", "all went well", "some rejected calls got through"],
)
def test_quiet_leaves_the_summary_and_nothing_else_of_what_went_well(text: str, event: Event) -> None:
    assert text == said(event, Verbosity.QUIET)


def test_verbose_tells_why_each_call_waits() -> None:
    waiting = end({"1.2": WATCHED, "3.4": Watched(8, NOON + 1, "failed")}, ended_well=False)
    assert said(waiting, Verbosity.VERBOSE) == (
        "… 1.2: waiting: no disposition yet; started 2024-10-24 12:00:00\n"
        "… 3.4: waiting: did not get through; started 2024-10-24 12:00:01\n"
    )
    assert "" == said(waiting, Verbosity.NORMAL)


def test_a_masked_phone_number_is_masked_in_the_words_of_the_api_too() -> None:
    said = io.StringIO()
    report = Report(said, show_phone_numbers=False)
    assert CALL.phone_number
    for tell in (report.failed, report.rejected):
        tell(CALL, f"400 Bad Request: {CALL.phone_number} is no number")
    assert CALL.phone_number not in said.getvalue()
    assert 2 == said.getvalue().count(f"400 Bad Request: …{CALL.phone_number[-4:]} is no number; ")


@pytest.mark.parametrize(
    ("shown", "number"),
    [("…4567", "5551234567"), ("…", None), ("…", ""), ("…", "911")],
    ids=["", "NULL", "empty", "short"],
)
def test_a_masked_phone_number_shows_its_last_four_digits_at_most(shown: str, number: str | None) -> None:
    call = CALL._replace(phone_number=number)
    text = said(lambda report: report.delivered(call, duplicate=False), show_phone_numbers=False)
    assert text == f"✓ {ID}: CAMPAIGN001/{shown} → SALE (45s)\n"


FORGED = ["", "\r0", "\n❌ forged", "\x1b[31m", "\u2028", "\x85", "\ud800"]
TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(FORGED)
NULLABLE = st.none() | TEXT
CALLS = st.builds(CALL._replace, uniqueid=TEXT, campaign_id=NULLABLE, phone_number=NULLABLE, status=NULLABLE)


@pytest.mark.parametrize(
    "tell",
    [
        pytest.param(lambda report, call, _: report.delivered(call, duplicate=False), id="delivered"),
        pytest.param(lambda report, call, why: report.failed(call, why), id="failed"),
        pytest.param(lambda report, call, why: report.rejected(call, why), id="rejected"),
        pytest.param(lambda report, call, why: report.gone(call.uniqueid, Watched(7, 1, why)), id="gone"),
        pytest.param(lambda report, call, _: report.never_ended(ROW._replace(uniqueid=call.uniqueid)), id="never"),
        pytest.param(
            lambda report, call, why: end({call.uniqueid: Watched(7, 1, why)}, ended_well=False)(report), id="waiting"
        ),
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
