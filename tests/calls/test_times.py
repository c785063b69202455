import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import time_zone
from vicisync.calls.times import local, parse_timestamp, parse_when

NOW = 1729771200.9  # 2024-10-24 12:00:00 UTC, 08:00:00 in New York
EARLIEST = 946684800  # 2000-01-01 00:00:00 UTC
LATEST = 2**32 - 1


@pytest.fixture(autouse=True, scope="module")
def _new_york() -> Iterator[None]:
    with time_zone("America/New_York"):
        yield


def test_an_epoch_is_shown_as_local_wall_time() -> None:
    assert local(NOW) == "2024-10-24 08:00:00"


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
    ],
)
def test_a_point_in_time_is_local_or_an_epoch(epoch: int, text: str) -> None:
    assert epoch == parse_timestamp(text)


@pytest.mark.parametrize("half_hour", [1730611800, 1730615400])
def test_both_epochs_of_the_repeated_hour_look_the_same(half_hour: int) -> None:
    assert local(half_hour) == "2024-11-03 01:30:00"


def test_an_hour_that_spring_leaves_out_is_read_as_one_beside_it() -> None:
    assert parse_timestamp("2024-03-10 02:30:00") in (1710055800, 1710059400)


@given(epoch=st.integers(EARLIEST, LATEST))
def test_what_is_shown_is_read_back_but_for_the_second_of_autumns_hours(epoch: int) -> None:
    read = parse_timestamp(local(epoch))
    assert read == epoch or (read == epoch - 3600 and local(read) == local(epoch))


BAD = [
    "", "yesterday", "12:00:00", "12:00", "2024-10", "2024-10-2", "24-10-2024", "2024-10-32", "2024-10-24 12",
    "2024-10-24 25:00", "2024-10-24 12:00 UT", "2024/10/24", "2024-10-24T12:00:00", "2024-10-24 12:00:00 UTC",
    "2024-10-24T12:00", "2024-13-01 00:00:00", "2023-02-29 00:00:00", "24-10-24 12:00:00", "1729771200.5", "-1", "+5",
    "1e9", "0x10", "١٧٢٩٧٧١٢٠٠", "1729771200 1729771200",
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


@pytest.mark.parametrize("text", [*BAD, "h", "1 fortnight", "1.5h", "-1h", "in 1h", "1h 30m", "1month", "9999999s"])
def test_a_moment_that_cannot_be_read_is_answered_with_the_forms_that_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"as a time: write 2024-10-24 12:00:00 \(local\), an epoch") as refused:
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
    ],
)  # fmt: skip
def test_a_moment_can_be_said_as_how_long_ago(seconds_ago: int, text: str) -> None:
    assert 1729771200 - seconds_ago == parse_when(text, NOW)


@pytest.mark.parametrize("text", ["2024-10-24 08:00:00", "1729771200"])
def test_a_moment_can_be_a_point_in_time(text: str) -> None:
    assert parse_when(text, NOW) == 1729771200


@given(text=st.text() | st.from_regex(r"\d{1,7}\s?[smhdw][a-z]{0,6}( ago)?", fullmatch=True))
def test_any_text_at_all_is_a_moment_or_refused(text: str) -> None:
    try:
        epoch = parse_when(text, NOW)
    except ValueError:
        return
    assert 0 <= epoch <= LATEST


def test_a_letter_that_only_folds_to_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="as a time: write"):
        parse_when("1ſ", NOW)
