"""What ``vicisync install`` puts on a machine, and the note of what it made, by which it can be taken away again.

Everything is planned as steps first, so that a dry run shows just what a real one does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple

from vicisync.commands.cron_tables import CRON_D
from vicisync.errors import InstallError

LOG = Path("/var/log/did-optimizer-sync.log")


def rotations() -> list[Path]:
    """Return what logrotate has made of the log: .1, .2.gz, or with dates."""
    return sorted(LOG.parent.glob(f"{LOG.name}[.-][0-9]*"))


class Target(NamedTuple):
    """A file of ``deploy/`` and its place on the machine."""

    name: str
    """Its path below ``deploy/``."""
    paths: tuple[Path, ...]
    """Where it may go: to the first whose folder is there."""
    comment: str
    """The sign with which its comments begin."""
    needs: str | None
    """The package that makes the folder; None where the file is left out without it."""

    @property
    def path(self) -> Path | None:
        """Where it goes on this machine; None where there is no place for it."""
        return next((path for path in self.paths if path.parent.is_dir()), None)


CRON = Target("cron/vicisync", (CRON_D / "vicisync",), "#", "cron")

TARGETS = (
    Target("logrotate/vicisync", (Path("/etc/logrotate.d/vicisync"),), "#", "logrotate"),
    Target(
        "man/vicisync.1",
        (Path("/usr/local/share/man/man1/vicisync.1"), Path("/usr/share/man/man1/vicisync.1")),
        '.\\"',
        None,
    ),
    Target("bash-completion/vicisync", (Path("/usr/share/bash-completion/completions/vicisync"),), "#", None),
    CRON,  # last: when cron begins, everything else is there
)

Tell = Callable[[str], None]


class Step(NamedTuple):
    """One thing that is done to the machine."""

    verb: str
    """As in "would write"."""
    past: str
    """As in "wrote"."""
    what: str
    act: Callable[[], object]
    """Does it; raises OSError or InstallError."""
    shows: str = ""
    """What a dry run shows of it."""


def perform(steps: Iterable[Step | str], tell: Tell, *, dry_run: bool) -> None:
    """Take the steps one by one and tell of each; a step that is only a line is told. Raises InstallError."""
    for step in steps:
        if isinstance(step, str):
            tell(step)
        elif dry_run:
            tell(f"→ would {step.verb} {step.what}")
            for line in step.shows.splitlines():
                tell(f"    {line}")
        else:
            try:
                step.act()
            except OSError as error:
                why = error.strerror or str(error)
                cure = "Do it as root, by sudo" if isinstance(error, PermissionError) else "Mend that, then try again"
                raise InstallError(f"Cannot {step.verb} {step.what}: {why}. {cure}") from error
            tell(f"✓ {step.past} {step.what}")


@dataclass(frozen=True)
class Made:
    """What install found missing and made, beside its files."""

    log: bool = False
    folders: tuple[Path, ...] = ()
    """The outermost first."""

    def as_text(self) -> bytes:
        """Return it as it is noted in a file."""
        return json.dumps({"log": self.log, "folders": [str(folder) for folder in self.folders]}).encode() + b"\n"


def note_of(checkpoint_file: Path) -> Path:
    """Return where install notes what it made: beside the checkpoint."""
    return checkpoint_file.with_name(checkpoint_file.name + ".installed")


def read_note(path: Path) -> Made | None:
    """Read what install noted; None where it noted nothing, or nothing that can be read. Raises OSError."""
    try:
        found = json.loads(path.read_bytes())
        return Made(found["log"] is True, tuple(Path(folder) for folder in found["folders"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
