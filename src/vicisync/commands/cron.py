"""The tables of this machine's cron: what in them runs vicisync, and what still runs a script that it replaces."""

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from vicisync.errors import CURE, InstallError
from vicisync.state.files import replace_file

# A line that cron runs begins with a digit, a star or the like; comments and settings do not.
_JOB = r"""[ \t]*[^\s#A-Za-z_"'].*?"""

_OLD_NAMES = r"(?<![\w.-])(?:process-call-results\.(?:pl|js)|AST_DID_optimizer_sync\.pl)(?![\w.-])"
OLD_SCRIPT = re.compile(rf"{_JOB}{_OLD_NAMES}(?:.*?>>?\s*(?P<log>[^\s&;]+))?")
"""A line with a script that vicisync replaces, even if it only watches that: better to ask than to send twice."""

AGI = re.compile(r"\s*[^;\s][^;]*agi-did-optimizer-report\.agi")  # of Asterisk's dialplan: reports each call, too
NO_DOUBLE_REPORTS = "take it out (VICIdial writes it from Admin, Carriers), then: asterisk -rx 'dialplan reload'"
START_CRON = "systemctl enable --now cron  # on AlmaLinux: crond"

VICISYNC = re.compile(
    _JOB
    + r"""(?: (?<!\S) (?P<python>\S+) [ \t]+ -m [ \t]+ vicisync
    | '(?P<quoted>(?:[^']*/)?vicisync[\w.-]*)'
    | (?<![^\s'"();&|]) (?P<plain>(?:[^\s'"();&|]*/)?vicisync[\w.-]*) ) [ \t]+ run\b""",
    re.VERBOSE,
)
"""A line that runs ``vicisync run``; the last group is the program, which is Python for ``python -m vicisync``."""

_DEBIANS_NAMES = re.compile(r"[A-Za-z0-9_-]+")
_OTHERS_NAMES = re.compile(r"[^.#].*(?<!~)(?<!\.rpmsave)(?<!\.rpmorig)(?<!\.rpmnew)", re.DOTALL)
"""Of the files of cron.d that cron reads: Debian's, and cronie, which openSUSE and AlmaLinux have."""


class Table(NamedTuple):
    """One of cron's tables; bytes that are no UTF-8 are lone surrogates (PEP 383) in its text."""

    path: Path | None  # None is root's crontab, which is the program crontab's to read and write
    text: str
    unread: str = ""  # why it could not be read; '' where it was
    ignored: str = ""  # what to do for cron to read it; '' where cron does

    @property
    def name(self) -> str:
        """For people."""
        return str(self.path or "root's crontab")

    def find(self, job: re.Pattern[str]) -> dict[int, str]:
        """Return the numbers of the lines that match, from 1, each with what the pattern's last group holds."""
        matches = {number: job.match(line) for number, line in enumerate(self.text.split("\n"), 1)}
        return {number: match[match.lastgroup or 0] for number, match in matches.items() if match}

    def comment_out(self, numbers: Collection[int]) -> None:
        """Make comments of these lines, saying why, and write the table back; raise OSError or InstallError."""
        lines = self.text.split("\n")
        for number in numbers:
            lines[number - 1] = f"# Commented out by vicisync install, which took over:\n#{lines[number - 1]}"
        data = "\n".join(lines).encode("utf-8", "surrogateescape")
        if self.path:
            status = self.path.stat()
            write_file(self.path, data, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))
        else:
            _crontab("-", data)


Lines = tuple[Table, dict[int, str]]  # what `Table.find` found, with its table


def lines_that_run(job: re.Pattern[str], found: Iterable[Table]) -> list[Lines]:
    """Return the lines by which cron runs something, table by table."""
    return [(table, lines) for table in found if not table.ignored and (lines := table.find(job))]


def tables(root: Path = Path("/")) -> Iterator[Table]:
    """Read root's crontab, and the files of cron below ``root``."""
    try:
        yield Table(None, _decoded(_crontab("-l")))
    except InstallError as error:
        yield Table(None, "", unread=str(error))
    names = _DEBIANS_NAMES if (root / "etc/debian_version").exists() else _OTHERS_NAMES
    for path in filter(Path.is_file, [root / "etc/crontab", *sorted((root / "etc/cron.d").glob("*"))]):
        yield _table(path, names)


def _table(path: Path, names: re.Pattern[str]) -> Table:
    try:
        status, text = path.stat(), _decoded(path.read_bytes())
    except OSError as error:
        return Table(path, "", unread=str(error.strerror))
    if not names.fullmatch(path.name):
        return Table(path, text, ignored=f"mv {shlex.quote(str(path))} {path.with_name('vicisync')}")
    is_unsafe = status.st_uid or status.st_mode & 0o022
    name = shlex.quote(str(path))
    return Table(path, text, ignored=f"chown root {name}; chmod go-w {name}" if is_unsafe else "")


def daemon_lives(root: Path = Path("/")) -> bool:
    """Return whether a cron daemon is at work, as far as this account can see others' processes."""
    names = {name.strip() for _, name in _texts(root, "proc/[0-9]*/comm")}
    return not os.access(root / "proc/1/comm", os.R_OK) or bool(names & {"cron", "crond"})


def double_reports(root: Path = Path("/")) -> list[str]:
    """Return a sentence for each line of the dialplan by which an AGI of DID Optimizer's reports the same calls."""
    why = "reports the same calls, under ids that DID Optimizer cannot join with ours: each would count twice"
    plans = [(path, text.split("\n")) for path, text in _texts(root, "etc/asterisk/extensions*.conf")]
    return [f"{path} line {n} {why}" for path, lines in plans for n, line in enumerate(lines, 1) if AGI.match(line)]


def rotations(log: Path, root: Path = Path("/")) -> list[Path]:
    """Return the files by which logrotate rotates a log; two of them are an error of logrotate's."""
    line = re.compile(rf"^[^#\n]*{re.escape(str(log))}(?![\w.-])", re.MULTILINE)
    return [path for path, text in _texts(root, "etc/logrotate.*", "etc/logrotate.d/*") if line.search(text)]


def _texts(root: Path, *patterns: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file()):
        with suppress(OSError):  # a process that has ended, another's file
            yield path, path.read_text("utf-8", "replace")


def shipped(name: str) -> bytes:
    """Return the file ``vicisync`` of a folder of ``deploy/``: from the package (in a zip, too) or the checkout."""
    folder = files("vicisync") / "deploy"
    if not folder.is_dir():  # a checkout, which an editable installation runs from
        folder = Path(__file__).parents[3] / "deploy"
    return (folder / name / "vicisync").read_bytes()


def cron_job(command: Sequence[str], configuration_files: Mapping[str, Path]) -> bytes:
    """Return deploy/cron/vicisync with this command and these options; raise InstallError for a path it cannot hold."""
    options = [word for option, path in configuration_files.items() for word in (option, str(path))]
    words = " ".join([*command, *options])
    if not words.isprintable() or set("%'") & set(words):
        why = "it takes a percent sign for the command's end, and no path may hold apostrophes or control characters"
        raise InstallError(f"Cron cannot run {words!r}: {why}{CURE}Give it another name, or call it by a link")
    ours = re.compile("/usr/local/bin/vicisync (run|reconcile) ")
    return ours.sub(lambda found: f"{shlex.join([*command, found[1], *options])} ", shipped("cron").decode()).encode()


def write_file(path: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Put a file of cron's or logrotate's in place in one step; both ignore its name until then. Raises OSError."""
    os.close(replace_file(path, data, mode, beside=".{}.new~", owner=owner))


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _crontab(argument: str, data: bytes = b"") -> bytes:
    """Call the program crontab; no crontab of root's is an empty one, and no cron is none. Raises InstallError."""
    if os.geteuid() != 0:  # it would show that of whoever asks
        raise InstallError("only root can list it")
    try:
        command, environment = ["crontab", argument], {**os.environ, "LC_ALL": "C"}  # it lies where root's PATH says
        done = subprocess.run(command, input=data, capture_output=True, env=environment, check=False)  # noqa: S603
    except FileNotFoundError:
        return b""
    if done.returncode and b"no crontab for" not in done.stderr:
        raise InstallError(f"crontab {argument} failed: {_decoded(done.stderr).strip()}")
    return done.stdout
