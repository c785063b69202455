"""``vicisync reset-checkpoint``: move the checkpoint to another time."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from vicisync.calls.times import parse_when, zoned
from vicisync.errors import CURE, AlreadyRunning, CheckpointError, ConfigError
from vicisync.report import counted, signed
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint, Damaged, starting_at
from vicisync.state.journal import Journal
from vicisync.state.last_run import last_good_run
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import locked
from vicisync.state.store import Store


def reset(
    settings: Settings, to: str | None, say: Callable[[str], None], ask: Callable[[], bool] | None, *, yes: bool
) -> bool:
    """Save a checkpoint from which on the next run delivers what ended after ``to``; return whether that was done.

    ``to`` is for `parse_when`; None: an hour ago, or where an outage began before that, see `_begin`. Unless ``yes``
    was said beforehand, ``ask`` decides after ``say`` has told what changes, while runs go on; None: nobody can be
    asked. Raises ConfigError, also then, AlreadyRunning where the checkpoint has changed meanwhile, CheckpointError.
    """
    now = int(time.time())
    try:
        epoch = parse_when("1h" if to is None else to, now)
    except ValueError as error:
        raise ConfigError([f"--to: {error}"]) from error
    if epoch > now:
        raise ConfigError([f"--to: {zoned(epoch)} lies ahead, and calls that end before then would never be sent"])
    with ExitStack() as stack:
        if yes:
            stack.enter_context(locked(settings.checkpoint_file))
        old, was = _old(settings)
        if to is None:
            epoch = min(epoch, _begin(settings, old, now))
        say(f"Old checkpoint: {was}")
        say(f"New checkpoint: {zoned(epoch)}; what ended after that will be sent, or sent again")
        for line in signed((old and _left_out(old, epoch)) or "", "⚠"):
            say(line)
        if not yes:
            cure = f"{CURE}vicisync reset-checkpoint --to '{zoned(epoch)}'"
            if not ask:
                why = "No terminal, so nobody can be asked, and nothing was changed"
                raise ConfigError([f"{why}; if that is what you want, add --yes{cure} --yes"])
            if not ask():
                return False
            stack.enter_context(locked(settings.checkpoint_file))
            if _old(settings) != (old, was):
                why = "A run has moved the checkpoint since you were asked, and nothing was changed"
                raise AlreadyRunning(f"{why}{cure}")
        problem = _replace(settings, old, epoch, is_lost=to is None and not _is_sound(old, now))
    for line in signed(problem, "⚠"):
        say(line)
    say(f"💾 Saved checkpoint: {zoned(epoch)}")
    return True


def _replace(settings: Settings, old: Checkpoint | None, epoch: int, *, is_lost: bool) -> str:
    """Save the new checkpoint; return what the journal could not be told of that, with its cure."""
    journal = Journal(settings.journal_file, settings.journal_days, old)
    new = starting_at(epoch, settings.give_up_after)
    if old:
        journal.write(last=True)  # what a killed run left to it
        # What is kept of them may be all that there is: their rows may be gone.
        new.watching = {uniqueid: each for uniqueid, each in old.watching.items() if each.payload}
    with Store(new, settings.checkpoint_file, settings.rejected_file) as store:
        store.save()
    if is_lost:
        journal = Journal(settings.journal_file, settings.journal_days, new)
        journal.carry_on()
    return journal.problem


def _begin(settings: Settings, old: Checkpoint | None, now: int) -> int:
    """Return the epoch up to which all has been delivered, as far as anything sound that is left tells."""
    return old.all_sent_until() if old and _is_sound(old, now) else last_good_run(settings.checkpoint_file) or now


def _is_sound(old: Checkpoint | None, now: int) -> bool:
    return old is not None and old.end_epoch <= now


def _old(settings: Settings) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint that will be replaced, None where none can be read, and what it is, in words."""
    try:
        old = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
    except CheckpointError as error:
        if not isinstance(error.__cause__, Damaged):
            raise  # no checkpoint stands in the file's place, and none could be put there
        return None, f"damaged: {error.__cause__}"
    return old, f"{zoned(old.end_epoch)}, {counted(len(old.watching), 'call')} watched" if old else "none yet"


def _left_out(old: Checkpoint, epoch: int) -> str | None:
    """Return what a reset to ``epoch`` would never send, and how to send it; None where it only goes back."""
    if epoch <= (sent := old.all_sent_until()):
        return None
    text = f"Calls that ended before {zoned(epoch)} and were not delivered would never be sent"
    return f"{text}{CURE}to send them: vicisync reset-checkpoint --to '{zoned(sent)}'"
