"""Who is still on the line: VICIdial's two tables of what goes on now, which say whether a call is over.

A row looks final too early in many lives of a call; each time one of these tables names its lead (tried on VICIdial
2.14). They are small, and asked only about leads whose calls could go.
"""

from collections.abc import Collection

from vicisync.errors import DatabaseError
from vicisync.vicidial import statements
from vicisync.vicidial.call_log import CallLog
from vicisync.vicidial.errors import lacks_table


def live_leads(call_log: CallLog, leads: Collection[int]) -> dict[int, str] | None:
    """Return which of these leads are live, with the agent who has each ("" for none); None where nobody can tell.

    Raises DatabaseError.
    """
    if why_not_believed(call_log):
        return None
    wanted = sorted({*leads} - {0})  # an agent without a lead has 0
    asked = statements.LEADS_ON_THE_LINE, statements.LEADS_BEFORE_AGENTS
    return {lead: agent for sql in asked for lead, agent in call_log.read_in_parts(sql, wanted)}


def why_not_believed(call_log: CallLog) -> str:
    """Return why the tables cannot be believed now, "" where they can; raises DatabaseError."""
    try:
        agents, with_heartbeat, calls = call_log.read(statements.LIVE_TABLES)[0]
    except DatabaseError as error:
        if not lacks_table(error):
            raise
        return "they cannot be read"
    if agents and not with_heartbeat:
        return "no agent in vicidial_live_agents has a heartbeat"
    # A restarted database empties a MEMORY table while calls are up; some replicas leave both tables out.
    if not agents and not calls and call_log.read(statements.ROWS_OF_CALLS_THAT_ARE_UP)[0][0]:
        return "both are empty, while vicidial_log has calls that are up"
    return ""
