"""What DID Optimizer calls the end of a call, given what VICIdial calls it."""

from __future__ import annotations

from collections.abc import Mapping

RESULTS: Mapping[str, str] = {
    "SALE": "answered",
    "A": "answered",
    "DNC": "dnc",
    "B": "dnc",
    "NA": "no_answer",
    "NO": "no_answer",
    "BUSY": "busy",
    "DROP": "dropped",
    "AMD": "dropped",
}
"""VICIdial status to DID Optimizer result: the table of DID Optimizer's setup guide.

It is not VICIdial's own vocabulary, in which A is Answering Machine and B is Busy; ``[dispositions]``
in dids.conf overrides it status by status.
"""

OTHER = "completed"
"""The result of every status that is in neither table."""

KNOWN_RESULTS: tuple[str, ...] = (*dict.fromkeys(RESULTS.values()), OTHER)
"""Every result that DID Optimizer knows, each once."""


def result_of(status: str | None, overrides: Mapping[str, str]) -> str:
    """Return the result for a status as ``vicidial_log`` holds it; ``overrides`` win over `RESULTS`.

    Statuses are compared as MariaDB compares them: case and trailing blanks aside.
    """
    table = {**RESULTS, **{name.upper(): result for name, result in overrides.items()}}
    return table.get((status or "").rstrip(" ").upper(), OTHER)
