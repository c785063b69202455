"""``vicisync install``: the cron job, the rotation of its log, the log and the state folder; and ``--uninstall``."""

import os
import shlex
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from vicisync.commands import cron
from vicisync.commands.cron import OLD_SCRIPT, VICISYNC, Lines, Table, lines_that_run, shipped
from vicisync.errors import CURE, InstallError
from vicisync.settings.settings import Settings
from vicisync.state.files import NO_FOLLOW, open_regular

CRON_JOB = Path("/etc/cron.d/vicisync")
ROTATION = Path("/etc/logrotate.d/vicisync")
LOG = Path("/var/log/did-optimizer-sync.log")
_STATE = ("checkpoint_file", "rejected_file", "journal_file", "metrics_file")
Tell = Callable[[str], None]
Do = Callable[[str, object, Callable[[], object]], None]  # does one thing to the machine, by verb and object; tells so


def install(
    checkpoint_file: Path,
    command: Sequence[str],
    configuration_files: Mapping[str, Path],
    tell: Tell,
    *,
    dry_run: bool = False,
    force: bool = False,
    replace_old: bool = False,
) -> None:
    """Have cron call ``command`` every minute, with these options for its files; tell what is done, line by line.

    Files that are there stay, unless ``force`` writes them anew; ``replace_old`` makes comments of lines of cron that
    run the old script. Raises InstallError, also where cron does not run vicisync in the end.
    """
    contents = {ROTATION: shipped("logrotate"), CRON_JOB: cron.cron_job(command, configuration_files)}
    if rotated := [path for path in cron.rotations(LOG) if path != ROTATION]:  # a second one is an error of logrotate's
        tell(f"✓ {rotated[0]} rotates the log")
        del contents[ROTATION]
    state, found = checkpoint_file.parent, list(cron.tables())
    old = lines_that_run(OLD_SCRIPT, found)
    _check_machine(found, tell, dry_run)
    _check_old_script(old, replace_old)
    do = partial(_do, tell, dry_run)
    if state.is_dir():
        tell(f"✓ {state} is there")
    else:
        do("make", f"{state}, mode 0700", partial(_make_folder, state))
    _prepare_log(do, tell)
    for table, lines in old:
        logs = "".join(sorted({f", with its log {log}" for log in lines.values() if log.startswith("/")}))
        what = f"{_places([(table, lines)])}, which runs the old script{logs}"
        do("comment out", what, partial(table.comment_out, lines))
    kept = _write(contents, do, tell, dry_run=dry_run, force=force)
    for sentence in cron.double_reports():
        tell(f"⚠ {sentence}")
        tell(f"   → {cron.NO_DOUBLE_REPORTS}")
    if others := [(table, lines) for table, lines in lines_that_run(VICISYNC, found) if table.path != CRON_JOB]:
        tell(f"⚠ {_places(others)} runs vicisync too: remove it, one is enough")
    if dry_run:
        tell("🔍 Dry run: nothing was changed")
    elif CRON_JOB in kept and not lines_that_run(VICISYNC, cron.tables()):
        why = f"No job of cron runs vicisync, since {CRON_JOB} was kept"
        raise InstallError(f"{why}{CURE}vicisync install --force")
    elif not cron.daemon_lives():
        tell("⚠ Cron is told to run vicisync, but no cron daemon is at work")
        tell(f"   → {cron.START_CRON}")
    else:
        tell(f"✅ Cron runs vicisync; to watch it: tail -f {LOG}")


def uninstall(settings: Settings | None, tell: Tell, *, dry_run: bool = False) -> None:
    """Remove the cron job and the rotation; name state and log, which stay. Settings that are wrong are None.

    Raises InstallError where something cannot be removed, and where cron runs vicisync all the same.
    """
    there = [path for path in (CRON_JOB, ROTATION) if os.path.lexists(path)]
    for path in there:
        _do(tell, dry_run, "remove", path, path.unlink)
    if not there:
        tell(f"✅ Neither {CRON_JOB} nor {ROTATION} is there")
    if settings is None:
        tell("✓ Kept the state, which lies where dids.conf says, by default in /var/lib/vicisync")
    elif state := [file for file in (getattr(settings, name) for name in _STATE) if file and os.path.lexists(file)]:
        names = " ".join(f"{name} {name}.*" for name in map(shlex.quote, map(str, state)))
        tell(f"✓ Kept the state, with the calls that wait or were rejected; to remove it: rm -f {names}")
    if os.path.lexists(LOG):
        tell(f"✓ Kept the log; to remove it: rm -f {LOG}*")
    if dry_run:
        tell("🔍 Dry run: nothing was changed")
    elif left := lines_that_run(VICISYNC, cron.tables()):
        raise InstallError(f"Cron still runs vicisync{CURE}remove {_places(left)}")


def _do(tell: Tell, dry_run: bool, verb: str, what: object, act: Callable[[], object]) -> None:
    """Do one thing to the machine and tell so, or tell what would be done; raise InstallError."""
    if dry_run:
        tell(f"→ would {verb} {what}")
        return
    try:
        act()
    except OSError as error:
        cure = "Do it as root, by sudo" if isinstance(error, PermissionError) else "Fix that, then try again"
        raise InstallError(f"Cannot {verb} {what}: {error.strerror or error}{CURE}{cure}") from error
    past = {"comment out": "commented out", "make": "made", "remove": "removed", "set": "set", "write": "wrote"}
    tell(f"✓ {past[verb]} {what}")


def _check_machine(found: Iterable[Table], tell: Tell, dry_run: bool) -> None:
    """Raise InstallError where a program is missing, or a table cannot be read that may hold the old script."""
    for path, package in ((CRON_JOB, "cron"), (ROTATION, "logrotate")):
        if not path.parent.is_dir():
            raise InstallError(f"{path.parent} is missing, so nothing was installed{CURE}apt-get install {package}")
    for line in [f"Cannot read {table.name}: {table.unread}" for table in found if table.unread]:
        if not dry_run:
            cure = "sudo vicisync install" if os.geteuid() else "Fix that, then try again"
            raise InstallError(f"{line}; nothing was installed{CURE}{cure}")
        tell(f"⚠ {line}")


def _check_old_script(old: Sequence[Lines], replace_old: bool) -> None:
    cure = "" if replace_old else "vicisync install --replace-old"
    if links := [table.name for table, _ in old if table.path and table.path.is_symlink()]:
        cure = f"remove that line by hand: {links[0]} is a symbolic link, which install does not follow"
    if old and cure:
        why = "both would send every call twice, so nothing was installed"
        raise InstallError(f"The old script still runs: {_places(old)}; {why}{CURE}{cure}")


def _write(contents: Mapping[Path, bytes], do: Do, tell: Tell, *, dry_run: bool, force: bool) -> list[Path]:
    """Write the files; return those that differ and were kept."""
    kept = []
    for path, content in contents.items():
        if _holds(path, content):
            tell(f"✓ {path} is as it should be")
            continue
        if force or not os.path.lexists(path):
            do("write", path, partial(cron.write_file, path, content))
        else:
            tell(f"⚠ {path} differs from what vicisync would write, and is kept; --force writes it anew")
            kept.append(path)
        for line in content.decode().splitlines() if dry_run else ():
            tell(f"    {line}")
    return kept


def _places(found: Iterable[Lines]) -> str:
    return "; ".join(f"{table.name} line {', '.join(map(str, lines))}" for table, lines in found)


def _make_folder(folder: Path) -> None:
    for above in reversed(folder.parents):
        above.mkdir(0o755, exist_ok=True)
    folder.mkdir(0o700)


def _prepare_log(do: Do, tell: Tell) -> None:
    """Make the log, or take the rights of others away: it holds phone numbers."""

    def set_mode() -> None:
        with os.fdopen(os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | NO_FOLLOW, 0o600), "ab") as log:
            os.fchmod(log.fileno(), mode & 0o640)  # whatever the umask

    is_there = os.path.lexists(LOG)
    mode = LOG.lstat().st_mode if is_there else stat.S_IFREG | 0o640
    if not stat.S_ISREG(mode):
        tell(f"⚠ {LOG} is no plain file, and was left as it is; it should not be readable by all")
    elif not is_there:
        do("make", f"{LOG}, mode 0640", set_mode)
    elif (shown := stat.S_IMODE(mode)) & ~0o640:
        do("set", f"the mode of {LOG} from {shown:04o} to {mode & 0o640:04o}: it holds phone numbers", set_mode)
    else:
        tell(f"✓ {LOG} is there")


def _holds(path: Path, content: bytes) -> bool:
    try:
        file, status = open_regular(path)
    except OSError:  # a link, a folder, or somebody else's
        return False
    with file:  # cron and logrotate ignore one that others can write to
        return file.read() == content and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def command_of(called: str, python: str) -> list[str]:
    """Return the words by which cron can call what was called as ``called`` (``sys.argv[0]``), run by ``python``.

    Links such as /usr/local/bin/vicisync stay: they outlive what they point to. Raises InstallError for no file.
    """
    path = os.path.abspath(called)  # noqa: PTH100 -- Path.resolve would follow the links
    if not os.path.isfile(path):  # noqa: PTH113
        raise InstallError(f"There is no file {path} that cron could run: call vicisync by its absolute path")
    if os.path.basename(path) == "__main__.py":  # noqa: PTH119
        return [python, "-m", "vicisync"]
    # Of what a .pyz names as its interpreter, env python3, cron may find another one, or none.
    return [python, path] if zipfile.is_zipfile(path) or not os.access(path, os.X_OK) else [path]
