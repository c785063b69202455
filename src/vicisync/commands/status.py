"""How things stand: what `vicisync status` tells people, monitoring systems and programs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from vicisync.calls.readiness import FAILED, TO_SEND, UNANSWERED
from vicisync.calls.times import ago, parse_duration, since, zoned
from vicisync.commands.cron import START_CRON, daemon_lives
from vicisync.errors import CURE, DatabaseError, VicisyncError
from vicisync.report import MANY, REASONS, counted, signed
from vicisync.settings.settings import Settings
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.last_run import LastRun, last_run_file, read_last_run
from vicisync.state.load import read_checkpoint
from vicisync.state.lock import UNKNOWN_HOLDER, lock_holder
from vicisync.state.rejected import read_rejected
from vicisync.sync.outlook import Backlog, backlog
from vicisync.vicidial.call_log import CallLog

PLUGIN = "VICISYNC"  # what the line of a monitoring plugin begins with
LATE = 300  # seconds of lag, or since the last run, that are not as they should be


@dataclass(frozen=True)
class Status:
    """Everything known without a run."""

    settings: Settings
    now: int  # this machine's epoch
    checkpoint: Checkpoint | None  # None before the first run
    backlog: Backlog | None  # None where the database could not be asked, or there is no checkpoint
    database_error: str | None
    rejected: int  # calls in the rejected file
    running: str | None  # who holds the lock, and since when
    last_run: LastRun | None

    @property
    def lag(self) -> int | None:
        """How long the oldest deliverable call has been waiting, in seconds; without the database at most so long."""
        return self.backlog.lag if self.backlog else self.checkpoint.lag(self.now) if self.checkpoint else None

    @property
    def waiting(self) -> Counter[str]:
        """Watched calls by the checkpoint's reason."""
        watching = self.checkpoint.watching if self.checkpoint else {}
        return Counter(FAILED if call.reason == UNANSWERED else call.reason for call in watching.values())

    @property
    def could_go(self) -> int:
        """Calls that could go now and have not gone."""
        return self.backlog.calls if self.backlog else self.waiting[TO_SEND] + self.waiting[FAILED]

    def is_behind(self, max_lag: int | None) -> bool:
        """Return whether calls are late by more than ``max_lag`` seconds, or no run has ever been."""
        return max_lag is not None and (self.lag is None or self.lag > max_lag)

    def is_started(self) -> bool:
        """Return whether runs go on being begun: there was one lately, or cron is at work."""
        return self.last_run is None or abs(self.now - self.last_run.ended) <= LATE or daemon_lives()


def status_of(settings: Settings) -> Status:
    """Gather it, from files and, where it answers, the database; raises CheckpointError where a file is no good."""
    checkpoint = read_checkpoint(settings.checkpoint_file, settings.give_up_after)
    now = int(time.time())
    found = database_error = None
    if checkpoint:
        try:
            with CallLog(settings) as call_log:
                found = backlog(settings, call_log, checkpoint, now)
        except DatabaseError as error:
            database_error = str(error)
    rejected = len(read_rejected(settings.rejected_file).calls)
    running = lock_holder(settings.checkpoint_file)
    last_run = read_last_run(last_run_file(settings.checkpoint_file))
    return Status(settings, now, checkpoint, found, database_error, rejected, running, last_run)


def as_json(status: Status, max_lag: int | None) -> dict[str, object]:
    """Return it in the stable shape that docs/json.md describes; epochs and seconds, null where nothing is known."""
    epochs = ("end_epoch", "ended_after", "looked_until")
    return {
        "now": status.now,
        "behind": None if max_lag is None else status.is_behind(max_lag),
        "lag_seconds": status.lag,
        "lag_is_estimated": status.backlog is None,
        "checkpoint": status.checkpoint and {name: getattr(status.checkpoint, name) for name in epochs},
        "backlog": {
            "calls": None if status.database_error else status.could_go,
            "rows_behind": status.backlog and status.backlog.rows_behind,
        },
        "waiting": {reason: status.waiting[reason] for reason in REASONS},
        "rejected": status.rejected,
        "running": status.running,
        "last_run": status.last_run and asdict(status.last_run),
        "database_error": status.database_error,
    }


def plugin(load: Callable[[], Settings], warning: str | None, critical: str | None) -> tuple[int, str]:
    """Return the exit code and the line of a monitoring plugin, whatever is wrong; times as they were typed, or not."""
    try:
        warns, worse = parse_duration(warning or "5m"), parse_duration(critical or "15m")
        if warns > worse:
            raise ValueError(f"--warning {warning or '5m'} must not be above --critical {critical or '15m'}")
        return as_plugin(status_of(load()), warns, worse)
    except (ValueError, VicisyncError) as error:
        return unknown(str(error))


def unknown(message: str) -> tuple[int, str]:
    """Return the exit code and the line of a monitoring plugin that cannot tell, and why."""
    return 3, f"{PLUGIN} UNKNOWN - {_one_line(message)}"


def _one_line(text: str) -> str:
    """Return text that stands before the numbers of a plugin's line."""
    return " ".join(text.split()).replace("|", "/")


def as_plugin(status: Status, warning: int, critical: int) -> tuple[int, str]:
    """Return the exit code and the one line of a monitoring plugin (Nagios, Icinga); lags allowed in seconds."""
    last, lag = status.last_run, status.lag
    age = abs(status.now - last.last_success) if last and last.last_success else None  # where a clock went back, too
    late = [each for each in (lag, age) if each is not None]
    said = f": {last.error.partition(CURE)[0]}" if last and last.error else ""
    states = {
        f"no run has ended well for {ago(age)}" if age else "no run has ended well yet": age is None or age > warning,
        f"calls are {ago(lag or 0)} late": (lag or 0) > warning,
        "the database cannot be asked": status.database_error is not None,
        f"the last run ended with exit code {last.exit_code}{said}" if last else "": bool(last and last.exit_code),
        f"{counted(status.rejected, 'call')} rejected": status.rejected > 0,
    }
    wrong = [words for words, is_so in states.items() if is_so]
    code = 2 if not late or max(late) > critical else 1 if wrong else 0
    told = "; ".join(wrong) or f"lag {ago(lag or 0)}, last run {ago(age or 0)} ago"
    numbers = {
        "lag": f"{'U' if lag is None else lag}s;{warning};{critical};0",
        "last_success": f"{'U' if age is None else age}s;{warning};{critical};0",
        "backlog": f"{status.could_go};;;0",
        "waiting": f"{sum(status.waiting.values())};;;0",
        "rejected": f"{status.rejected};;;0",
    }
    performance = " ".join(f"{name}={number}" for name, number in numbers.items())
    return code, f"{PLUGIN} {('OK', 'WARNING', 'CRITICAL')[code]} - {_one_line(told)} | {performance}"


def as_lines(status: Status, max_lag: int | None) -> Iterator[str]:
    """Tell it to a person, a fact a line, the sign in front as in a run's log."""
    if status.database_error:
        wrong, *cures = status.database_error.split("\n")
        yield f"⚠ {wrong}; what follows is from files alone"
        yield from (f"   {cure}" for cure in cures)
    if status.checkpoint is None:
        yield f"⚠ No checkpoint yet in {status.settings.checkpoint_file}: the first run makes it"
    else:
        yield f"📅 Checkpoint: {_place(status.checkpoint)}"
        at_most = "" if status.backlog else " at most"
        allowed = f", {max_lag} s allowed" if max_lag is not None else ""
        lag = status.lag or 0
        is_doubtful = not status.backlog or (lag > LATE and max_lag is None)
        sign = "❌" if status.is_behind(max_lag) else "⚠" if is_doubtful else "✅"
        hours = f"{ago(lag)} ({lag} s)" if lag >= 7200 else f"{lag} s"
        yield f"{sign} Lag: {hours}{at_most}{allowed}"
        rows = status.backlog.rows_behind if status.backlog else 0
        more = f", and {f'more than {MANY}' if rows > MANY else f'about {rows}'} rows more to look at" if rows else ""
        unknown = "" if status.backlog else "unknown; of those watched, "
        yield f"📞 Backlog: {unknown}{counted(status.could_go, 'call')}{more}"
        waiting = [f"{status.waiting[reason]} {words}" for reason, words in REASONS.items() if status.waiting[reason]]
        yield f"⏳ Waiting: {', '.join(waiting) or 'none'}"
    cure = f"fix what {status.settings.rejected_file} says, then: vicisync retry-rejected"
    yield f"⚠ Rejected: {counted(status.rejected, 'call')}; {cure}" if status.rejected else "✅ Rejected: none"
    if status.running:
        yield f"{'⚠ Lock' if status.running == UNKNOWN_HOLDER else '🚀 A run is at work'}: {status.running}"
    yield from _of_last_run(status.last_run, status.now)
    if not status.is_started():
        yield "❌ Cron: no daemon is at work, so nothing starts vicisync"
        yield f"   → {START_CRON}"


def _place(checkpoint: Checkpoint) -> str:
    """Return how far it has come; after a reset, or a first run that could send nothing, nothing has been delivered."""
    until = max(checkpoint.looked_until, checkpoint.polled)
    looked_until = f"looked until {zoned(until)}"
    if checkpoint.end_epoch > checkpoint.ended_after:
        return f"{zoned(checkpoint.end_epoch)}, the newest end delivered; {looked_until}"
    begin = f"nothing delivered yet of what ended after {zoned(checkpoint.ended_after)}"
    return f"{begin}; {looked_until}" if until >= checkpoint.ended_after else begin


def _of_last_run(last: LastRun | None, now: int) -> Iterator[str]:
    if last is None:
        yield "⚠ Last run: none is known"
        return
    sign = "❌" if last.exit_code else "⚠" if abs(now - last.ended) > LATE else "✅"
    when = f"{zoned(last.ended)}, {since(last.ended, now)}"
    numbers = f"{last.delivered} processed, {last.failed} failed in {last.seconds:.2f}s"
    if last.perhaps_twice:
        numbers += f", {last.perhaps_twice} may have been stored twice (their answers were lost)"
    yield f"{sign} Last run: {when}: exit code {last.exit_code}, {numbers}"
    yield from signed(last.error or "")
    if last.last_success is None:
        yield "❌ Last success: none yet"
    elif last.last_success != last.ended:
        yield f"⚠ Last success: {zoned(last.last_success)}, {since(last.last_success, now)}"
