"""``vicisync install`` on a machine of its own: what it makes, what it leaves alone, and how it takes it all back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rehearsal.site import COMMAND
from tests.limits import as_nobody, largest_file
from tests.machine import COMPLETION, CRON_D, LOG, LOGROTATE_D, MAN_PAGE, Machine, machine, needs_root
from vicisync.calls.call import Call, payload
from vicisync.commands.crontab import jobs
from vicisync.commands.etc_files import put_file
from vicisync.commands.install import install
from vicisync.commands.install.shipped import command_of, cron_text, is_unchanged, marked, shipped
from vicisync.errors import InstallError
from vicisync.state.checkpoint import Watched, render, starting_at
from vicisync.state.checkpoint_file import CheckpointFile
from vicisync.state.rejected import add_rejected

pytestmark = pytest.mark.not_pyz

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PERL = "cd /home/na/didapi && /usr/bin/perl process-call-results.pl >> /var/log/did-optimizer-sync.log 2>&1"


class Server:
    """A machine with both configuration files, and the installed command on it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.dids_conf = folder / "dids.conf"
        self.checkpoint_file = folder / "var" / "state" / "checkpoint"
        self.rejected_file = self.checkpoint_file.with_name("rejected.jsonl")
        self.dids_conf.write_text(
            f"[general]\napi_key=s3cr3t\n[vicisync]\n"
            f"checkpoint_file={self.checkpoint_file}\nrejected_file={self.rejected_file}\n"
        )
        self.environment = {**os.environ, "VICISYNC_DIDS_CONF": str(self.dids_conf)}

    def install(self, *options: str, code: int = 0, **environment: str) -> str:
        said = self.machine.vicisync("install", *options, environment={**self.environment, **environment}, code=code)
        assert "s3cr3t" not in said
        return said

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
    (tmp_path / "site").mkdir()
    with machine(tmp_path / "machine") as started:
        yield Server(started, tmp_path / "site")


def mode(path: Path) -> str:
    return f"{path.lstat().st_mode & 0o7777:04o} {path.owner()}"


INSTALLED = {
    CRON_D: "0644 root",
    LOGROTATE_D: "0644 root",
    MAN_PAGE: "0644 root",
    COMPLETION: "0644 root",
    LOG: "0640 root",
}


@needs_root
@pytest.mark.parametrize("umask", ["0000", "0022", "0077"])
def test_install_makes_each_file_with_its_mode_whatever_the_umask(umask: str, server: Server) -> None:
    before = server.machine.names()
    done = server.machine.run(
        "sh", "-c", f"umask {umask}; {COMMAND} install", environment=server.environment
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert set(INSTALLED) == server.machine.names() - before
    assert INSTALLED == {name: mode(server.machine.path(name)) for name in INSTALLED}
    assert "0700 root" == mode(server.checkpoint_file.parent)
    assert [] == [path.name for path in server.checkpoint_file.parent.iterdir() if path.stat().st_mode & 0o077]
    for name in INSTALLED:
        assert f"/{name}" in done.stdout
    assert f"made {server.checkpoint_file.parent}, mode 0700" in done.stdout
    assert "✅ Cron runs vicisync; to watch it: tail -f /var/log/did-optimizer-sync.log\n" in done.stdout


@needs_root
def test_the_job_runs_the_executable_that_was_called_with_the_files_that_were_named(server: Server) -> None:
    server.install()
    text = server.machine.path(CRON_D).read_text()
    command = f"{COMMAND} run --dids-conf {server.dids_conf} >> /var/log/did-optimizer-sync.log 2>&1"
    assert [command] == [job.command for job in jobs(text, with_user=True)]
    assert f"\n* * * * * root {command}\n" in text
    assert f"\n#* * * * * root sleep 30; {command}\n" in text


@needs_root
@pytest.mark.parametrize(
    ("called", "words"),
    [
        pytest.param("ln -s {command} link; ./link", "{folder}/link", id="by a link"),
        pytest.param("ln -s {command} vicisync; PATH={folder}:$PATH; vicisync", "{folder}/vicisync", id="by PATH"),
        pytest.param("{python} -m vicisync", "{python} -m vicisync", id="as a module"),
        pytest.param("mkdir 'a b'; ln -s {command} 'a b/v'; 'a b/v'", "'{folder}/a b/v'", id="with a blank"),
    ],
)
def test_the_job_runs_what_was_called_by_that_very_path(called: str, words: str, server: Server) -> None:
    places = {"command": COMMAND, "folder": server.folder, "python": sys.executable}
    shell = f"cd {server.folder}; {called.format(**places)} install --dids-conf dids.conf"
    done = server.machine.run("sh", "-c", shell, environment={"PATH": os.environ["PATH"]})
    assert 0 == done.returncode, done.stderr
    job = f"\n* * * * * root {words.format(**places)} run --dids-conf {server.dids_conf} >> "
    assert job in server.machine.path(CRON_D).read_text()


@needs_root
@pytest.mark.parametrize("times", [1, 2])
def test_installing_again_changes_nothing(times: int, server: Server) -> None:
    server.install()
    before = server.everything()
    for _ in range(times):
        said = server.install()
        assert "made" not in said
        assert "wrote" not in said
        assert 4 == said.count(" is as it should be\n")
    assert before == server.everything()


@needs_root
def test_a_dry_run_shows_what_would_be_written_and_changes_nothing(server: Server) -> None:
    server.crontab("@daily nothing\n")
    before = server.everything()
    said = server.install("--dry-run")
    assert before == server.everything()
    assert "→ would write /etc/cron.d/vicisync\n" in said
    for line in (DEPLOY / "logrotate" / "vicisync").read_text().splitlines():
        assert f"\n    {line}\n" in said
    assert f"\n    * * * * * root {COMMAND} run --dids-conf " in said
    assert said.endswith("🔍 Dry run: nothing was changed\n")
    server.install()
    before = server.everything()
    said = server.install("--uninstall", "--dry-run")
    assert before == server.everything()
    assert "→ would remove /etc/cron.d/vicisync\n" in said
    assert f"→ would remove {server.checkpoint_file.parent}\n" in said


@needs_root
@pytest.mark.parametrize("name", [CRON_D, LOGROTATE_D, MAN_PAGE])
def test_a_file_that_an_administrator_changed_is_kept_until_force(name: str, server: Server) -> None:
    server.install()
    path = server.machine.path(name)
    as_written = path.read_bytes()
    changed = as_written + b"# caf\xe9: ours\n"
    path.write_bytes(changed)
    said = server.install()
    assert f"⚠ /{name} was changed by somebody, and is kept; --force writes it anew\n" in said
    assert changed == path.read_bytes()
    assert f"✓ renewed /{name}\n" in server.install("--force")
    assert as_written == path.read_bytes()


@needs_root
@pytest.mark.parametrize(
    "earlier",
    [
        pytest.param(lambda text: marked(text.replace(b"* * * * *", b"*/2 * * * *"), "#"), id="of another version"),
        pytest.param(lambda text: text, id="copied from deploy"),
    ],
)
def test_a_file_that_nobody_changed_is_renewed_without_asking(
    earlier: Callable[[bytes], bytes], server: Server
) -> None:
    path = server.machine.path(CRON_D)
    path.write_bytes(earlier((DEPLOY / "cron" / "vicisync").read_bytes()))
    assert "✓ renewed /etc/cron.d/vicisync\n" in server.install()
    assert f"root {COMMAND} run --dids-conf {server.dids_conf}" in path.read_text()


@needs_root
def test_a_file_of_ours_that_cron_would_pass_over_is_renewed(server: Server) -> None:
    server.install()
    path = server.machine.path(CRON_D)
    path.chmod(0o666)
    assert "✓ renewed /etc/cron.d/vicisync\n" in server.install()
    assert "0644 root" == mode(path)


@needs_root
def test_an_installation_without_a_job_says_so(server: Server) -> None:
    server.machine.path(CRON_D).write_text("# not now\n")
    said = server.install()
    assert "⚠ No job of cron runs vicisync; --force writes the changed file anew\n" in said
    assert "✅" not in said


@needs_root
@pytest.mark.parametrize(
    "text", ["precious\n", (DEPLOY / "cron" / "vicisync").read_text()], ids=["", "to what is shipped"]
)
def test_a_link_in_the_place_of_a_file_is_kept_and_never_followed(text: str, server: Server) -> None:
    other = server.folder / "other"
    other.write_text(text)
    other.chmod(0o644)
    for name in (CRON_D, LOG):
        server.machine.path(name).symlink_to(other)
    said = server.install()
    assert "⚠ /etc/cron.d/vicisync was changed by somebody, and is kept" in said
    assert "⚠ /var/log/did-optimizer-sync.log is no plain file, and was left as it is" in said
    assert server.machine.path(CRON_D).is_symlink()
    server.install("--force")
    assert not server.machine.path(CRON_D).is_symlink()
    server.install("--uninstall")
    assert server.machine.path(LOG).is_symlink()
    assert (text, "0644 root") == (other.read_text(), mode(other))


@needs_root
def test_a_log_that_all_could_read_is_closed_to_them_and_keeps_what_it_says(server: Server) -> None:
    log = server.machine.path(LOG)
    log.write_text("of the old script\n")
    log.chmod(0o664)
    assert "changed the mode of /var/log/did-optimizer-sync.log from 0664 to 0640" in server.install()
    assert ("of the old script\n", "0640 root") == (log.read_text(), mode(log))
    assert "✓ /var/log/did-optimizer-sync.log was there before, and is kept\n" in server.install("--uninstall")
    assert "of the old script\n" == log.read_text()


# The old script


def put_line(server: Server, place: str) -> tuple[Path, str]:
    """Put the old script's line among others into one of cron's tables; give the file, and what it is called."""
    lines = "# ours\nMAILTO=root\n{user}\n\n17 * * * * {other}echo caf\xe9\n"
    if place == "crontab":
        server.crontab(lines.format(user=f"* * * * * {PERL}", other=""))
        return server.machine.path("var/spool/cron/crontabs/root"), "root's crontab"
    path = server.machine.path(place)
    path.write_bytes(lines.format(user=f"* * * * * root {PERL}", other="root ").encode("latin-1"))
    path.chmod(0o600)
    os.chown(path, 0, 8)
    return path, f"/{place}"


PLACES = pytest.mark.parametrize("place", ["crontab", "etc/crontab", "etc/cron.d/did-optimizer"])


@needs_root
@PLACES
def test_nothing_is_installed_while_the_old_script_runs(place: str, server: Server) -> None:
    _, name = put_line(server, place)
    before = server.everything()
    for options in ([], ["--dry-run"], ["--force"]):
        said = server.install(*options, code=2)
        assert f"❌ The old script still runs: {name} line 3. Both would send every call twice" in said
        assert "vicisync install --replace-old" in said
    assert before == server.everything()


@needs_root
@PLACES
def test_replace_old_comments_the_line_out_and_leaves_the_others(place: str, server: Server) -> None:
    path, name = put_line(server, place)
    before, was = path.read_bytes(), (mode(path), path.stat().st_gid)
    said = server.install("--replace-old", "--dry-run")
    assert f"→ would comment out line 3 of {name}, which runs the old script\n" in said
    assert before == path.read_bytes()
    said = server.install("--replace-old")
    assert f"✓ commented out line 3 of {name}, which runs the old script\n" in said
    why = b"# Commented out by vicisync install, which took over:\n#* * * * * "
    without_header = path.read_bytes()[-len(before) - len(why) + len(b"* * * * * ") :]
    assert before[before.index(b"# ours") :].replace(b"* * * * * ", why, 1) in without_header
    assert was == (mode(path), path.stat().st_gid)
    assert server.machine.path(CRON_D).exists()
    server.install()


@needs_root
def test_a_second_job_of_vicisync_is_pointed_out(server: Server) -> None:
    server.crontab("* * * * * /usr/local/bin/vicisync run\n")
    assert "⚠ root's crontab line 1 runs vicisync too: remove it, one is enough\n" in server.install()


@needs_root
def test_the_old_script_in_a_file_that_cron_passes_over_is_in_nobody_s_way(server: Server) -> None:
    server.machine.path("etc/cron.d/did.bak").write_text(f"* * * * * root {PERL}\n")
    server.install()


@needs_root
def test_a_linked_table_is_left_to_the_administrator(server: Server) -> None:
    target = server.folder / "table"
    target.write_text(f"* * * * * root {PERL}\n")
    server.machine.path("etc/cron.d/did").symlink_to(target)
    said = server.install("--replace-old", code=2)
    assert "❌ /etc/cron.d/did is a symbolic link, which install does not follow: remove line 1" in said
    assert f"* * * * * root {PERL}\n" == target.read_text()
    assert not server.machine.path(CRON_D).exists()


# What keeps it from installing


@needs_root
@pytest.mark.parametrize("environment", [{}, {"API_KEY": "s3cr3t"}], ids=["nowhere", "in an environment cron lacks"])
def test_nothing_is_installed_without_a_valid_configuration(environment: Mapping[str, str], server: Server) -> None:
    server.dids_conf.write_text("[general]\n")
    before = server.everything()
    assert "❌ api_key is missing: write api_key=YOUR_KEY" in server.install(code=2, **environment)
    assert before == server.everything()


@needs_root
@pytest.mark.parametrize(("folder", "package"), [("etc/cron.d", "cron"), ("etc/logrotate.d", "logrotate")])
def test_a_missing_package_is_named_before_anything_is_written(folder: str, package: str, server: Server) -> None:
    server.machine.path(folder).rmdir()
    before = server.everything()
    said = server.install(code=2)
    assert f"❌ /{folder} is missing: install {package} (apt-get install {package}) first" in said
    assert before == server.everything()


@needs_root
def test_man_page_and_completion_are_left_out_where_there_is_no_place_for_them(server: Server) -> None:
    shell = f"umount /usr/share/bash-completion/completions; mount -t tmpfs tmpfs /usr/share; {COMMAND} install"
    done = server.machine.run("unshare", "--mount", "sh", "-c", shell, environment=server.environment)
    assert 0 == done.returncode, done.stderr
    assert server.machine.path(CRON_D).exists()
    assert "vicisync.1" not in done.stdout


def test_who_may_not_write_is_told_to_be_root_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    state = Path("/var/lib/vicisync-of-a-test")
    # Read before: nobody may not look into a checkout in /root.
    read = {str(path.relative_to(DEPLOY)): path.read_bytes() for path in DEPLOY.rglob("*") if path.is_file()}
    for module in ("vicisync.commands.install.shipped", "vicisync.install"):
        monkeypatch.setattr(sys.modules[module], "shipped", read.__getitem__)
    with as_nobody(), pytest.raises(InstallError, match=r"nothing was installed\. Try as root: sudo vicisync install"):
        install(state / "checkpoint", [str(COMMAND)], {}, said.append)
    assert [] == said
    assert not state.exists()


@needs_root
def test_a_read_only_place_is_found_before_anything_is_written(server: Server) -> None:
    before = server.everything()
    shell = f"mount -o remount,bind,ro /var/log && {COMMAND} install"
    done = server.machine.run("unshare", "--mount", "sh", "-c", shell, environment=server.environment)
    assert 2 == done.returncode
    assert "❌ Cannot write to /var/log; nothing was installed." in done.stderr
    assert before == server.everything()


@needs_root
def test_a_full_disk_ends_it_with_what_to_mend(server: Server) -> None:
    old = (DEPLOY / "cron" / "vicisync").read_bytes()
    server.machine.path(CRON_D).write_bytes(old)
    small = "mount -t tmpfs -o size=16k tmpfs /mnt && cp /etc/cron.d/vicisync /mnt && mount --move /mnt /etc/cron.d"
    shell = f"{small} && head -c 16k /dev/zero > /etc/cron.d/filler; {COMMAND} install; cat /etc/cron.d/vicisync"
    done = server.machine.run("unshare", "--mount", "sh", "-c", shell, environment=server.environment)
    assert "❌ Cannot renew /etc/cron.d/vicisync: No space left on device. Mend that, then try again" in done.stderr
    assert done.stdout.endswith(old.decode())


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_no_other_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with largest_file(100), pytest.raises(OSError, match="No space left on device"):
        put_file(path, b"x" * 200)
    assert ([path], b"old") == (list(tmp_path.iterdir()), path.read_bytes())


@needs_root
def test_a_machine_without_crontab_has_no_crontab_of_root_s(server: Server) -> None:
    server.machine.path("etc/crontab").unlink()
    done = server.machine.run("env", "PATH=/nonexistent", COMMAND, "install", environment=server.environment)
    assert 0 == done.returncode, done.stderr
    assert server.machine.path(CRON_D).exists()


@needs_root
def test_a_crontab_that_cannot_be_read_is_not_taken_for_an_empty_one(server: Server) -> None:
    program = server.folder / "crontab"
    program.write_text("#!/bin/sh\necho 'crontab: damaged' >&2\nexit 1\n")
    program.chmod(0o755)
    before = server.everything()
    assert "❌ crontab -l failed: crontab: damaged. Mend that" in server.install(
        code=2, PATH=f"{server.folder}:{os.defpath}"
    )
    assert before == server.everything()


@pytest.mark.parametrize("name", ["50%", "a\nb", "a\x1bb"])
def test_a_path_that_cron_cannot_run_is_refused(name: str) -> None:
    for command, confs in (([f"/opt/{name}/vicisync"], {}), (["/v"], {"--dids-conf": Path(f"/etc/{name}")})):
        with pytest.raises(InstallError, match="Cron cannot run "):
            cron_text(command, confs)


def test_without_names_the_job_is_the_shipped_one() -> None:
    assert (DEPLOY / "cron" / "vicisync").read_bytes() == cron_text(["/usr/local/bin/vicisync"], {})


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
    (tmp_path / "v" / "__main__.py").write_text("pass\n")
    pyz = tmp_path / "v.pyz"
    subprocess.run(
        [sys.executable, "-m", "zipapp", tmp_path / "v", "-o", pyz, "-p", "/usr/bin/env python3"], check=True
    )
    assert os.access(pyz, os.X_OK)
    assert ["/usr/bin/python3", str(pyz)] == command_of(str(pyz), "/usr/bin/python3")


@pytest.mark.parametrize(
    ("found", "unchanged"),
    [
        pytest.param(marked(b"a\nb\n", "#"), True, id="as written"),
        pytest.param(marked(b"a\nb\n", '.\\"'), True, id="as written, a man page"),
        pytest.param(b"as shipped\n", True, id="as shipped"),
        pytest.param(marked(b"a\nb\n", "#") + b"c\n", False, id="a line more"),
        pytest.param(marked(b"a\nb\n", "#").replace(b"\nb", b""), False, id="a line less"),
        pytest.param(marked(b"a\nb\n", "#")[:-1], False, id="without its last byte"),
        pytest.param(b"a\nb\n", False, id="without a mark"),
        pytest.param(b"# mine\n" + marked(b"a\n", "#"), False, id="a line above the mark"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_the_mark_tells_whether_a_file_was_changed(found: bytes, unchanged: bool) -> None:
    assert unchanged is is_unchanged(found, b"as shipped\n")


def test_every_shipped_file_comes_from_the_checkout_in_an_editable_installation() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == shipped(str(path.relative_to(DEPLOY)))


# Taking it back


@needs_root
def test_uninstall_leaves_the_machine_as_it_was(server: Server) -> None:
    before = server.everything()
    server.install()
    log = server.machine.path(LOG)
    for suffix in (".1", ".2.gz", "-20261122.gz"):
        log.with_name(log.name + suffix).write_text("rotated")
    server.checkpoint_file.write_text(render(starting_at(int(time.time()), 28800)))
    for suffix in (".lock", ".last_run", ".new", ".reserve"):
        server.checkpoint_file.with_name(server.checkpoint_file.name + suffix).write_text("")
    server.rejected_file.write_text("")
    server.install("--uninstall")
    assert before == server.everything()
    assert "✅ Nothing was installed\n" == server.install("--uninstall")


@needs_root
def test_uninstall_keeps_what_was_there_before(server: Server) -> None:
    server.checkpoint_file.parent.mkdir(mode=0o700, parents=True)
    server.checkpoint_file.write_text(render(starting_at(int(time.time()), 28800)))
    server.machine.path(LOG + ".1").write_text("of the old script\n")
    before = server.everything()
    server.install()
    said = server.install("--uninstall")
    assert f"✓ {server.checkpoint_file.parent} was there before, and is kept\n" in said
    server.machine.path(LOG).unlink()  # where there are rotations, a log has been: it stays too
    after = server.everything()
    after.pop(f"{server.checkpoint_file}.lock")
    assert before == after


def waiting(server: Server) -> None:
    checkpoint = starting_at(int(time.time()), 28800)
    checkpoint.watching["1.1"] = Watched(1, int(time.time()), "not_ended", 0)
    server.checkpoint_file.write_text(render(checkpoint))


def rejected(server: Server) -> None:
    call = Call._make(["1.1", 1, *[None] * 15])
    add_rejected(server.rejected_file, "400", payload(call, {}))


def unreadable(server: Server) -> None:
    server.rejected_file.write_text("{torn")


def damaged(server: Server) -> None:
    server.checkpoint_file.write_text("end_epoch\tx\n")


@needs_root
@pytest.mark.parametrize(
    ("leave", "why"),
    [
        pytest.param(waiting, "it holds 1 waiting call.", id="a call that waits"),
        pytest.param(rejected, "it holds 1 rejected call.", id="a call that was rejected"),
        pytest.param(unreadable, "it holds 1 unreadable line of the rejected file.", id="a line nobody can read"),
        pytest.param(damaged, "is damaged: ", id="a damaged checkpoint"),
    ],
)
def test_uninstall_keeps_the_state_folder_with_what_is_undelivered(
    leave: Callable[[Server], None], why: str, server: Server
) -> None:
    server.install()
    leave(server)
    kept = {path: path.read_bytes() for path in (server.checkpoint_file, server.rejected_file) if path.exists()}
    folder = server.checkpoint_file.parent
    for options in ([], ["--force"]):
        said = server.install("--uninstall", *options)
        assert why in said
        assert f"to give it up: rm -r {folder}\n" in said
        assert kept == {path: path.read_bytes() for path in kept}
    assert set() == {name for name in INSTALLED if server.machine.path(name).exists()}
    for path in kept:
        path.unlink()
    server.machine.path(LOG).write_text("made by somebody else since\n")
    server.install("--uninstall")
    assert not folder.parent.exists()
    assert server.machine.path(LOG).exists()


@needs_root
def test_uninstall_keeps_what_is_not_vicisync_s(server: Server) -> None:
    server.install()
    notes = server.checkpoint_file.with_name("notes.txt")
    notes.write_text("precious")
    said = server.install("--uninstall")
    assert f"⚠ {notes.parent} is kept, since it holds what is not vicisync's: notes.txt\n" in said
    assert ["notes.txt"] == [path.name for path in notes.parent.iterdir()]


@needs_root
def test_uninstall_keeps_changed_files_and_while_cron_goes_on_everything(server: Server) -> None:
    server.install()
    cron, logrotate = server.machine.path(CRON_D), server.machine.path(LOGROTATE_D)
    for path in (cron, logrotate):
        path.write_text(path.read_text() + "# ours\n")
    before = server.everything()
    said = server.install("--uninstall")
    assert "⚠ /etc/cron.d/vicisync was changed by somebody, and is kept; --force removes it\n" in said
    assert before == server.everything()
    cron.unlink()
    assert "⚠ /etc/logrotate.d/vicisync was changed by somebody, and is kept" in server.install("--uninstall")
    assert {LOGROTATE_D} == {name for name in INSTALLED if server.machine.path(name).exists()}
    server.install("--uninstall", "--force")
    assert not logrotate.exists()


@needs_root
def test_uninstall_takes_nothing_from_a_run_at_work(server: Server) -> None:
    server.install()
    with CheckpointFile(server.checkpoint_file) as file:
        file.save(starting_at(int(time.time()), 28800))
        said = server.install("--uninstall", code=75)
        assert "❌ Another run is at work (process " in said
        assert server.checkpoint_file.exists()
        assert server.machine.path(LOG).exists()
    assert not server.machine.path(CRON_D).exists()
    server.install("--uninstall")
    assert not server.checkpoint_file.parent.exists()


@needs_root
def test_uninstall_needs_no_valid_configuration(server: Server) -> None:
    server.install()
    server.dids_conf.write_text("[general]\n")
    said = server.install("--uninstall")
    assert "⚠ api_key is missing: " in said
    assert "⚠ What install made is looked for in /var/lib/vicisync\n" in said
    assert not server.machine.path(CRON_D).exists()
    assert server.checkpoint_file.parent.exists()


@needs_root
def test_uninstall_takes_the_metrics_beside_the_checkpoint_too(server: Server) -> None:
    metrics = server.checkpoint_file.with_name("vicisync.prom")
    server.dids_conf.write_text(f"{server.dids_conf.read_text()}metrics_file={metrics}\n")
    server.install()
    metrics.write_text("vicisync_up 1\n")
    server.install("--uninstall")
    assert not server.checkpoint_file.parent.exists()


@needs_root
def test_uninstall_takes_no_order_to_replace(server: Server) -> None:
    assert "❌ --uninstall and --replace-old exclude each other" in server.install(
        "--uninstall", "--replace-old", code=2
    )


@needs_root
def test_a_damaged_note_lets_nothing_be_removed_that_may_have_been_there(server: Server) -> None:
    server.install()
    server.checkpoint_file.with_name("checkpoint.installed").write_text("{")
    server.install("--uninstall")
    assert server.machine.path(LOG).exists()
    assert server.checkpoint_file.parent.exists()
