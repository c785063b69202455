"""``vicisync install``: the cron job, the rotation of its log, the log and the state folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vicisync.commands.cron_tables import Table, tables
from vicisync.commands.crontab import executable_of, jobs, runs_old_script
from vicisync.commands.etc_files import content_of, is_roots, put_file
from vicisync.commands.install.installed import (
    CRON,
    LOG,
    TARGETS,
    Made,
    Step,
    Target,
    Tell,
    note_of,
    perform,
    read_note,
    rotations,
)
from vicisync.commands.install.shipped import cron_text, is_unchanged, marked, shipped
from vicisync.errors import InstallError
from vicisync.state.files import NO_FOLLOW

LOG_MODE = 0o640


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

    What is there already stays; with ``force``, files that an administrator changed are written anew too. Lines of
    cron that run the script which vicisync replaces become comments with ``replace_old``. Raises InstallError, before
    anything is changed where something is known to be in the way.
    """
    cron = cron_text(command, configuration_files)
    try:
        steps = list(_steps(checkpoint_file, cron, force=force))
        found = list(tables())
    except OSError as error:
        raise InstallError(f"Cannot look at {error.filename}: {error.strerror}. {_AS_ROOT}") from error
    old = [(table, lines) for table in found if (lines := _lines_of_old_script(table))]
    if replace_old:
        steps = [*(_comment_out(table, lines) for table, lines in old), *steps]
        old = []
    if not dry_run:
        _check_rights(checkpoint_file)
        _check_that_none_runs(old)
    perform([*steps, *_further_jobs(found)], tell, dry_run=dry_run)
    if dry_run:
        tell("🔍 Dry run: nothing was changed")
        _check_that_none_runs(old)
    elif any(executable_of(job.command) for table in tables() for job in jobs(table.text, with_user=table.with_user)):
        tell(f"✅ Cron runs vicisync; to watch it: tail -f {LOG}")
    else:
        tell("⚠ No job of cron runs vicisync; --force writes the changed file anew")


def _lines_of_old_script(table: Table) -> list[int]:
    return [job.line_number for job in jobs(table.text, with_user=table.with_user) if runs_old_script(job.command)]


def _comment_out(table: Table, lines: list[int]) -> Step:
    numbers = ", ".join(map(str, lines))
    what = f"line {numbers} of {table.name}, which runs the old script"
    return Step("comment out", "commented out", what, lambda: table.comment_out(lines))


def _check_that_none_runs(old: list[tuple[Table, list[int]]]) -> None:
    if old:
        places = "; ".join(f"{table.name} line {', '.join(map(str, lines))}" for table, lines in old)
        raise InstallError(
            f"The old script still runs: {places}. Both would send every call twice, so nothing was installed. To"
            " comment that out and go on: vicisync install --replace-old"
        )


_AS_ROOT = "Try as root: sudo vicisync install"


def _check_rights(checkpoint_file: Path) -> None:
    """Raise InstallError where not everything could be written: half an installation helps nobody."""
    folders = [path.parent for target in TARGETS if (path := target.path)]
    for folder in (*folders, LOG.parent, next(path for path in checkpoint_file.parents if path.exists())):
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise InstallError(f"Cannot write to {folder}; nothing was installed. {_AS_ROOT}")


def _further_jobs(found: list[Table]) -> Iterator[str]:
    for table in found:
        if table.path not in CRON.paths:
            for job in jobs(table.text, with_user=table.with_user):
                if executable_of(job.command):
                    yield f"⚠ {table.name} line {job.line_number} runs vicisync too: remove it, one is enough"


def _steps(checkpoint_file: Path, cron: bytes, *, force: bool) -> Iterator[Step | str]:
    """Plan what makes the machine as it should be; raises OSError, and InstallError for a needed folder."""
    state = checkpoint_file.parent
    missing = [folder for folder in reversed(checkpoint_file.parents) if not folder.exists()]
    for folder in missing:
        yield _folder_step(folder, 0o700 if folder == state else 0o755)
    if not missing:
        yield f"✓ {state} is there"
    note = note_of(checkpoint_file)
    noted = read_note(note)
    before = noted or Made()
    log_is_ours = before.log or not (os.path.lexists(LOG) or rotations())
    made = Made(log_is_ours, before.folders or tuple(missing))
    if made != noted:
        what = f"{note}, what --uninstall goes by"
        yield Step("write", "wrote", what, lambda: put_file(note, made.as_text(), mode=0o600))
    yield _log_step()
    for target in TARGETS:
        if target.path:
            content = marked(cron if target is CRON else shipped(target.name), target.comment)
            yield _target_step(target, target.path, content, force=force)
        elif target.needs:
            folder = target.paths[0].parent
            raise InstallError(f"{folder} is missing: install {target.needs} (apt-get install {target.needs}) first")


def _folder_step(folder: Path, mode: int) -> Step:
    return Step("make", "made", f"{folder}, mode {mode:04o}", lambda: folder.mkdir(mode))


def _log_step() -> Step | str:
    if not os.path.lexists(LOG):
        return Step("make", "made", f"{LOG}, mode {LOG_MODE:04o}", _make_log)
    status = LOG.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return f"⚠ {LOG} is no plain file, and was left as it is; it should not be readable by all"
    if not mode & ~LOG_MODE:
        return f"✓ {LOG} is there"
    narrower = mode & LOG_MODE
    what = f"the mode of {LOG} from {mode:04o} to {narrower:04o}: it holds phone numbers"
    return Step("change", "changed", what, lambda: _set_log_mode(0, narrower))


def _make_log() -> None:
    _set_log_mode(os.O_CREAT | os.O_EXCL, LOG_MODE)


def _set_log_mode(flags: int, mode: int) -> None:
    """Open the log by these flags, and by no link, and give it this mode, whatever the umask."""
    fd = os.open(LOG, os.O_WRONLY | os.O_NONBLOCK | NO_FOLLOW | flags, 0o600)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _target_step(target: Target, path: Path, content: bytes, *, force: bool) -> Step | str:
    shows = content.decode("utf-8") if target.needs else ""  # the other ones are for reading at leisure
    step = Step("write", "wrote", str(path), lambda: put_file(path, content), shows)
    try:
        found = content_of(path)
    except FileNotFoundError:
        return step
    if found == content and is_roots(path):
        return f"✓ {path} is as it should be"
    if force or (found is not None and is_unchanged(found, shipped(target.name))):
        return step._replace(verb="renew", past="renewed")
    return f"⚠ {path} was changed by somebody, and is kept; --force writes it anew"
