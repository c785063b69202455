"""``vicisync check``: all that a run needs, in the order in which it needs it. Nothing is changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from vicisync.commands.check import api, configuration, database, schedule, state
from vicisync.commands.check.finding import Finding, finding_of, warning
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
    """Tell each finding as it is found; return the lowest exit code, which a run would meet first."""
    found: list[Finding] = []
    for heading, findings in _subjects(astguiclient_conf, dids_conf, environ, root):
        tell(f"{heading}:")
        for finding in findings:
            found.append(finding)
            for line in str(finding).split("\n"):
                tell(line)
        tell("")
    codes = [finding.exit_code for finding in found if finding.exit_code]
    warnings = sum(finding.sign == "⚠" for finding in found)
    summary = f"❌ {counted(len(codes), 'problem')} to fix" if codes else "✅ All that a run needs is there"
    tell(f"{summary}, {counted(warnings, 'warning')}" if warnings else summary if codes else "✅ All is well")
    return min(codes, default=0)


def _subjects(
    astguiclient_conf: Path | None, dids_conf: Path | None, environ: Mapping[str, str], root: Path
) -> Iterator[tuple[str, Iterable[Finding]]]:
    yield "Configuration files", configuration.files(astguiclient_conf, dids_conf)
    try:
        settings = load_settings(astguiclient_conf, dids_conf, environ)
    except ConfigError as error:
        yield "Settings", [finding_of(ConfigError([mistake.rstrip(".")])) for mistake in error.mistakes]
        left_out = "Checkpoint, database and API were not checked; they need these settings"
        yield "The rest", [warning(left_out, "fix the settings, then vicisync check")]
    else:
        yield "Settings", configuration.values(settings)
        yield "Checkpoint", state.findings(settings)
        yield "Database", database.findings(settings)
        yield "API", api.findings(settings)
    yield "Cron and logrotate", schedule.findings(root)
