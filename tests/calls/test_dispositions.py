import pytest

from vicisync.calls.dispositions import KNOWN_RESULTS, RESULTS, result_of


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("SALE", "answered"), ("A", "answered"), ("DNC", "dnc"), ("B", "dnc"), ("NA", "no_answer"), ("NO", "no_answer"),
        ("BUSY", "busy"), ("DROP", "dropped"), ("AMD", "dropped"),
        pytest.param("CALLBK", "completed", id="a status that the table does not name"),
        pytest.param("sale", "answered", id="as MariaDB compares: case aside"),
        pytest.param("SALE ", "answered", id="as MariaDB compares: trailing blanks aside"),
        pytest.param(" SALE", "completed", id="a leading blank is part of a status"),
        pytest.param("", "completed", id="no status"),
        pytest.param(None, "completed", id="NULL"),
    ],
)  # fmt: skip
def test_each_status_has_the_result_of_the_setup_guide(status: str | None, result: str) -> None:
    assert result == result_of(status, {})


def test_an_override_wins_over_the_table_and_leaves_every_other_status_alone() -> None:
    overrides = {"B": "busy", "XFER": "answered"}
    assert {status: result_of(status, overrides) for status in [*RESULTS, "XFER"]} == {**RESULTS, **overrides}


def test_an_override_is_compared_likewise() -> None:
    assert result_of("xfer ", {"Xfer": "answered"}) == "answered"


def test_each_known_result_is_listed_once() -> None:
    assert sorted(KNOWN_RESULTS) == ["answered", "busy", "completed", "dnc", "dropped", "no_answer"]
