"""Discovery: the rows of a stretch of time, page by page, by ids grouped by second; what is known is not read."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vicisync.calls.call import CallRow
from vicisync.vicidial import statements

PAGE = 1000  # calls that fill a page; it then ends with a whole second
ROWS = 1000  # that a statement of discovery reads, unless one second has more: 2 ms of table lock at any call rate
LONGEST_CHARACTER = 4  # bytes
AT_ONCE = 500  # ids that one statement names
Read = Callable[[str, Mapping[str, object]], tuple[tuple[Any, ...], ...]]


class Page(NamedTuple):
    """Whole seconds of the table, in the order of call_date."""

    rows: list[CallRow]  # of the seconds in which a row may be unknown
    present: set[str]  # the ids of all rows, those that are known included
    last_second: str = ""  # the call_date of its last row, and of its first; "" where it has none
    first_second: str = ""
    is_last: bool = False  # whether it reads to the table's end


class Second(NamedTuple):
    """The calls of one call_date, as a statement of discovery gives them."""

    call_date: str
    calls: int
    listed: str  # their ids, with commas between them
    longest: int  # bytes at which the server cuts such a list, or within the character there

    def uniqueids(self) -> list[str] | None:
        """Return the ids; None where the list does not tell them."""
        uniqueids = self.listed.split(",")
        is_whole = len(self.listed.encode("utf-8", "surrogatepass")) + LONGEST_CHARACTER <= self.longest
        return uniqueids if is_whole and len(uniqueids) == self.calls else None


def pages(read: Read, since: int, knows: Callable[[str], bool]) -> Iterator[Page]:
    """Read what started at or after the epoch ``since``, and some before it; the last page comes always, if only empty.

    The end is where an answer is empty: a server, or what stands before it, may cut short any other.
    """
    place: dict[str, object] = {"since": max(since, 1)}  # of 0, MariaDB 11.8 has no time of day
    sql, limit, seconds = statements.FIRST_PAGE, ROWS, list[Second]()
    while found := [Second._make(row) for row in read(sql, {**place, "rows": limit})]:
        if sum(second.calls for second in found) >= limit:
            if len(found) == 1:
                limit *= 2
                continue
            del found[-1]  # of the last second, there may be more
        seconds += found
        sql, place, limit = statements.NEXT_PAGE, {"after": seconds[-1].call_date}, ROWS
        if sum(second.calls for second in seconds) >= PAGE:
            yield _page(read, seconds, knows)
            seconds = []
    yield _page(read, seconds, knows)._replace(is_last=True)


def _page(read: Read, seconds: list[Second], knows: Callable[[str], bool]) -> Page:
    present: set[str] = set()
    unknown = []
    for second in seconds:
        uniqueids = second.uniqueids()
        if uniqueids and all(map(knows, uniqueids)):
            present.update(uniqueids)
        else:
            unknown.append(second)
    # Read as they are by now: an id may have been rewritten since it was listed.
    rows = [row for part in _bounded(unknown) for row in _rows(read, part)]
    present.update(row.uniqueid for row in rows)
    first, last = (seconds[0].call_date, seconds[-1].call_date) if seconds else ("", "")
    return Page(rows, present, last, first)


def _rows(read: Read, seconds: list[Second]) -> list[CallRow]:
    """Read the rows of seconds; where fewer come than were counted, once more by halves: an answer may be cut short."""
    rows = [CallRow._make(row) for row in read(statements.BY_SECOND, {"ids": [second.call_date for second in seconds]})]
    if len(rows) >= sum(second.calls for second in seconds) or len(seconds) == 1:
        return rows
    half = len(seconds) // 2
    return _rows(read, seconds[:half]) + _rows(read, seconds[half:])


def _bounded(seconds: Iterable[Second]) -> Iterator[list[Second]]:
    """Yield seconds in parts that hold `ROWS` calls at most, or one second."""
    part: list[Second] = []
    calls = 0
    for second in seconds:
        if part and (calls + second.calls > ROWS or len(part) == AT_ONCE):
            yield part
            part, calls = [], 0
        part.append(second)
        calls += second.calls
    if part:
        yield part
