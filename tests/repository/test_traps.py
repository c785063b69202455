"""Root reads and writes no file that somebody else planted, and leaves none that others could read."""

import os
import re
import shlex
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.did_optimizer import DidOptimizer, Fault, answer
from rehearsal.site import Site
from tests.conftest import command_here, finish_calls, run_here
from tests.limits import umask
from tests.state.test_files import IS_A_LINK, IS_NO_FILE
from tests.state.test_last_run import LAST_RUN
from vicisync.errors import CheckpointError
from vicisync.state.rejected import read_rejected
from vicisync.sync.monitoring import write_metrics

NOBODY = 65534

NEVER = answer(400, body=b'{"success": false, "error": "Never this"}')

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another account")


@pytest.fixture
def calls(site: Site) -> int:
    """Calls that wait to be sent by the first run; the state folder is there, and holds nothing."""
    site.checkpoint_file.parent.mkdir(mode=0o700)
    finish_calls(site, 5)
    return 5


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of root's that others would like to see read or written; it stays as it was."""
    file = tmp_path / "shadow"
    file.write_text("root:precious\n")
    file.chmod(0o600)
    before = file.stat()
    yield file
    after = file.stat()
    assert "root:precious\n" == file.read_text()
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (after.st_mode, after.st_uid, after.st_mtime_ns)


Plant = Callable[[Path, Path], None]
"""Puts something in the place of the first file, to get at the second."""


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nothing"))


def second_name(path: Path, victim: Path) -> None:
    os.link(victim, path)


def file_of_nobody(path: Path, victim: Path) -> None:  # noqa: ARG001 -- a Plant's signature
    path.write_text(f"{int(time.time())}\n")
    os.chown(path, NOBODY, NOBODY)


def pipe(path: Path, victim: Path) -> None:  # noqa: ARG001 -- a Plant's signature
    os.mkfifo(path)


PLANTS: dict[Plant, str] = {
    link: IS_A_LINK,
    link_to_nothing: IS_A_LINK,
    second_name: "it has a second name, elsewhere (a hard link); remove this one",
    file_of_nobody: "it belongs to another account; look into it, then remove it or chown root {path}",
    pipe: IS_NO_FILE,
}
"""What each is refused with."""

TRAPS = [
    pytest.param(name, plant, id=f"{name}: {plant.__name__}", marks=[as_root] if plant is file_of_nobody else [])
    for name in ("checkpoint", "checkpoint.lock", "rejected.jsonl")
    for plant in PLANTS
    if (name, plant) != ("checkpoint", second_name)
]


@pytest.mark.parametrize(("name", "plant"), TRAPS)
def test_a_planted_file_is_refused_with_a_sentence_and_its_removal_is_the_cure(
    name: str, plant: Plant, site: Site, api: DidOptimizer, calls: int, victim: Path
) -> None:
    """The rejected file is looked at when a call has to go into it, all else before anything is sent."""
    api.fault_for = lambda _: NEVER if api.records else None
    path = site.checkpoint_file.with_name(name)
    plant(path, victim)
    before = path.lstat()
    done = run_here(site)
    assert isinstance(done.error, CheckpointError)
    assert f"{path}: {PLANTS[plant].format(path=path)}" in str(done.error)
    assert (before.st_mode, before.st_size) == (path.lstat().st_mode, path.lstat().st_size)
    assert not victim.with_name("nothing").exists()
    assert name == "rejected.jsonl" or not api.posts
    delivered = len(api.records)
    path.unlink()
    api.forget()
    assert run_here(site).error is None
    assert calls == delivered + len(api.records) + len(read_rejected(site.rejected_file).calls)


@pytest.mark.parametrize("plant", [link, link_to_nothing, second_name, pipe])
@pytest.mark.parametrize("suffix", ["new", "reserve", "last_run.new", "last_run"])
def test_what_is_planted_beside_the_checkpoint_is_replaced_and_not_followed(
    suffix: str, plant: Plant, site: Site, api: DidOptimizer, calls: int, victim: Path
) -> None:
    plant(site.checkpoint_file.with_name(f"checkpoint.{suffix}"), victim)
    assert run_here(site).error is None
    assert calls == len(api.records)
    assert not victim.with_name("nothing").exists()


def test_a_link_where_the_rejected_file_is_rewritten_is_not_followed(site: Site, api: DidOptimizer, calls: int) -> None:
    """Retrying writes it anew, beside it."""
    api.fault_for = lambda _: NEVER if api.records else None
    run_here(site)
    api.fault_for = None
    site.rejected_file.with_name("rejected.jsonl.new").symlink_to(site.rejected_file.with_name("elsewhere"))
    assert 0 == site.vicisync("retry-rejected").returncode
    assert calls == len(api.records)
    assert not site.rejected_file.with_name("elsewhere").exists()


@pytest.mark.parametrize("plant", [link, link_to_nothing, second_name])
def test_metrics_in_a_folder_of_another_account_s_follow_no_link(plant: Plant, tmp_path: Path, victim: Path) -> None:
    """It cannot know the name of what is written beside the metrics, or it gains nothing by it."""
    folder = tmp_path / "node-exporter"
    folder.mkdir()
    metrics = folder / "vicisync.prom"
    for name in ("", ".new", f".{os.getpid()}.{threading.current_thread().ident}"):
        plant(Path(f"{metrics}{name}"), victim)
    write_metrics(metrics, LAST_RUN)
    assert b"vicisync_last_run_exit_code 0\n" in metrics.read_bytes()
    assert (stat.S_IFREG | 0o644, 1) == (metrics.lstat().st_mode, metrics.lstat().st_nlink)
    assert not victim.with_name("nothing").exists()


# Folders


def open_to(mode: int) -> Callable[[Path], None]:
    return lambda folder: folder.chmod(mode)


def of_nobody(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)


OPEN = "others can write to its folder"
FOLDERS = [
    pytest.param(open_to(0o770), OPEN, id="to its group"),
    pytest.param(open_to(0o702), OPEN, id="to the others"),
    pytest.param(of_nobody, "its folder belongs to another account", id="to its owner", marks=as_root),
]
COMMANDS = [("run",), ("run", "--dry-run"), ("status",), ("reset-checkpoint", "--yes"), ("retry-rejected",)]


def cured(said: str) -> None:
    """Do what the sentence says, as an administrator would."""
    found = re.search(r"; (ch(?:mod|own) .+)", said)
    assert found, said
    subprocess.run(shlex.split(found[1]), check=True, timeout=10)


@pytest.mark.parametrize(("opened", "said"), FOLDERS)
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_folder_that_is_open_to_others_is_refused_by_every_command_until_it_is_closed(
    opened: Callable[[Path], None], said: str, arguments: tuple[str, ...], site: Site, api: DidOptimizer, calls: int
) -> None:
    folder = site.checkpoint_file.parent
    site.checkpoint_file.write_text(f"{int(time.time()) - 3600}\n")
    opened(folder)
    before = sorted(folder.iterdir())
    done = command_here(site, *arguments)
    assert 5 == done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert before == sorted(folder.iterdir())
    assert not api.posts
    cured(done.stderr)
    assert 0 == command_here(site, *arguments).returncode
    assert len(api.posts) == (calls if arguments == ("run",) else 0)


def test_of_a_folder_such_as_tmp_no_mode_is_mended(site: Site, calls: int) -> None:  # noqa: ARG001 -- makes the folder
    site.checkpoint_file.parent.chmod(0o1777)
    said = str(run_here(site).error)
    assert "others can write to its folder" in said
    assert said.endswith("; name another in dids.conf")
    assert "chmod" not in said


def test_a_rejected_file_in_a_folder_of_its_own_that_is_open_to_others_is_refused_and_its_call_kept(
    site: Site, api: DidOptimizer, calls: int
) -> None:
    folder = site.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    site.configure(rejected_file=str(folder / "rejected.jsonl"))
    api.fault_for = lambda _: NEVER if api.records else None
    error = run_here(site).error
    assert isinstance(error, CheckpointError)
    assert f"Cannot write the rejected file {folder}/rejected.jsonl: others can write to its folder" in str(error)
    assert not list(folder.iterdir())
    cured(str(error))
    delivered = len(api.records)
    api.forget()
    assert run_here(site).error is None
    assert calls == delivered + len(api.records) + len(read_rejected(folder / "rejected.jsonl").calls)


def test_a_folder_named_in_a_shells_own_signs_is_cured_by_the_command_as_it_is_said(site: Site, calls: int) -> None:
    folder = site.folder / "$(touch x) 'of' calls"
    folder.mkdir()
    folder.chmod(0o777)
    site.configure(checkpoint_file=str(folder / "checkpoint"))
    cured(str(run_here(site).error))
    done = run_here(site)
    assert (None, calls) == (done.error, done.tally and done.tally.delivered)


# Modes


def test_every_file_of_a_run_is_closed_to_others_from_its_first_byte_on(site: Site, api: DidOptimizer) -> None:
    """Looked at from within the API's answers, while the reserve is held and calls are in flight, and at the end."""
    finish_calls(site, 20)
    state = site.checkpoint_file.parent
    seen: dict[str, int] = {}

    def look(payload: dict[str, object]) -> Fault | None:
        seen.update({path.name: path.stat().st_mode for path in [state, *state.iterdir()]})
        return NEVER if str(payload.get("uniqueid")).endswith(("1", "2", "3")) else None

    api.fault_for = look
    with umask(0):
        assert 6 == site.vicisync("run").returncode
        look({})
        api.fault_for = None
        assert 0 == site.vicisync("retry-rejected").returncode
        look({})
    assert 0o700 == stat.S_IMODE(seen.pop("state"))
    assert {"checkpoint", "checkpoint.lock", "checkpoint.reserve", "checkpoint.last_run", "rejected.jsonl"} <= set(seen)
    assert dict.fromkeys(seen, 384) == {name: stat.S_IMODE(mode) for name, mode in seen.items()}
