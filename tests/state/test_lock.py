import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import as_nobody, fill, small_disk
from vicisync.errors import AlreadyRunning, CheckpointError
from vicisync.state.lock import UNKNOWN_HOLDER, lock_holder, locked


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
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            said = rf"\(process {holder.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\); this one touched nothing$"
            with pytest.raises(AlreadyRunning, match=said), locked(path):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
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
