"""The identity of calls: the same call before and after VICIdial has rewritten its uniqueid. Pure.

At hang-up VICIdial may rewrite the part of a uniqueid behind the dot; lead, start and the part before the dot stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from vicisync.calls.call import CallRow, stem
from vicisync.calls.readiness import Watched
from vicisync.state.checkpoint import Checkpoint


class NewCalls(NamedTuple):
    """What a page of discovery brings."""

    unknown: list[CallRow]
    rewritten: dict[str, CallRow]
    """Rows of calls that were handled before VICIdial rewrote their id, by that former id."""


def new_calls(rows: Iterable[CallRow], present: Collection[str], checkpoint: Checkpoint, since: int) -> NewCalls:
    """Return the rows of a page that started at or after the epoch ``since`` and have not been seen before.

    ``present`` are the ids of all that the page has. With a hot key the disposition can be final before the hang-up
    rewrites the uniqueid: such a call went out under its former id, whose row is gone, and must not go twice.
    """
    unknown = [row for row in rows if row.start_epoch >= since and not checkpoint.knows(row.uniqueid)]
    rewritten = _rewritten_after_handled(unknown, present, checkpoint)
    handled = set(rewritten.values())
    return NewCalls([row for row in unknown if row not in handled], rewritten)


def _rewritten_after_handled(
    unknown: Collection[CallRow], present: Collection[str], checkpoint: Checkpoint
) -> dict[str, CallRow]:
    """Return the unknown rows whose calls were handled under an id that is not ``present`` any more, by that id.

    A vanished call explains one row, of the same stem, lead and start.
    """
    if not unknown:
        return {}
    vanished: dict[tuple[str, int | None, int], list[str]] = {}
    for handled in (checkpoint.delivered, checkpoint.rejected):
        for uniqueid, past in handled.items():
            if uniqueid not in present:
                vanished.setdefault((stem(uniqueid), past.lead_id, past.start_epoch), []).append(uniqueid)
    result: dict[str, CallRow] = {}
    for row in unknown:
        formers = vanished.get((stem(row.uniqueid), row.lead_id, row.start_epoch))
        if formers:
            result[formers.pop(0)] = row
    return result


class Followed(NamedTuple):
    """Where the watched calls are now."""

    found: dict[str, CallRow]
    """By the id under which the call was watched; the row may bear another by now."""
    gone: list[str]


def follow(rows: Iterable[CallRow], same_lead_rows: Iterable[CallRow], checkpoint: Checkpoint) -> Followed:
    """Return where each watched call is now: in ``rows`` by its id, or rewritten among the rows of the same leads.

    A row of the same lead that is known already is another call; so is one that was known under a former id, unless it
    started in the very second of the watched call: better twice than lost.
    """
    present = {row.uniqueid: row for row in rows}
    same_lead_rows = list(same_lead_rows)
    unseen_rows = [row for row in same_lead_rows if not checkpoint.knows(row.uniqueid)]
    here = {row.uniqueid for row in same_lead_rows}
    known_formerly = set(_rewritten_after_handled(unseen_rows, here, checkpoint).values())
    result = Followed({}, [])
    for uniqueid, watched in checkpoint.watching.items():
        row = present.get(uniqueid) or _rewritten(uniqueid, watched, unseen_rows, known_formerly)
        if row is None:
            result.gone.append(uniqueid)
            continue
        result.found[uniqueid] = row
        if row in unseen_rows:
            unseen_rows.remove(row)
    return result


def _rewritten(
    uniqueid: str, watched: Watched, unseen_rows: Iterable[CallRow], known_formerly: Collection[CallRow]
) -> CallRow | None:
    candidates = [
        row
        for row in unseen_rows
        if row.lead_id == watched.lead_id
        and stem(row.uniqueid) == stem(uniqueid)
        and (row not in known_formerly or row.start_epoch == watched.start_epoch)
    ]
    return min(candidates, key=lambda row: abs(row.start_epoch - watched.start_epoch), default=None)
