"""The configuration files and what stands in them: found, and nobody else's to read or write."""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from vicisync.commands.check.finding import Finding, fine, warning
from vicisync.commands.check.state import may_write
from vicisync.errors import ConfigError
from vicisync.settings.files import owner_cure, read_astguiclient, read_dids
from vicisync.settings.settings import ASTGUICLIENT_CONF, DIDS_CONF, SETTINGS, Settings


def files(astguiclient_conf: Path | None, dids_conf: Path | None) -> Iterator[Finding]:
    """Check who else may read or write the two files; what `load_settings` raises of them is not told here."""
    for named, standard in ((astguiclient_conf, ASTGUICLIENT_CONF), (dids_conf, DIDS_CONF)):
        path = named or standard
        status = path.stat() if os.path.exists(path) else None  # noqa: PTH110 -- raises nothing
        mode, name = status.st_mode if status else 0, quote(str(path))
        shown = f"mode {stat.S_IMODE(mode):04o}"
        decide = f", who so decide on {', '.join(_POWERS[standard])}" if mode & 0o022 else ""
        if status and status.st_uid not in (0, os.geteuid()):
            whose = f"{path} belongs to account {_name_of(status.st_uid)}, who so decides what is read and written here"
            yield warning(f"{whose}: {', '.join(_POWERS[standard])}", owner_cure(path, status))
        if standard == DIDS_CONF and mode & 0o027:
            what = "written to" if mode & 0o022 else "read"
            yield warning(f"{path} holds the key, and can be {what} by others ({shown}){decide}", f"chmod 600 {name}")
        elif mode & 0o022:  # being read by all is VICIdial's own way: its web pages log in with this file
            yield warning(f"{path} can be written to by others ({shown}){decide}", f"chmod go-w {name}")
        elif mode:
            yield fine(f"{path} is there, {shown}")
        elif not named and standard == DIDS_CONF:
            yield warning(f"{path} does not exist", f"install -D -m 600 /dev/null {name}")
        elif not named:
            yield fine(f"{path} does not exist: db_* of dids.conf count, or their defaults")
    with suppress(ConfigError, FileNotFoundError):
        if not read_astguiclient(path := astguiclient_conf or ASTGUICLIENT_CONF):
            text = f"{path} holds no VARDB_ line, so that the defaults count"
            yield warning(text, "write VARDB_server, _database, _user, _pass and _port into it, as VICIdial does")
    yield from _unread(dids_conf or DIDS_CONF)


_POWERS = {
    ASTGUICLIENT_CONF: ["the database"],
    DIDS_CONF: [each.key for each in SETTINGS if each.key.endswith("_file") or each.key in ("api_base_url", "api_key")],
}
"""What the owner of a file can change by it."""


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _unread(dids_conf: Path) -> Iterator[Finding]:
    """Tell what of ours stands in the wrong section, and of DID Optimizer's template what is read by nobody."""
    try:
        general, ours = read_dids(dids_conf)[:2]
    except (ConfigError, FileNotFoundError):
        return
    for key in (each.key for each in SETTINGS if each.section == "vicisync" and each.key not in ours):
        if (found := general.get(key)) and found.value:
            text = f"{found.where}: {key} is a setting of [vicisync], and does not count where it stands"
            yield warning(text, "move it below a line [vicisync]")
    for key in ("notification_email", "alert_on_api_failure"):
        if (found := general.get(key)) and found.value and "alert_command" not in ours:
            address = general["notification_email"].value.split()[0] if "notification_email" in general else "root"
            text = f"{found.where}: {key} is read by nobody, neither here nor in DID Optimizer's own scripts"
            yield warning(text, f"write under [vicisync]: alert_command=mail -s vicisync {address}")
            return


def values(settings: Settings) -> Iterator[Finding]:
    """Show every setting's value and where it was found, then what about them is unwise."""
    sources = settings.sources
    rows = [(each.key, _shown(each.name, getattr(settings, each.name)), sources[each.name]) for each in SETTINGS]
    overrides = " ".join(f"{status}={result}" for status, result in sorted(settings.dispositions.items()))
    rows.append(("[dispositions]", overrides or "none", "dids.conf" if overrides else "default"))
    wide = max(len(key) for key, _, _ in rows)
    widest = min(60, max(len(shown) for _, shown, _ in rows))
    for key, shown, where in rows:
        yield fine(f"{key:<{wide}}  {shown:<{widest}}  {where}")

    if lost := ", ".join(key for key, _, where in rows if where.startswith("environment ")):
        text = f"{lost} from the environment of this shell, which cron's jobs do not have"
        yield warning(text, "write them into the configuration file, or unset the variables")
    for security_warning in settings.security_warnings():
        text, _, cure = security_warning.partition("; ")
        yield warning(text, cure)
    folder = settings.metrics_file.parent if settings.metrics_file else None
    if folder and not may_write(folder):
        what, cure = ("cannot be written to", "chown root") if folder.is_dir() else ("does not exist", "mkdir -p")
        yield warning(f"metrics_file lies in {folder}, which {what}", f"{cure} {quote(str(folder))}")


def _shown(name: str, value: object) -> str:
    if name in ("db_password", "api_key"):
        return "(not shown)" if value else "(empty)"
    if name == "alert_command" and value:  # its arguments can hold a password
        return f"{str(value).split()[0]} …"
    if name == "ping_url" and value:  # the rest of it is as good as a password
        parts = urlsplit(str(value))
        return f"{parts.scheme}://{parts.netloc}/…"
    if name == "campaigns" and not value:
        return "(all)"
    if value is None or isinstance(value, bool):
        return {None: "(none)", True: "yes", False: "no"}[value]
    if isinstance(value, frozenset):
        return " ".join(sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
