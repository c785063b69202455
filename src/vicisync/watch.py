"""Whom to watch, whom to send: decisions over what a poll has read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from vicisync.call import WAITING, Fate, Rules, Sighting, fate, stem
from vicisync.checkpoint import Checkpoint, Watched


class Sorted(NamedTuple):
    """Rows by what is to be done with them."""

    ready: list[Sighting]
    waiting: list[tuple[Sighting, Fate]]
    never_ended: list[Sighting]
    not_ours: list[Sighting]


def sort_out(rows: Iterable[Sighting], now: int, rules: Rules) -> Sorted:
    """Decide each row's fate at ``now``, the database's epoch."""
    result = Sorted([], [], [], [])
    for row in rows:
        decided = fate(row, now, rules)
        if decided in WAITING:
            result.waiting.append((row, decided))
        elif decided is Fate.READY:
            result.ready.append(row)
        elif decided is Fate.NEVER_ENDED:
            result.never_ended.append(row)
        else:
            result.not_ours.append(row)
    return result


class Newcomers(NamedTuple):
    """What a page of discovery brings."""

    unknown: list[Sighting]
    rewritten: dict[str, Sighting]
    """Calls that were dealt with before VICIdial rewrote their id, by that former id."""


def newcomers(rows: Iterable[Sighting], present: Collection[str], checkpoint: Checkpoint, since: int) -> Newcomers:
    """Pick the rows of a page that started at or after the epoch ``since`` and have not been seen before.

    ``present`` are the ids of all that the page has. With a hot key the disposition can be final before the hang-up
    rewrites the uniqueid: such a call went out under its former id, whose row is gone, and must not go twice.
    """
    unknown = [row for row in rows if row.start_epoch >= since and not checkpoint.knows(row.uniqueid)]
    rewritten = _rewritten_after_dealt_with(unknown, present, checkpoint)
    dealt_with = set(rewritten.values())
    return Newcomers([row for row in unknown if row not in dealt_with], rewritten)


def _rewritten_after_dealt_with(
    unknown: Collection[Sighting], present: Collection[str], checkpoint: Checkpoint
) -> dict[str, Sighting]:
    """Find the unknown rows whose calls were dealt with under an id that is not ``present`` any more; by that id.

    A vanished call excuses one row, of the same stem, lead and start.
    """
    if not unknown:
        return {}
    vanished: dict[tuple[str, int | None, int], list[str]] = {}
    for dealt_with in (checkpoint.delivered, checkpoint.rejected):
        for uniqueid, dealt in dealt_with.items():
            if uniqueid not in present:
                vanished.setdefault((stem(uniqueid), dealt.lead_id, dealt.start_epoch), []).append(uniqueid)
    result: dict[str, Sighting] = {}
    for row in unknown:
        formers = vanished.get((stem(row.uniqueid), row.lead_id, row.start_epoch))
        if formers:
            result[formers.pop(0)] = row
    return result


class Followed(NamedTuple):
    """Where the watched calls are now."""

    found: dict[str, Sighting]
    """By the id under which the call was watched; the row may bear another by now."""
    gone: list[str]


def follow(
    watching: Mapping[str, Watched], rows: Iterable[Sighting], relatives: Iterable[Sighting], checkpoint: Checkpoint
) -> Followed:
    """Find each watched call again: by its id in ``rows``, or rewritten among ``relatives``, rows of the same leads.

    VICIdial rewrites a uniqueid behind the dot only. A relative that is known already is another call; so is one that
    was known under a former id, unless it started in the very second of the watched call: better twice than lost.
    """
    present = {row.uniqueid: row for row in rows}
    relatives = list(relatives)
    strangers = [row for row in relatives if not checkpoint.knows(row.uniqueid)]
    here = {row.uniqueid for row in relatives}
    known_formerly = set(_rewritten_after_dealt_with(strangers, here, checkpoint).values())
    result = Followed({}, [])
    for uniqueid, watched in watching.items():
        row = present.get(uniqueid) or _rewritten(uniqueid, watched, strangers, known_formerly)
        if row is None:
            result.gone.append(uniqueid)
            continue
        result.found[uniqueid] = row
        if row in strangers:
            strangers.remove(row)
    return result


def _rewritten(
    uniqueid: str, watched: Watched, strangers: Iterable[Sighting], known_formerly: Collection[Sighting]
) -> Sighting | None:
    candidates = [
        row
        for row in strangers
        if row.lead_id == watched.lead_id
        and stem(row.uniqueid) == stem(uniqueid)
        and (row not in known_formerly or row.start_epoch == watched.start_epoch)
    ]
    return min(candidates, key=lambda row: abs(row.start_epoch - watched.start_epoch), default=None)
