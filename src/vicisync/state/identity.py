"""The identity of calls, whose uniqueid VICIdial may rewrite behind the dot at hang-up; lead and start stay. Pure."""

from collections.abc import Collection, Iterable, Mapping

from vicisync.calls.call import CallRow, stem
from vicisync.calls.readiness import Watched
from vicisync.state.checkpoint import Checkpoint, Handled


def new_calls(
    rows: Iterable[CallRow], present: Collection[str], checkpoint: Checkpoint, since: int
) -> tuple[list[CallRow], dict[str, CallRow]]:
    """Return the rows that started at or after the epoch ``since`` and have not been seen before.

    ``present`` are the ids of all rows of their page. Beside the new ones, by the former id, rows of calls that were
    known before VICIdial rewrote it, handled ones (with a hot key the disposition can be final before that) and watched
    ones, whose row had been read by then: none must go twice.
    """
    unknown = [row for row in rows if row.start_epoch >= since and not checkpoint.knows(row.uniqueid)]
    rewritten = _rewritten(unknown, present, {**checkpoint.watching, **checkpoint.handled})
    handled = set(rewritten.values())
    return [row for row in unknown if row not in handled], rewritten


def _rewritten(
    unknown: Collection[CallRow], present: Collection[str], calls: Mapping[str, Handled | Watched]
) -> dict[str, CallRow]:
    """Return the unknown rows whose calls are known under an id that is not ``present`` any more, by that id."""
    if not unknown:
        return {}
    # A vanished call explains one row, of the same stem, lead and start.
    vanished: dict[tuple[str, int | None, int], list[str]] = {}
    for uniqueid, past in calls.items():
        # One that was left out explains none: a row's own campaign decides.
        if uniqueid not in present and getattr(past, "outcome", "") != "left_out":
            vanished.setdefault((stem(uniqueid), past.lead_id, past.start_epoch), []).append(uniqueid)
    result: dict[str, CallRow] = {}
    for row in unknown:
        formers = vanished.get((stem(row.uniqueid), row.lead_id, row.start_epoch))
        if formers:
            result[formers.pop(0)] = row
    return result


def follow(
    rows: Iterable[CallRow], same_lead_rows: Iterable[CallRow], checkpoint: Checkpoint
) -> tuple[dict[str, CallRow], list[str]]:
    """Return the row of each watched call, by the id under which it was watched, and the ids that are gone.

    The row is in ``rows`` by its id, or rewritten among those of the same leads, where a row that is known already is
    another call; so is one known under a former id, unless it started in the very same second: better twice than lost.
    """
    present = {row.uniqueid: row for row in rows}
    same_lead_rows = list(same_lead_rows)
    unseen_rows = [row for row in same_lead_rows if not checkpoint.knows(row.uniqueid)]
    here = {row.uniqueid for row in same_lead_rows}
    known_formerly = set(_rewritten(unseen_rows, here, checkpoint.handled).values())
    candidates: dict[tuple[int, str], list[CallRow]] = {}
    for row in unseen_rows:
        candidates.setdefault((row.lead_id, stem(row.uniqueid)), []).append(row)
    found: dict[str, CallRow] = {}
    gone = []
    for uniqueid, watched in checkpoint.watching.items():
        same_stem = candidates.get((watched.lead_id, stem(uniqueid)), [])
        found_row = present.get(uniqueid) or _nearest(watched, same_stem, known_formerly)
        if found_row is None:
            gone.append(uniqueid)
            continue
        found[uniqueid] = found_row
        if found_row in same_stem:
            same_stem.remove(found_row)
    return found, gone


def _nearest(watched: Watched, same_stem: Iterable[CallRow], known_formerly: Collection[CallRow]) -> CallRow | None:
    start = watched.start_epoch
    may_be = [row for row in same_stem if row not in known_formerly or row.start_epoch == start]
    return min(may_be, key=lambda row: abs(row.start_epoch - start), default=None)
