"""``vicisync install --uninstall``: the machine as it was before, unless calls wait or files were changed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vicisync.commands.etc_files import content_of, put_file
from vicisync.commands.install.installed import (
    CRON,
    LOG,
    TARGETS,
    Made,
    Step,
    Tell,
    note_of,
    perform,
    read_note,
    rotations,
)
from vicisync.commands.install.shipped import is_unchanged, shipped
from vicisync.errors import CheckpointError, InstallError
from vicisync.report import counted
from vicisync.settings.settings import SETTINGS, Settings
from vicisync.state.checkpoint_file import CheckpointFile, lock_file, read_checkpoint
from vicisync.state.last_run import last_run_file
from vicisync.state.rejected import read_rejected


class State(NamedTuple):
    """Where a run leaves what must outlive it."""

    checkpoint_file: Path
    rejected_file: Path
    metrics_file: Path | None
    give_up_after: int
    """Seconds, as in `vicisync.settings.settings.Settings`."""

    @classmethod
    def of(cls, settings: Settings) -> State:
        """Take it from the configuration."""
        return cls(settings.checkpoint_file, settings.rejected_file, settings.metrics_file, settings.give_up_after)


_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}

STANDARD_STATE = State(
    Path(_DEFAULTS["checkpoint_file"]), Path(_DEFAULTS["rejected_file"]), None, int(_DEFAULTS["give_up_after"])
)
"""Where it is unless configured otherwise."""


def uninstall(state: State, tell: Tell, *, dry_run: bool = False, force: bool = False) -> None:
    """Remove the files that install wrote, unless they were changed and without ``force``, and what else it had made.

    Calls that wait or were rejected keep the state folder. Raises InstallError, and AlreadyRunning while a run is at
    work, after the cron job has gone.
    """
    try:
        _uninstall(state, tell, dry_run=dry_run, force=force)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
        raise InstallError(f"Cannot look at {why}. Try as root: sudo vicisync install --uninstall") from error


def _uninstall(state: State, tell: Tell, *, dry_run: bool, force: bool) -> None:
    files = [(target, path) for target in reversed(TARGETS) for path in target.paths if os.path.lexists(path)]
    for target, path in files:
        if force or is_unchanged(content_of(path) or b"", shipped(target.name)):
            perform([_removal(path)], tell, dry_run=dry_run)
        else:
            tell(f"⚠ {path} was changed by somebody, and is kept; --force removes it")
            if target is CRON:
                tell("⚠ Cron may go on running vicisync, so everything else is kept too")
                return
    note = note_of(state.checkpoint_file)
    if made := read_note(note):
        with nullcontext() if dry_run else CheckpointFile(state.checkpoint_file):
            perform([*_log_steps(made), *_folder_steps(state, made, note)], tell, dry_run=dry_run)
    elif not files:
        tell("✅ Nothing was installed")
    if dry_run:
        tell("🔍 Dry run: nothing was changed")


def _removal(path: Path) -> Step:
    return Step("remove", "removed", str(path), path.unlink)


def _log_steps(made: Made) -> Iterator[Step | str]:
    logs = [*([LOG] if os.path.lexists(LOG) else []), *rotations()]
    if made.log:
        yield from map(_removal, logs)
    elif logs:
        yield f"✓ {LOG} was there before, and is kept"


def _folder_steps(state: State, made: Made, note: Path) -> Iterator[Step | str]:
    folder = state.checkpoint_file.parent
    if folder not in made.folders:
        yield _removal(note)
        yield f"✓ {folder} was there before, and is kept"
    elif why := _undelivered(state):
        forget_log = replace(made, log=False)
        if forget_log != made:
            yield Step(
                "write",
                "wrote",
                f"{note}, now without the log",
                lambda: put_file(note, forget_log.as_text(), mode=0o600),
            )
        yield (
            f"⚠ {folder} is kept: {why}. Once vicisync run and vicisync retry-rejected have delivered that, uninstall"
            f" again; to give it up: rm -r {shlex.quote(str(folder))}"
        )
    else:
        ours = [path for path in _files_of(state, note) if os.path.lexists(path)]
        yield Step("remove", "removed", f"the checkpoint and what belongs to it in {folder}", lambda: _unlink(ours))
        if others := set(folder.iterdir()) - set(ours):
            names = ", ".join(sorted(path.name for path in others))
            yield f"⚠ {folder} is kept, since it holds what is not vicisync's: {names}"
        inside: set[Path] = set(ours)
        for made_folder in reversed(made.folders):
            if set(made_folder.iterdir()) <= inside:
                yield Step("remove", "removed", str(made_folder), made_folder.rmdir)
                inside = {made_folder}


def _undelivered(state: State) -> str | None:
    """Return what would be lost with the state folder, or why that cannot be known."""
    try:
        checkpoint = read_checkpoint(state.checkpoint_file, state.give_up_after)
        rejected = read_rejected(state.rejected_file)
    except CheckpointError as error:
        return str(error)
    in_folder = state.rejected_file.parent == state.checkpoint_file.parent
    lost = (
        (len(checkpoint.watching) if checkpoint else 0, "waiting call"),
        (len(rejected.calls) if in_folder else 0, "rejected call"),
        (len(rejected.unreadable) if in_folder else 0, "unreadable line of the rejected file"),
    )
    found = [counted(number, what) for number, what in lost if number]
    return f"it holds {' and '.join(found)}" if found else None


def _files_of(state: State, note: Path) -> list[Path]:
    """Return the files that runs and install leave in the state folder; the lock, which is held meanwhile, last."""
    whole = [state.checkpoint_file, last_run_file(state.checkpoint_file), state.rejected_file]
    reserve = state.checkpoint_file.with_name(f"{state.checkpoint_file.name}.reserve")  # a killed run leaves it
    files = [*whole, *(path.with_name(f"{path.name}.new") for path in whole), reserve, note]
    if state.metrics_file:
        files.append(state.metrics_file)
    return [path for path in files if path.parent == note.parent] + [lock_file(state.checkpoint_file)]


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
