import io
import re
import sys
import time
from pathlib import Path

import pytest

from vicisync.output import Output, printable


def test_each_line_in_a_log_begins_with_the_time() -> None:
    log = io.StringIO()
    output = Output(log)
    for line in ("one", "two"):
        output.line(line)
    lines = log.getvalue().splitlines(keepends=True)
    stamp = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [-+]\d{4}) ")
    stamps = [match[1] for line in lines if (match := stamp.match(line))]
    assert len(lines) == len(stamps) == 2
    assert abs(time.time() - time.mktime(time.strptime(stamps[0][:19], "%Y-%m-%d %H:%M:%S"))) < 60
    assert ["one\n", "two\n"] == [stamp.sub("", line) for line in lines]


def test_a_line_reaches_the_log_in_one_write_and_at_once() -> None:
    """A kill must not eat what was told."""
    writes: list[str] = []

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

        def flush(self) -> None:
            writes.append("flush")

    Output(Log()).line("so")
    assert len(writes) == 2
    assert writes[0].endswith(" so\n")
    assert writes[1] == "flush"


def test_a_log_that_takes_no_more_is_said_so_of_once_and_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as log:
        output = Output(log)
        for _ in range(3):
            output.line("so")
    words = "❌ Cannot write what the run does: No space left on device; it goes on in silence\n"
    assert ("", words) == capsys.readouterr()


def test_where_both_streams_take_no_more_nothing_is_said_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as log, Path("/dev/full").open("w", encoding="utf-8") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        output = Output(log)
        for _ in range(3):
            output.line("so")
        Output(errors).line("It broke")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("plain – ✓ é", "plain – ✓ é"),
        ("\\n✅ Sync completed", "\n✅ Sync completed"),
        ("\\r\\t\\x00", "\r\t\0"),
        ("\\x1b[2J", "\x1b[2J"),
        ("\\x9b2J", "\x9b2J"),
        ("\\u202e", "\u202e"),
        ("\\u2028", "\u2028"),
        ("\\ud800", "\ud800"),
    ],
)
def test_signs_that_steer_a_terminal_or_break_a_line_are_written_out(shown: str, text: str) -> None:
    assert shown == printable(text)
