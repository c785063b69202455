"""What a run goes by beside vicidial_log: live tables, archive, and whether the database shows what there is."""

from collections.abc import Iterator

from vicisync.calls.clocks import CLOCK_TOLERANCE
from vicisync.commands.check.finding import Finding, fine, warning
from vicisync.errors import CURE, DatabaseError
from vicisync.report import counted
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.errors import lacks_grant
from vicisync.vicidial.live_calls import why_not_believed

_REPLICA = "SHOW SLAVE STATUS"
_CLOCKS = "SELECT server_ip, TIMESTAMPDIFF(SECOND, last_update, db_time) FROM server_updater ORDER BY server_ip"
"""When each dialer last wrote its own time, and the database's time at that (VICIdial's ADMIN_keepalive_ALL.pl)."""


def findings(call_log: CallLog, database: str, account: str, overlap: int) -> Iterator[Finding]:
    """Check it, where the account may look; what it may not read is named with the GRANT. Raises DatabaseError."""

    def grant(*tables: str) -> str:
        return "as the database's root: " + " ".join(f"GRANT SELECT ON {database}.{t} TO {account};" for t in tables)

    live = "vicidial_live_agents", "vicidial_auto_calls"
    if why := why_not_believed(call_log):
        text = f"The row alone says whether a call is over, since of {' and '.join(live)} {why}"
        yield warning(f"{text}; leftovers of a closed browser wait 15 minutes", grant(*live) if "read" in why else "")
    else:
        yield fine(f"Who is still on the line can be read: {', '.join(live)}")
    text = "Rows that VICIdial archives before a run has seen them are not found"
    if not (lack := call_log.archive_lacks):
        yield fine("Rows that VICIdial has archived can be read: vicidial_log_archive")
    elif lacks_grant(lack):
        yield warning(text, grant("vicidial_log_archive"))
    else:
        make = f"with none there: CREATE TABLE {database}.vicidial_log_archive LIKE {database}.vicidial_log;"
        yield warning(f"{text}: {str(lack).split(CURE)[0]}", f"give it the indexes of vicidial_log; or, {make}")
    yield from _replica(call_log)
    yield from _dialers(call_log, overlap)


def _replica(call_log: CallLog) -> Iterator[Finding]:
    try:
        found = call_log.named(_REPLICA)
    except DatabaseError:  # it takes a privilege of its own, which an account for reading seldom has
        return
    for source in found:
        behind = source["Seconds_Behind_Master"]
        if behind is None:
            text = "This database is a replica that stands still; calls go when it goes on"
            yield warning(text, "look there for its error, then: START SLAVE;")
        elif behind > 60:
            yield warning(f"This database is a replica, {behind} s behind; calls go so much later")
        else:
            yield fine(f"This database is a replica, {behind} s behind")


def _dialers(call_log: CallLog, overlap: int) -> Iterator[Finding]:
    try:
        apart = {server: behind for server, behind in call_log.read(_CLOCKS) if behind is not None}
    except DatabaseError:  # not granted; what a run needs is there all the same
        return
    for server, behind in apart.items():
        if abs(behind) > CLOCK_TOLERANCE:
            found = " by more than the overlap: runs do not find its calls" if behind > overlap else ""
            side = f"{behind} s behind" if behind > 0 else f"{-behind} s ahead of"
            text = f"The clock of dialer {server} is {side} the database's{found}"
            yield warning(text, "on it: timedatectl set-ntp true")
    if apart and not any(abs(behind) > CLOCK_TOLERANCE for behind in apart.values()):
        yield fine(f"The clocks of {counted(len(apart), 'dialer')} agree with the database's")
