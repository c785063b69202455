"""``vicisync check``: everything that a run needs, in the order in which it needs it; nothing is changed.

Each module checks one subject and yields a `Finding` for each thing in it. What is broken in one keeps no other from
being checked; what cannot be known without it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vicisync.commands.check import api, configuration, database, schedule, state
from vicisync.commands.check.finding import Finding, Severity, warning, worst
from vicisync.errors import ConfigError
from vicisync.report import counted
from vicisync.settings.settings import load_settings


def check(
    astguiclient_conf: Path | None,
    dids_conf: Path | None,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    root: Path = Path("/"),
) -> int:
    """Check everything and ``tell`` a line for each finding, as it is found; return the exit code of the worst.

    The files are found as `load_settings` finds them; cron's and logrotate's lie below ``root``.
    """
    found = []
    for heading, findings in _subjects(astguiclient_conf, dids_conf, environ, root):
        tell(f"{heading}:")
        for finding in findings:
            found.append(finding)
            tell(str(finding))
        tell("")
    tell(_summary(found))
    return worst(found)


def _subjects(
    astguiclient_conf: Path | None, dids_conf: Path | None, environ: Mapping[str, str], root: Path
) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "Configuration files", configuration.files(astguiclient_conf, dids_conf, environ)
    try:
        settings = load_settings(astguiclient_conf, dids_conf, environ)
    except ConfigError as error:
        yield "Settings", configuration.mistakes(error)
        left_out = "Checkpoint, database and API were not checked; they need these settings"
        yield "The rest", iter([warning(left_out, "fix the settings, then vicisync check")])
    else:
        yield "Settings", configuration.values(settings)
        yield "Checkpoint", state.findings(settings)
        yield "Database", database.findings(settings)
        yield "API", api.findings(settings)
    yield "Cron and logrotate", schedule.findings(root)


def _summary(found: list[Finding]) -> str:
    severities = [finding.severity for finding in found]
    problems, warnings = severities.count(Severity.BROKEN), severities.count(Severity.WARNING)
    and_warnings = f", {counted(warnings, 'warning')}" if warnings else ""
    if problems:
        return f"❌ {counted(problems, 'problem')} to fix{and_warnings}"
    return f"✅ All that a run needs is there{and_warnings}" if warnings else "✅ All is well"
