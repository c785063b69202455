"""``vicisync check``: everything that a run needs, looked at in its order; nothing is changed.

Each module looks at one subject and yields a `Finding` for each thing in it. What is broken in one keeps no other from
being looked at; what cannot be known without it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vicisync.commands.check import api, configuration, database, schedule, state
from vicisync.commands.check.finding import Finding, Severity, line_of, warning, worst
from vicisync.errors import ConfigError
from vicisync.report import counted
from vicisync.settings.settings import load_settings


def check(
    astguiclient_conf: Path | None,
    dids_conf: Path | None,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    root: Path = Path("/"),
) -> int:
    """Look at everything and ``say`` a line for each finding, as it is found; return the exit code of the worst.

    The files are found as `load_settings` finds them; cron's and logrotate's lie below ``root``.
    """
    found = []
    for heading, findings in _subjects(astguiclient_conf, dids_conf, environ, root):
        say(f"{heading}:")
        for finding in findings:
            found.append(finding)
            say(line_of(finding))
        say("")
    say(_summary(found))
    return worst(found)


def _subjects(
    astguiclient_conf: Path | None, dids_conf: Path | None, environ: Mapping[str, str], root: Path
) -> Iterator[tuple[str, Iterator[Finding]]]:
    """Return the subjects in the order in which a run meets them."""
    yield "Configuration files", configuration.files(astguiclient_conf, dids_conf, environ)
    try:
        settings = load_settings(astguiclient_conf, dids_conf, environ)
    except ConfigError as error:
        yield "Settings", configuration.mistakes(error)
        left_out = "Checkpoint, database and API were not looked at; they need these settings"
        yield "The rest", iter([warning(left_out, "mend the settings, then vicisync check")])
    else:
        yield "Settings", configuration.values(settings)
        yield "Checkpoint", state.findings(settings)
        yield "Database", database.findings(settings)
        yield "API", api.findings(settings)
    yield "Cron and logrotate", schedule.findings(root)


def _summary(found: list[Finding]) -> str:
    broken = sum(finding.severity is Severity.BROKEN for finding in found)
    warnings = sum(finding.severity is Severity.WARNING for finding in found)
    and_warnings = f", {counted(warnings, 'warning')}" if warnings else ""
    if broken:
        return f"❌ {counted(broken, 'thing')} to mend{and_warnings}"
    if warnings:
        return f"✅ All that a run needs is there{and_warnings}"
    return "✅ All is well"
