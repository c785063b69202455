"""What DID Optimizer calls the end of a call, given what VICIdial calls it."""

from collections.abc import Mapping

_BY_RESULT = {"answered": "SALE A", "dnc": "DNC B", "no_answer": "NA NO", "busy": "BUSY", "dropped": "DROP AMD"}
RESULTS: Mapping[str, str] = {status: result for result, found in _BY_RESULT.items() for status in found.split()}
"""VICIdial status to DID Optimizer result, by its setup guide; in VICIdial A is Answering Machine, B Busy."""

OTHER = "completed"  # the result of every status that is in neither table
KNOWN_RESULTS: tuple[str, ...] = (*dict.fromkeys(RESULTS.values()), OTHER)  # all that DID Optimizer knows


def result_of(status: str | None, overrides: Mapping[str, str]) -> str:
    """Return the result for a status, compared as MariaDB does; ``overrides`` win over `RESULTS`."""
    table = {**RESULTS, **{folded(name): result for name, result in overrides.items()}}
    return table.get(folded(status or ""), OTHER)


def folded(text: str) -> str:
    """Return a status or a campaign as MariaDB compares it: case and trailing blanks aside."""
    return text.rstrip(" ").upper()
