"""``vicisync install`` on a machine of its own: what it makes, what it leaves alone, and how to take that back."""

import os
import re
import subprocess
import sys
import zipapp
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.site import COMMAND
from tests.commands.command import STAMP
from tests.conftest import make_settings
from tests.limits import as_nobody
from tests.machine import CRON_D, LOG, LOGROTATE_D, Machine, machine
from vicisync.commands import cron as cron_module
from vicisync.commands import install as install_module
from vicisync.commands.cron import cron_job, shipped, write_file
from vicisync.commands.install import command_of, install, uninstall
from vicisync.errors import InstallError

pytestmark = pytest.mark.not_pyz

DEPLOY = Path(__file__).parents[2] / "deploy"
PERL = "cd /home/na/didapi && /usr/bin/perl process-call-results.pl >> /var/log/did-optimizer-sync.log 2>&1"
FILES = [CRON_D, LOGROTATE_D]


def without_stamps(said: str) -> str:
    return re.sub(f"^{STAMP.pattern}", "", said, flags=re.MULTILINE)


class Server:
    """A machine with both configuration files, and the installed command on it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder, self.path = machine, folder, machine.path
        self.job, self.log = machine.path(CRON_D), machine.path(LOG)
        self.dids_conf = folder / "dids.conf"
        self.checkpoint_file = folder / "var" / "state" / "checkpoint"
        self.rejected_file = self.checkpoint_file.with_name("rejected.jsonl")
        files = f"checkpoint_file={self.checkpoint_file}\nrejected_file={self.rejected_file}\n"
        self.dids_conf.write_text(f"[general]\napi_key=s3cr3t\n[vicisync]\n{files}")
        self.environment = {**os.environ, "VICISYNC_DIDS_CONF": str(self.dids_conf)}

    def install(self, *options: str, code: int = 0) -> str:
        said = self.machine.vicisync("install", *options, environment=self.environment, code=code)
        assert "s3cr3t" not in said
        return without_stamps(said)

    def refuses(self, words: str, *options: str) -> None:
        """Call it; it has to end with 2, say so, and leave everything as it was."""
        before = self.everything()
        assert words in self.install(*options, code=2)
        assert before == self.everything()

    def shell(self, line: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(*command, "sh", "-c", line, environment=self.environment)

    def crontab(self, text: str) -> None:
        assert 0 == self.machine.run("crontab", "-", text=text).returncode

    def everything(self) -> dict[str, tuple[object, ...]]:
        found = self.machine.state()
        for path in self.folder.rglob("*"):
            found[str(path)] = (path.lstat().st_mode, b"" if path.is_dir() else path.read_bytes())
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A machine on which nothing is installed yet."""
    if os.geteuid() != 0:
        pytest.skip("only root installs, and has mounts of his own")
    (tmp_path / "site").mkdir()
    with machine(tmp_path / "machine") as started:
        yield Server(started, tmp_path / "site")


def mode(path: Path) -> str:
    return f"{path.lstat().st_mode & 0o7777:04o} {path.owner()}"


INSTALLED = {CRON_D: "0644 root", LOGROTATE_D: "0644 root", LOG: "0640 root"}


@pytest.mark.parametrize("umask", ["0000", "0022", "0077"])
def test_install_makes_each_file_with_its_mode_whatever_the_umask(umask: str, server: Server) -> None:
    before = server.machine.names()
    done = server.shell(f"umask {umask}; {COMMAND} install")
    assert (0, "") == (done.returncode, done.stderr)
    assert set(INSTALLED) == server.machine.names() - before
    assert INSTALLED == {name: mode(server.path(name)) for name in INSTALLED}
    state = server.checkpoint_file.parent
    assert ("0700 root", []) == (mode(state), list(state.iterdir()))
    assert 0 == state.parent.stat().st_mode & 0o022
    told = [*(f"/{name}" for name in INSTALLED), f"✓ made {state}, mode 0700\n"]
    told.append("✅ Cron runs vicisync; to watch it: tail -f /var/log/did-optimizer-sync.log\n")
    assert [] == [words for words in told if words not in done.stdout]


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ("{command}", "{command}"),
        ("ln -s {command} link; ./link", "{folder}/link"),
        ("ln -s {command} vicisync; PATH={folder}:$PATH; vicisync", "{folder}/vicisync"),
        ("{python} -m vicisync", "{python} -m vicisync"),
        ("mkdir 'a b'; ln -s {command} 'a b/vicisync'; 'a b/vicisync'", "'{folder}/a b/vicisync'"),
    ],
    ids=["as it was installed", "by a link", "by PATH", "as a module", "blank"],
)
def test_the_job_runs_what_was_called_by_that_very_path_with_the_files_that_were_named(
    called: str, words: str, server: Server
) -> None:
    places = {"command": COMMAND, "folder": server.folder, "python": sys.executable}
    shell = f"cd {server.folder}; {called.format(**places)} install --dids-conf dids.conf"
    done = server.machine.run("sh", "-c", shell, environment={"PATH": os.environ["PATH"]})
    assert 0 == done.returncode, done.stderr
    text = server.job.read_text()
    command = f"{words.format(**places)} run --dids-conf {server.dids_conf} >> /var/log/did-optimizer-sync.log 2>&1"
    assert f"\n* * * * * root {command}\n" in text
    assert f"\n#* * * * * root sleep 30; {command}\n" in text


def test_installing_again_changes_nothing(server: Server) -> None:
    server.install()
    before = server.everything()
    for options in ([], ["--force"]):
        said = server.install(*options).splitlines()
        assert [] == [line for line in said[:-1] if not line.endswith((" is there", " is as it should be"))]
        assert 5 == len(said)
    assert before == server.everything()


def test_a_dry_run_shows_what_would_be_written_and_changes_nothing(server: Server) -> None:
    server.crontab("@daily nothing\n")
    before = server.everything()
    said = server.install("--dry-run")
    assert before == server.everything()
    rotation = (DEPLOY / "logrotate" / "vicisync").read_text().splitlines()
    would = [f"→ would make {server.checkpoint_file.parent}, mode 0700\n", "→ would write /etc/cron.d/vicisync\n"]
    would += [f"\n    * * * * * root {COMMAND} run --dids-conf ", *(f"\n    {line}\n" for line in rotation)]
    assert [] == [words for words in would if words not in said]
    assert said.endswith("🔍 Dry run: nothing was changed\n")
    server.install()
    before = server.everything()
    said = server.install("--uninstall", "--dry-run")
    assert before == server.everything()
    assert "→ would remove /etc/cron.d/vicisync\n" in said
    assert said.endswith("🔍 Dry run: nothing was changed\n")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_differs_is_kept_until_force(name: str, server: Server) -> None:
    server.install()
    path = server.path(name)
    as_written = path.read_bytes()
    changed = as_written + b"# caf\xe9: ours\n"
    path.write_bytes(changed)
    said = server.install()
    assert f"⚠ /{name} differs from what vicisync would write, and is kept; --force writes it anew\n" in said
    assert changed == path.read_bytes()
    assert f"✓ wrote /{name}\n" in server.install("--force")
    assert as_written == path.read_bytes()


@pytest.mark.parametrize("change", ["echo '# not now' >", "chmod 666"], ids=["paused", "cron ignores it"])
def test_an_installation_after_which_cron_does_not_run_vicisync_says_so_and_fails(change: str, server: Server) -> None:
    server.install()
    server.shell(f"{change} /{CRON_D}")
    said = server.install(code=2)
    assert (
        "❌ No job of cron runs vicisync, since /etc/cron.d/vicisync was kept\n   → vicisync install --force\n" in said
    )
    assert "✅" not in said
    server.install("--force")
    assert INSTALLED[CRON_D] == mode(server.job)


def test_a_link_in_the_place_of_a_file_is_kept_and_never_followed(server: Server) -> None:
    other = server.folder / "other"
    other.write_text("precious\n")
    other.chmod(0o644)
    for name in (CRON_D, LOG):
        server.path(name).symlink_to(other)
    said = server.install(code=2)
    assert "⚠ /etc/cron.d/vicisync differs from what vicisync would write, and is kept" in said
    assert "⚠ /var/log/did-optimizer-sync.log is no plain file, and was left as it is" in said
    assert server.job.is_symlink()
    server.install("--force")
    assert not server.job.is_symlink()
    server.install("--uninstall")
    assert server.log.is_symlink()
    assert ("precious\n", "0644 root") == (other.read_text(), mode(other))


@pytest.mark.parametrize(("before", "after"), [(0o664, "0640 root"), (0o604, "0600 root"), (0o600, "0600 root")])
def test_a_log_that_others_could_read_is_closed_to_them_and_keeps_what_it_says(
    before: int, after: str, server: Server
) -> None:
    server.log.write_text("of the old script\n")
    server.log.chmod(before)
    told = f"✓ set the mode of /var/log/did-optimizer-sync.log from {before:04o} to {after[:4]}: it holds phone numbers"
    assert (f"{before:04o}" != after[:4]) == (told in server.install())
    assert ("of the old script\n", after) == (server.log.read_text(), mode(server.log))


# The old script


def put_line(server: Server, place: str) -> tuple[Path, str]:
    """Put the old script's line among others into one of cron's tables; return the file, and what it is called."""
    lines = "# ours\nMAILTO=root\n{user}\n\n17 * * * * {other}echo caf\xe9\n"
    if place == "crontab":
        server.crontab(lines.format(user=f"* * * * * {PERL}", other=""))
        return server.path("var/spool/cron/crontabs/root"), "root's crontab"
    path = server.path(place)
    path.write_bytes(lines.format(user=f"* * * * * root {PERL}", other="root ").encode("latin-1"))
    path.chmod(0o600)
    os.chown(path, 0, 8)
    return path, f"/{place}"


PLACES = ["crontab", "etc/crontab", "etc/cron.d/did-optimizer"]
CURE = "\n   → vicisync install --replace-old\n"
WHY = f"both would send every call twice, so nothing was installed{CURE}"


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_installed_while_the_old_script_runs_until_replace_old_comments_its_line_out_and_leaves_the_others(
    place: str, server: Server
) -> None:
    path, name = put_line(server, place)
    for options in ([], ["--dry-run"], ["--force"]):
        server.refuses(f"❌ The old script still runs: {name} line 3; {WHY}", *options)

    before, was = path.read_bytes(), (mode(path), path.stat().st_gid)
    told = f"{name} line 3, which runs the old script, with its log /var/log/did-optimizer-sync.log\n"
    assert f"→ would comment out {told}" in server.install("--replace-old", "--dry-run")
    assert before == path.read_bytes()
    assert f"✓ commented out {told}" in server.install("--replace-old")
    why = b"# Commented out by vicisync install, which took over:\n#* * * * * "
    without_header = path.read_bytes()[-len(before) - len(why) + len(b"* * * * * ") :]
    assert before[before.index(b"# ours") :].replace(b"* * * * * ", why, 1) in without_header
    assert was == (mode(path), path.stat().st_gid)
    server.install()


def test_all_lines_of_all_tables_are_replaced_at_once(server: Server) -> None:
    tables = [put_line(server, place)[0] for place in PLACES]
    with tables[-1].open("a") as file:
        file.write(f"@reboot root {PERL}\n* * * * * root true\n")
    assert "root's crontab line 3; /etc/crontab line 3; /etc/cron.d/did-optimizer line 3, 6; " in server.install(code=2)
    server.install("--replace-old")
    assert [1, 1, 2] == [path.read_text("latin-1").count("\n# Commented out by vicisync install") for path in tables]
    assert tables[-1].read_text("latin-1").endswith(f"\n#@reboot root {PERL}\n* * * * * root true\n")


LATER = "/usr/share/astguiclient/AST_DID_optimizer_sync.pl >> /var/log/astguiclient/did-optimizer-sync.log 2>&1"


@pytest.mark.parametrize(
    "line",
    [
        f"* * * * * /usr/bin/perl {LATER}",
        f"* * * * * {LATER}",
        f"* * * * * {LATER.replace('astguiclient/AST', 'astguiclient/bin/AST')}",
    ],
    ids=["by perl, as its installer writes it", "called by itself", "below bin"],
)
def test_the_later_script_is_replaced_too_and_where_its_log_stays_is_told(line: str, server: Server) -> None:
    server.crontab(f"### VICIdial's\n{line}\n")
    server.refuses("❌ The old script still runs: root's crontab line 2; ")
    said = server.install("--replace-old")
    log = "/var/log/astguiclient/did-optimizer-sync.log"
    assert f"✓ commented out root's crontab line 2, which runs the old script, with its log {log}\n" in said
    assert f"\n#{line}\n" in server.path("var/spool/cron/crontabs/root").read_text()
    server.install()


def test_a_rotation_as_the_old_readme_has_it_stays_the_only_one(server: Server) -> None:
    """A second one for the same log is an error of logrotate's, each night."""
    old = server.path("etc/logrotate.d/did-optimizer")
    old.write_text((DEPLOY / "logrotate" / "vicisync").read_text())
    old.chmod(0o644)
    assert "✓ /etc/logrotate.d/did-optimizer rotates the log\n" in server.install()
    assert not server.path(LOGROTATE_D).exists()
    done = server.machine.run("sh", "-c", "logrotate -d /etc/logrotate.d/* 2>&1")
    assert "error" not in done.stdout


def test_an_agi_that_reports_the_same_calls_is_warned_of(server: Server) -> None:
    conf = server.path("etc/asterisk/extensions-vicidial.conf")
    conf.parent.mkdir()
    conf.write_text(
        "[vicidial-auto]\n; exten => h,1,AGI(agi-did-optimizer-report.agi)\nexten => h,1,NoOp ; agi-did-optimi\n"
    )
    assert "agi-did-optimizer-report" not in server.install()
    conf.write_text(f"{conf.read_text()}exten => h,n,AGI(agi-did-optimizer-report.agi)\n")
    said = server.install()
    where = "/etc/asterisk/extensions-vicidial.conf line 4"
    assert f"⚠ {where} reports the same calls, under ids that DID Optimizer cannot join with ours: each would" in said
    assert "count twice\n   → take it out (VICIdial writes it from Admin, Carriers), then: asterisk -rx" in said


def test_where_no_cron_daemon_is_at_work_it_does_not_say_that_cron_runs_it(server: Server) -> None:
    apart = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
    done = server.shell(f"{COMMAND} install", *apart)
    words = "⚠ Cron is told to run vicisync, but no cron daemon is at work\n   → systemctl enable --now cron  # on Alma"
    assert (0, True) == (done.returncode, words in done.stdout)
    assert "✅" not in done.stdout


def test_without_a_key_it_installs_and_says_what_runs_will_lack(server: Server) -> None:
    """That of the environment does not count: cron lacks it."""
    server.dids_conf.write_text(server.dids_conf.read_text().replace("api_key=s3cr3t", ""))
    server.environment["API_KEY"] = "s3cr3t"
    assert "⚠ There is no api_key that could be one; until there is, runs exit with 2" in server.install()
    assert server.job.exists()


def test_a_second_job_of_vicisync_is_pointed_out(server: Server) -> None:
    server.crontab("* * * * * /usr/local/bin/vicisync run\n")
    assert "⚠ root's crontab line 1 runs vicisync too: remove it, one is enough\n" in server.install()


@pytest.mark.parametrize(
    ("system", "name", "is_ignored"),
    [
        *(("debian_version", "did.bak", True), ("debian_version", "did", False)),
        *(("SUSE-brand", "did.bak", False), *(("SUSE-brand", name, True) for name in ("did.rpmsave", "did~", ".did"))),
    ],
)
def test_the_old_script_in_a_file_that_this_cron_ignores_is_in_nobody_s_way(
    system: str, name: str, is_ignored: bool, server: Server
) -> None:
    server.path("etc/debian_version").unlink(missing_ok=True)
    server.path(f"etc/{system}").touch()
    server.path(f"etc/cron.d/{name}").write_text(f"* * * * * root {PERL}\n")
    server.install(code=0 if is_ignored else 2)


# What keeps it from installing


def linked_table(server: Server) -> None:
    put_line(server, "crontab")
    target = server.folder / "table"
    target.write_text(f"* * * * * root {PERL}\n")
    server.path("etc/cron.d/did").symlink_to(target)


def damaged_crontab(server: Server) -> None:
    program = server.folder / "crontab"
    program.write_text("#!/bin/sh\necho 'crontab: damaged' >&2\nexit 1\n")
    program.chmod(0o755)
    server.environment["PATH"] = f"{server.folder}:{os.defpath}"


DAMAGED = "❌ Cannot read root's crontab: crontab -l failed: crontab: damaged; nothing was installed\n   → Fix that"
LINKED = "   → remove that line by hand: /etc/cron.d/did is a symbolic link, which install does not follow\n"
MISSING = "❌ /etc/{0}.d is missing, so nothing was installed\n   → apt-get install {0}\n"
PREVENTED: dict[str, tuple[Callable[[Server], object], list[str], str]] = {
    "no cron": (lambda server: server.path("etc/cron.d").rmdir(), [], MISSING.format("cron")),
    "no logrotate": (lambda server: server.path("etc/logrotate.d").rmdir(), [], MISSING.format("logrotate")),
    "a linked table": (linked_table, ["--replace-old"], LINKED),
    "a crontab that cannot be read": (damaged_crontab, [], DAMAGED),
    "two orders": (
        lambda _: None,
        ["--uninstall", "--replace-old"],
        "--uninstall and --replace-old exclude each other",
    ),
}


@pytest.mark.parametrize(("breakage", "options", "words"), PREVENTED.values(), ids=PREVENTED)
def test_what_keeps_it_from_installing_is_told_before_anything_is_changed(
    breakage: Callable[[Server], object], options: list[str], words: str, server: Server
) -> None:
    breakage(server)
    server.refuses(words, *options)


@pytest.mark.skipif(not Path("/etc/cron.d").is_dir(), reason="no cron here: apt-get install cron")
def test_who_is_not_root_is_told_so_before_anything_is_written_and_may_try_a_dry_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    state = Path("/var/lib/vicisync-of-a-test")
    # Read before: nobody may not look into a checkout in /root.
    read = {name: shipped(name) for name in ("cron", "logrotate")}
    for module in (cron_module, install_module):
        monkeypatch.setattr(module, "shipped", read.__getitem__)
    refusal = r"only root .*; nothing was installed\n→ sudo vicisync install"
    with as_nobody():
        with pytest.raises(InstallError, match=refusal):
            install(state / "checkpoint", [str(COMMAND)], {}, said.append)
        assert [] == said
        install(state / "checkpoint", [str(COMMAND)], {}, said.append, dry_run=True)
    assert "⚠ Cannot read root's crontab: only root can list it" == said[0]
    assert f"→ would make {state}, mode 0700" in said
    assert not state.exists()


def test_a_read_only_place_is_named_before_cron_runs_anything(server: Server) -> None:
    done = server.shell(f"mount -o remount,bind,ro /var/log && {COMMAND} install", "unshare", "--mount")
    assert 2 == done.returncode
    assert (
        "❌ Cannot make /var/log/did-optimizer-sync.log, mode 0640: Read-only file system\n   → Fix that"
        in without_stamps(done.stderr)
    )
    assert not server.job.exists()


def test_a_full_disk_ends_it_with_what_to_fix_and_leaves_the_old_file_and_no_other_behind(server: Server) -> None:
    old = (DEPLOY / "cron" / "vicisync").read_text()
    server.job.write_text(old)
    small = "mount -t tmpfs -o size=16k tmpfs /mnt && cp /etc/cron.d/vicisync /mnt && mount --move /mnt /etc/cron.d"
    fill = "head -c 16k /dev/zero > /etc/cron.d/filler"
    shell = f"{small} && {fill}; {COMMAND} install --force; ls -A /etc/cron.d; cat /etc/cron.d/vicisync"
    done = server.shell(shell, "unshare", "--mount")
    assert (
        "❌ Cannot write /etc/cron.d/vicisync: No space left on device\n   → Fix that, then try again"
        in without_stamps(done.stderr)
    )
    assert done.stdout.endswith(f"\nfiller\nvicisync\n{old}")


def test_a_file_is_written_beside_under_a_name_that_every_cron_and_logrotate_ignore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's cron and openSUSE's pass over a dot in front, and logrotate over a tilde behind."""
    renamed: list[str] = []
    monkeypatch.setattr(Path, "rename", lambda path, _: renamed.append(path.name))
    write_file(tmp_path / "vicisync", b"x")
    assert [".vicisync.new~"] == renamed


def test_a_machine_without_crontab_has_no_crontab_of_root_s(server: Server) -> None:
    server.path("etc/crontab").unlink()
    assert 0 == server.shell(f"PATH=/nonexistent {COMMAND} install").returncode
    assert server.job.exists()


# The job


@pytest.mark.parametrize("name", ["50%", "a\nb", "a\x1bb", "it's"])
def test_a_path_that_cron_cannot_run_is_refused(name: str) -> None:
    for command, confs in (([f"/opt/{name}/vicisync"], {}), (["/v"], {"--dids-conf": Path(f"/etc/{name}")})):
        with pytest.raises(InstallError, match="Cron cannot run "):
            cron_job(command, confs)


def test_without_names_the_job_is_the_shipped_one() -> None:
    assert (DEPLOY / "cron" / "vicisync").read_bytes() == cron_job(["/usr/local/bin/vicisync"], {})


def test_the_nightly_line_is_of_the_same_command_and_files() -> None:
    job = cron_job(["/opt/a b/vicisync"], {"--dids-conf": Path("/etc/d")}).decode()
    nightly = (
        "30 3 * * * root '/opt/a b/vicisync' reconcile --dids-conf /etc/d --send -q >> /var/log/did-optimizer-sync"
    )
    assert job.endswith(f"\n{nightly}.log 2>&1\n")
    assert 2 == job.count(" run --dids-conf /etc/d >> ")


def test_what_cannot_be_run_by_itself_is_run_by_this_python(tmp_path: Path) -> None:
    path = tmp_path / "vicisync.pyz"
    with pytest.raises(InstallError, match=f"There is no file {path} that cron could run"):
        command_of(str(path), "/usr/bin/python3")
    path.write_text("#!/bin/sh\n")
    assert ["/usr/bin/python3", str(path)] == command_of(str(path), "/usr/bin/python3")
    path.chmod(0o755)
    assert [str(path)] == command_of(str(path), "/usr/bin/python3")


def test_a_file_that_is_one_whole_zip_is_run_by_the_python_that_ran_it(tmp_path: Path) -> None:
    """Cron's PATH may lead its own ``env python3`` to another one."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "__main__.py").touch()
    pyz = tmp_path / "v.pyz"
    zipapp.create_archive(tmp_path / "v", pyz, "/usr/bin/env python3")
    assert os.access(pyz, os.X_OK)
    assert ["/usr/bin/python3", str(pyz)] == command_of(str(pyz), "/usr/bin/python3")


# Taking it back


def test_uninstall_removes_its_two_files_and_names_what_stays_with_the_commands_that_remove_it(server: Server) -> None:
    (server.folder / "var" / "state").mkdir(0o700, parents=True)
    before = server.everything()
    server.install()
    kept = [server.log.with_name(server.log.name + suffix) for suffix in ("", ".1", ".2.gz", "-20261122.gz")]
    kept += [server.checkpoint_file, server.rejected_file]
    kept += [server.checkpoint_file.with_name(f"checkpoint{suffix}") for suffix in (".lock", ".last_run", ".new")]
    for path in kept:
        path.write_text("damaged, or of a run that is at work")
    server.job.write_text("# changed, and still ours: nobody else's name is on it\n")
    said = server.install("--uninstall", "--force")
    assert [] == [name for name in FILES if server.path(name).exists()]
    assert all(path.exists() for path in kept)
    assert "✓ removed /etc/cron.d/vicisync\n" in said
    cures = [line.partition("; to remove it: ")[2] for line in said.splitlines() if line.startswith("✓ Kept the ")]
    assert 2 == len(cures)
    for cure in cures:
        assert 0 == server.machine.run("sh", "-c", cure).returncode
    assert before == server.everything()
    said = server.install("--uninstall")
    assert "✅ Neither /etc/cron.d/vicisync nor /etc/logrotate.d/vicisync is there\n" == said


def test_uninstall_after_which_cron_still_runs_vicisync_fails_and_says_where(server: Server) -> None:
    server.crontab("@daily nothing\n* * * * * /usr/local/bin/vicisync run\n")
    server.install()
    said = server.install("--uninstall", code=2)
    assert "❌ Cron still runs vicisync\n   → remove root's crontab line 2\n" in said
    assert [] == [name for name in FILES if server.path(name).exists()]


def test_uninstall_by_whoever_may_not_enter_the_state_folder_says_what_it_would_do(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.checkpoint_file.parent.mkdir(0o700)
    settings.checkpoint_file.touch()
    said: list[str] = []
    with as_nobody():
        uninstall(settings, said.append, dry_run=True)
    assert "🔍 Dry run: nothing was changed" == said[-1]


def test_uninstall_that_cannot_remove_a_file_fails(server: Server) -> None:
    server.job.mkdir()
    assert "❌ Cannot remove /etc/cron.d/vicisync: Is a directory\n   → Fix that" in server.install(
        "--uninstall", code=2
    )


def test_uninstall_needs_no_valid_configuration(server: Server) -> None:
    server.install()
    server.dids_conf.write_text("[general]\n[vicisync]\noverlap=none\n")
    said = server.install("--uninstall")
    assert "✓ Kept the state, which lies where dids.conf says, by default in /var/lib/vicisync\n" in said
    assert not server.job.exists()
    assert server.checkpoint_file.parent.exists()
