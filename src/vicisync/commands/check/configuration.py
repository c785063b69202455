"""The configuration files and what stands in them: found, readable, nobody else's to read or write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from vicisync.commands.check.finding import Finding, broken, fine, warning
from vicisync.errors import ConfigError
from vicisync.settings.security import security_warnings
from vicisync.settings.settings import ASTGUICLIENT_CONF, DIDS_CONF, SETTINGS, Settings

_SECRET = ("db_password", "api_key")


def files(astguiclient_conf: Path | None, dids_conf: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check both files: whether they are there, and who else may read or write them.

    One that cannot be read, or is named and does not exist, is told by `mistakes`.
    """
    vicidial = Path(astguiclient_conf or environ.get("VICISYNC_ASTGUICLIENT_CONF") or ASTGUICLIENT_CONF)
    if (mode := _mode(vicidial)) is None:
        if vicidial == ASTGUICLIENT_CONF:
            yield fine(f"{vicidial} does not exist: db_* of dids.conf count, or their defaults")
    elif mode & 0o022:  # being read by all is VICIdial's own way: its web pages log in with this file
        yield warning(f"{vicidial} can be written to by others (mode {mode:04o})", f"chmod go-w {vicidial}")
    else:
        yield fine(f"{vicidial} is there, mode {mode:04o}")

    dids = Path(dids_conf or environ.get("VICISYNC_DIDS_CONF") or DIDS_CONF)
    if (mode := _mode(dids)) is None:
        if dids == DIDS_CONF:
            cure = f"install -m 600 /dev/null {dids}, and write api_key=YOUR_KEY into it"
            yield warning(f"{dids} does not exist", cure)
    elif mode & 0o027:
        what = "read" if mode & 0o007 else "written to"
        yield warning(f"{dids} holds the key, and can be {what} by others (mode {mode:04o})", f"chmod 600 {dids}")
    else:
        yield fine(f"{dids} is there, mode {mode:04o}")


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def mistakes(error: ConfigError) -> Iterator[Finding]:
    """Return every mistake of a configuration that cannot be used; each says its own cure."""
    for mistake in error.mistakes:
        yield broken(error.exit_code, mistake.rstrip("."))


def values(settings: Settings) -> Iterator[Finding]:
    """Show every setting's value and where it was found, then what about them is unwise."""
    rows = [(setting.key, _shown(settings, setting.name), settings.sources[setting.name]) for setting in SETTINGS]
    overrides = " ".join(f"{status}={result}" for status, result in sorted(settings.dispositions.items()))
    rows.append(("[dispositions]", overrides or "none", "dids.conf" if overrides else "default"))
    wide = max(len(key) for key, _, _ in rows)
    widest = min(60, max(len(shown) for _, shown, _ in rows))
    for key, shown, where in rows:
        yield fine(f"{key:<{wide}}  {shown:<{widest}}  {where}")
    yield from _unwise(settings)


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if name in _SECRET:
        return "(not shown)" if value else "(empty)"
    if name == "ping_url" and value:  # the rest of it is as good as a password
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc}/…"
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return " ".join(sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unwise(settings: Settings) -> Iterator[Finding]:
    from_environment = [
        setting.key for setting in SETTINGS if settings.sources[setting.name].startswith("environment ")
    ]
    if from_environment:
        yield warning(
            f"{', '.join(from_environment)} from the environment of this shell, which cron's jobs do not have",
            "write them into the configuration file, or unset the variables",
        )
    for security_warning in security_warnings(settings):
        text, _, cure = security_warning.partition("; ")
        yield warning(text, cure)
    if settings.metrics_file:
        yield from _metrics(settings.metrics_file)


def _metrics(file: Path) -> Iterator[Finding]:
    folder = file.parent
    if not folder.is_dir():
        yield warning(f"metrics_file lies in {folder}, which does not exist", f"mkdir -p {folder}")
    elif not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        yield warning(f"metrics_file lies in {folder}, which cannot be written to", f"chown root {folder}")
