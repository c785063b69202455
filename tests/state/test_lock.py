import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.limits import as_nobody, fill, small_disk
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.checkpoint import Checkpoint
from vicisync.state.files import open_ours, replace_file
from vicisync.state.lock import UNKNOWN_HOLDER, lock_holder, locked
from vicisync.state.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


HOLDER = """
import sys, time
from pathlib import Path
from vicisync.state.lock import UNKNOWN_HOLDER, lock_holder, locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_holder_and_goes_with_it_however_it_died(path: Path) -> None:
    with another_run(path) as process:
        said = rf"\(process {process} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\); this one touched nothing$"
        with pytest.raises(AlreadyRunning, match=said), locked(path):
            pass
    with locked(path):
        pass


def test_a_run_that_was_turned_away_leaves_the_lock_with_its_holder(path: Path) -> None:
    with locked(path):
        for _ in range(2):
            with pytest.raises(AlreadyRunning, match=rf"\(process {os.getpid()} since"), locked(path):
                pass


def test_a_holder_that_has_not_signed_yet_is_told_as_such(path: Path) -> None:
    with locked(path):
        path.with_name("checkpoint.lock").write_text("")
        with pytest.raises(AlreadyRunning, match=r"\(not yet known which\)"), locked(path):
            pass


def test_the_lock_is_free_again_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(path):
        _ = 1 // 0
    with locked(path):
        pass


def test_the_lock_of_a_shorter_name_is_written_over(path: Path) -> None:
    path.with_name("checkpoint.lock").write_text("process 4194304 since 2024-10-24 12:00:00, and more\n")
    with locked(path):
        lock = path.with_name("checkpoint.lock").read_text()
    assert re.fullmatch(rf"process {os.getpid()} since [-\d]+ [:\d]+\n", lock)


@contextmanager
def another_run(path: Path) -> Iterator[int]:
    """Another process that holds the lock; its number."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder.pid
        finally:
            holder.send_signal(signal.SIGKILL)


def test_the_lock_holds_when_its_file_is_removed(path: Path) -> None:
    path.write_text("1729771200\n")
    with another_run(path) as process:
        path.with_name("checkpoint.lock").unlink()
        for _ in range(2):  # the first leaves a lock file of its own behind
            said = rf"\(process {process}; its lock file was removed\); this one touched nothing$"
            with pytest.raises(AlreadyRunning, match=said), locked(path):
                pass
            assert lock_holder(path) == f"process {process}; its lock file was removed"
    with locked(path):
        assert re.match(rf"process {os.getpid()} since", lock_holder(path) or "")
    assert lock_holder(path) is None


def test_the_lock_goes_over_to_each_checkpoint_that_is_put_in_place(path: Path) -> None:
    """A run that began before the file was there, or when another was, holds it all the same."""
    with locked(path), Store(Checkpoint(1, 1, 1), path, path.with_name("rejected.jsonl")) as store:
        for looked_until in (2, 3):
            store.looked(looked_until, 0)
            path.with_name("checkpoint.lock").unlink()
            with pytest.raises(AlreadyRunning, match="its lock file was removed"), locked(path):
                pass
    with locked(path):
        pass


def test_a_checkpoint_that_was_replaced_before_it_could_be_locked_is_another_run_s(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced_meanwhile(path: Path, flags: int) -> int:
        fd = open_ours(path, flags)
        os.close(replace_file(path, b"1729771260\n"))
        return fd

    path.write_text("1729771200\n")
    monkeypatch.setattr("vicisync.state.lock.open_ours", replaced_meanwhile)
    with pytest.raises(AlreadyRunning), locked(path):
        pass


@pytest.mark.parametrize("held", ["by the one before", "by this one"])
def test_version_1_0_0_which_locks_the_one_file_and_this_one_keep_each_other_away(path: Path, held: str) -> None:
    def lock_as_1_0_0_does() -> None:
        with path.with_name("checkpoint.lock").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held == "by the one before":
                with pytest.raises(AlreadyRunning), locked(path):
                    pass

    path.write_text("1729771200\n")
    if held == "by the one before":
        lock_as_1_0_0_does()
    else:
        with locked(path), pytest.raises(BlockingIOError):
            lock_as_1_0_0_does()


@pytest.mark.parametrize("there", ["a folder", "a link", "nothing"])
def test_what_is_no_checkpoint_is_locked_by_the_lock_file_alone_and_left_to_whoever_reads_it(
    path: Path, there: str
) -> None:
    if there == "a folder":
        path.mkdir()
    elif there == "a link":
        path.symlink_to(__file__)
    with locked(path), pytest.raises(AlreadyRunning), locked(path):
        pass


@pytest.mark.parametrize(("name", "said"), [("file", "File exists"), ("locked", "Permission denied")])
def test_a_folder_that_cannot_be_made_or_written_is_told(tmp_path: Path, name: str, said: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o500)
    path = tmp_path / name / "checkpoint"
    said = f"^Cannot lock the checkpoint: {re.escape(str(path))}.lock: {said}$"
    with as_nobody(), pytest.raises(CheckpointError, match=said), locked(path):
        pass


def test_a_full_disk_is_told_before_anything(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        fill(disk)
        with pytest.raises(CheckpointError), locked(disk / "checkpoint"):
            pass


def test_where_the_kernel_shows_no_locks_the_holder_is_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicisync.state.lock._LOCKS", path.parent / "none")
    with locked(path):
        assert UNKNOWN_HOLDER == lock_holder(path)
