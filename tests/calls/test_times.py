import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import time_zone
from vicisync.calls.times import ago, local, parse_duration, parse_timestamp, parse_when, zoned

NOW = 1729771200.9  # 2024-10-24 12:00:00 UTC, 08:00:00 in New York
EARLIEST = 946684800  # 2000-01-01 00:00:00 UTC
LATEST = 2**32 - 1


@pytest.fixture(autouse=True, scope="module")
def _new_york() -> Iterator[None]:
    with time_zone("America/New_York"):
        yield


def test_an_epoch_is_shown_as_local_wall_time_with_its_zone_where_that_may_be_in_doubt() -> None:
    assert ("2024-10-24 08:00:00", "2024-10-24 08:00:00 EDT") == (local(NOW), zoned(NOW))


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (1729771200, "2024-10-24 08:00:00"),
        (1729771200, "1729771200"),
        (1729771200, "\t1729771200\r\n"),
        (1729771200, " 2024-10-24 08:00:00\n"),
        (EARLIEST, "946684800"),
        (LATEST, "4294967295"),
        pytest.param(1729771200 - 8 * 3600, "2024-10-24", id="a day begins at midnight"),
        pytest.param(1729771200, "2024-10-24 08:00", id="to the minute"),
        pytest.param(1729771200, " 2024-10-24 08:00\n", id="to the minute, from a file"),
        pytest.param(1706792400, "2024-02-01 08:00:00", id="in winter"),
        pytest.param(1730611800, "2024-11-03 01:30:00", id="autumn's repeated hour: its first"),
        pytest.param(1730608200, "2024-11-03 00:30:00", id="the hour before it"),
        pytest.param(1730619000, "2024-11-03 02:30:00", id="the hour after it"),
        pytest.param(1730615400, "2024-11-03 01:30:00 EST", id="autumn's repeated hour: its second"),
        pytest.param(1730611800, "2024-11-03 01:30:00 EDT", id="autumn's repeated hour: its first, by name"),
        pytest.param(1710054000, "2024-03-10 02:30:00", id="spring's missing hour: when it was left out"),
        pytest.param(1710053999, "2024-03-10 01:59:59", id="the second before that"),
        (1729771200, "2024-10-24T08:00:00"),
        (1729771200, "2024-10-24T12:00:00Z"),
        (1729771200, "2024-10-24 12:00 UTC"),
        (1729771200, "2024-10-24T14:00:00+02:00"),
        (1729771200, "2024-10-24T17:30:00+0530"),
        (1729771200, "2024-10-24 08:00 -04"),
        (1729771200, "2024-10-24T12:00:00.123Z"),
        pytest.param(1795569066, "1795569066.616", id="the id of a call: when it began"),
    ],
)
def test_a_point_in_time_is_local_or_an_epoch(epoch: int, text: str) -> None:
    assert epoch == parse_timestamp(text)


@pytest.mark.parametrize("half_hour", [1730611800, 1730615400])
def test_both_epochs_of_the_repeated_hour_look_the_same(half_hour: int) -> None:
    assert local(half_hour) == "2024-11-03 01:30:00"


@given(epoch=st.integers(EARLIEST, LATEST))
def test_what_is_shown_is_read_back_but_for_the_second_of_autumns_hours_without_its_zone(epoch: int) -> None:
    read = parse_timestamp(local(epoch))
    assert read == epoch or (read == epoch - 3600 and local(read) == local(epoch))
    assert epoch == parse_timestamp(zoned(epoch))


ODD_ZONES = ["Europe/Dublin", "Asia/Dubai", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Guam", "Nowhere/City"]


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_what_is_shown_with_its_zone_is_read_back_in_odd_zones_too(zone: str) -> None:
    """Winter time called the exception, zones without a name or in small letters, half an hour of summer, a hole."""
    with time_zone(zone):
        assert [] == [e for e in range(1704067200, 1735689600, 3599) if e != parse_timestamp(zoned(e))]
    time.tzset()


BAD = [
    "", "tomorrow", "14:00:0", "2:0", "002:00", "24:30", "yesterday 25:00", "yesterday noon", "today yesterday",
    "2024-10", "2024-10-2", "24-10-2024", "2024-10-32", "2024-10-24 12", "2024-10-24 25:00", "2024-10-24 12:00 UT",
    "2024/10/24", "2024-10-24 12:00:00 CST", "2024-10-24T12:00+2", "2024-10-24Z", "2024-10-24 12:00 EST",
    "2024-13-01 00:00:00", "2023-02-29 00:00:00", "24-10-24 12:00:00", "1729771200.", "-1", "+5", "1e9", "0x10",
    "١٧٢٩٧٧١٢٠٠", "1729771200 1729771200",
    pytest.param("0", id="the first epoch"),
    pytest.param("2024", id="a year"),
    pytest.param("20241024", id="a day without its dashes"),
    pytest.param("946684799", id="the last epoch before the year 2000"),
    pytest.param("1999-12-30", id="a day before the year 2000"),
    pytest.param("4294967296", id="an epoch beyond VICIdial's"),
    pytest.param("01729771200", id="eleven digits"),
    pytest.param("9" * 5000, id="endless digits"),
    pytest.param("1969-12-30 00:00:00", id="before the epochs"),
    pytest.param("0001-01-01 00:00:00", id="year 1"),
    pytest.param("9999-12-31 23:59:59", id="year 9999"),
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_nothing_else_is_a_point_in_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


def test_a_time_beyond_the_machines_clock_is_no_point_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a machine whose clock has 32 bits would say so by itself."""

    def overflow(_: time.struct_time) -> float:
        raise OverflowError("mktime argument out of range")

    monkeypatch.setattr(time, "mktime", overflow)
    with pytest.raises(ValueError, match="out of range"):
        parse_timestamp("2040-01-01 00:00:00")


@pytest.mark.parametrize("text", [*BAD, "h", "1 fortnight", "1.5h", "-1h", "in 1h", "ago", "1month", "9999999s"])
def test_a_moment_that_cannot_be_read_is_answered_with_the_forms_that_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"as a time\n→ write 2024-10-24 12:00:00 \(local\), ") as refused:
        parse_when(text, NOW)
    assert repr(text) in str(refused.value)


def test_a_moment_before_all_epochs_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read '999999w' as a time"):
        parse_when("999999w", NOW)


@pytest.mark.parametrize(
    ("seconds_ago", "text"),
    [
        (0, "0s"), (90, "90s"), (90, "90 seconds ago"), (5400, "90m"), (5400, "90min"), (60, "1 minute ago"),
        (3600, "1h"), (3600, "1 hour ago"), (7200, "2 hours"), (3600, " 1H "), (172800, "2d"), (86400, "1 day ago"),
        (604800, "1w"), (1209600, "2  WEEKS   AGO"),
        (5400, "1h30m"), (5400, "1h 30m"), (5400, "90m ago"), (5400, "1 hour 30 minutes ago"), (0, "now"),
    ],
)  # fmt: skip
def test_a_moment_can_be_said_as_how_long_ago(seconds_ago: int, text: str) -> None:
    assert 1729771200 - seconds_ago == parse_when(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (119, "119 s"), (150, "2 min"), (7199, "119 min"), (7200, "2 h"), (33120, "9 h 12 min"),
        (172800, "2 days"), (183600, "2 days 3 h"),
    ],
)  # fmt: skip
def test_a_length_of_time_is_told_as_people_say_it(seconds: int, text: str) -> None:
    assert text == ago(seconds)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("2024-10-24 08:00:00 EDT", "2024-10-24 08:00:00"),
        ("2024-10-24 08:00:00 EDT", "1729771200"),
        ("2024-10-24 00:00:00 EDT", "today"),
        ("2024-10-23 00:00:00 EDT", "Yesterday"),
        ("2024-10-23 14:00:00 EDT", "yesterday 14:00"),
        ("2024-10-24 07:59:59 EDT", "today 07:59:59"),
        ("2024-10-24 09:00:00 EDT", "today 09:00"),
        ("2024-10-24 08:00:00 EDT", "08:00"),
        ("2024-10-24 08:00:00 EDT", "8:00"),
        ("2024-10-24 01:00:00 EDT", "1:00"),
        ("2024-10-23 09:05:07 EDT", "yesterday 9:05:07"),
        ("2024-10-24 01:00:00 EDT", "2024-10-24 1:00"),
        pytest.param("2024-10-23 08:01:00 EDT", "08:01", id="a time of day is the last one that has been"),
    ],
)
def test_a_moment_can_be_a_point_in_time_or_a_word_and_a_time_of_day(shown: str, text: str) -> None:
    assert shown == zoned(parse_when(text, NOW))


def test_the_day_before_a_change_of_clocks_is_a_day_of_the_calendar() -> None:
    just_after_midnight = parse_timestamp("2024-11-04 00:10")
    assert "2024-11-03 00:30:00 EDT" == zoned(parse_when("yesterday 00:30", just_after_midnight))
    assert "2024-12-31 00:00:00 EST" == zoned(parse_when("yesterday", parse_timestamp("2025-01-01")))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "90"), (50, "50s"), (300, "5m"), (5400, " 1h30m "), (5400, "1 H 30 min"), (86400, "1day")],
)
def test_a_length_of_time_is_seconds_or_has_units(seconds: int, text: str) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "s", "1.5h", "-5m", "5m ago", "5 x", "m5", "90 90", "٥m", "1ſ"])
def test_nothing_else_is_a_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time"):
        parse_duration(text)


@given(text=st.text() | st.from_regex(r"\d{1,7}\s?[smhdw][a-z]{0,6}( ago)?", fullmatch=True))
def test_any_text_at_all_is_a_moment_or_refused(text: str) -> None:
    try:
        epoch = parse_when(text, NOW)
    except ValueError:
        return
    assert 0 <= epoch <= LATEST


def test_a_letter_that_only_folds_to_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="as a time\n→ write"):
        parse_when("1ſ", NOW)
