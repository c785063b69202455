"""Files that must survive: what a crash leaves at each step, and what is refused in a file's place."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.limits import as_nobody, largest_file, umask
from vicisync.state.files import create, open_regular, replace_file

OLD, NEW = b"the whole old file\n" * 50, b"the whole new file\n" * 70

Step = Callable[[str], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def open_fds() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@contextmanager
def watched(before: Step | None = None, after: Step | None = None) -> Iterator[None]:
    """Tell each thing that is asked of the disk, before it is done and after."""

    def step(real: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def stepped(*args: Any) -> Any:
            if before:
                before(name(*args))
            done = real(*args)
            if after:
                after(name(*args))
            return done

        return stepped

    def fsync(fd: int) -> str:
        return f"fsync {Path(f'/proc/self/fd/{fd}').readlink()}"

    with (
        patch.object(os, "write", step(os.write, lambda *_: "write")),
        patch.object(os, "fsync", step(os.fsync, fsync)),
        patch.object(Path, "rename", step(Path.rename, lambda *_: "rename")),
    ):
        yield


# A file replaced in one step


@pytest.mark.parametrize("there", [True, False], ids=["over an old one", "where there was none"])
@pytest.mark.parametrize("content", [NEW, b""], ids=["full", "empty"])
def test_a_replaced_file_holds_the_new_content_and_leaves_no_other(path: Path, there: bool, content: bytes) -> None:
    if there:
        path.write_bytes(OLD)
    os.close(replace_file(path, content))
    assert content == path.read_bytes()
    assert ["file"] == names(path.parent)


def test_the_descriptor_appends_to_the_new_file(path: Path) -> None:
    path.write_bytes(OLD)
    fd = replace_file(path, NEW)
    with path.open("ab") as other:
        other.write(b"by another\n")
    os.write(fd, b"more\n")
    os.close(fd)
    assert NEW + b"by another\nmore\n" == path.read_bytes()


def test_content_is_on_the_disk_before_it_takes_the_name_and_the_name_before_it_counts(path: Path) -> None:
    """No power is cut here; what is asked of the disk, and in which order, is looked at instead."""
    steps: list[str] = []
    with watched(steps.append):
        os.close(replace_file(path, NEW))
    assert ["write", f"fsync {path}.new", "rename", f"fsync {path.parent}"] == steps


class Killed(BaseException):
    """SIGKILL, placed: no clean-up follows it."""


STEPS = ["write", "fsync file", "rename", "fsync folder"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [pytest.param(number, id=step) for number, step in enumerate(STEPS)])
def test_a_crash_at_each_step_leaves_the_whole_old_or_the_whole_new_file(path: Path, number: int, moment: str) -> None:
    path.write_bytes(OLD)
    seen: list[str] = []

    def kill(step: str) -> None:
        seen.append(step)
        if len(seen) > number:
            raise Killed

    with watched(**{moment: kill}), pytest.raises(Killed):
        replace_file(path, NEW)
    done = STEPS[:number] if moment == "before" else STEPS[: number + 1]
    assert (NEW if "rename" in done else OLD) == path.read_bytes()
    os.close(replace_file(path, NEW))
    assert NEW == path.read_bytes()
    assert ["file"] == names(path.parent)


# Where it cannot be replaced


def failing(step_to_fail: str) -> AbstractContextManager[None]:
    def fail(step: str) -> None:
        if step == step_to_fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return watched(fail)


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    path.parent.chmod(0o500)
    with as_nobody():
        yield


@pytest.mark.parametrize(
    ("said", "left", "obstacle"),
    [
        pytest.param("Input/output error", OLD, lambda _: failing("write"), id="write"),
        pytest.param("Input/output error", OLD, lambda path: failing(f"fsync {path}.new"), id="fsync"),
        pytest.param("Input/output error", OLD, lambda _: failing("rename"), id="rename"),
        pytest.param("Input/output error", NEW, lambda path: failing(f"fsync {path.parent}"), id="fsync of the folder"),
        pytest.param("No space left on device", OLD, lambda _: largest_file(len(NEW) - 1), id="a write cut short"),
        pytest.param("Permission denied", OLD, locked_folder, id="a folder that may not be written"),
    ],
)
def test_where_a_step_fails_that_is_told_and_one_whole_file_is_left_and_nothing_open(
    path: Path, said: str, left: bytes, obstacle: Callable[[Path], AbstractContextManager[None]]
) -> None:
    path.write_bytes(OLD)
    before = open_fds()
    with obstacle(path), pytest.raises(OSError, match=said):
        replace_file(path, NEW)
    assert left == path.read_bytes()
    assert ["file"] == names(path.parent)
    assert before == open_fds()


@pytest.mark.parametrize("taken", ["file", "file.new"])
def test_a_folder_in_the_place_of_the_file_is_told_and_stays(path: Path, taken: str) -> None:
    path.with_name(taken).mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(path, NEW)
    assert [taken] == names(path.parent)
    assert path.with_name(taken).is_dir()


# Rights


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("there", [True, False], ids=["over one that others could read", "where there was none"])
def test_only_the_owner_may_read_a_new_file_from_its_first_byte_on(path: Path, there: bool, mask: int) -> None:
    if there:
        path.write_bytes(OLD)
        path.chmod(0o644)
    modes: list[int] = []

    def look(_: str) -> None:
        modes.extend(each.stat().st_mode & 0o777 for each in path.parent.iterdir() if not there or each != path)

    with umask(mask), watched(look, look):
        os.close(replace_file(path, NEW))
    modes.append(path.stat().st_mode & 0o777)
    assert {0o600} == set(modes)


def test_a_file_that_appears_while_one_is_made_is_not_written_to(path: Path) -> None:
    """Whoever wins the race between unlink and open would own what is written."""

    def unlink_and_plant(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        self.write_bytes(b"planted")

    unlink = Path.unlink
    path.write_bytes(OLD)
    with patch.object(Path, "unlink", unlink_and_plant), pytest.raises(FileExistsError):
        create(path)
    assert b"planted" == path.read_bytes()


# Reading


IS_A_LINK = "it is a symbolic link, which vicisync does not follow; remove it, or name the file itself in dids.conf"
IS_NO_FILE = "it is not a file; move it away, or name another in dids.conf"


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # a socket's path may be no longer than 107 bytes


@pytest.mark.parametrize(
    ("said", "plant"),
    [
        pytest.param("No such file or directory", lambda _: None, id="nothing"),
        pytest.param(IS_A_LINK, lambda path: path.symlink_to(__file__), id="link"),
        pytest.param(IS_A_LINK, lambda path: path.symlink_to("nowhere"), id="link to nothing"),
        pytest.param(IS_NO_FILE, Path.mkdir, id="folder"),
        pytest.param(IS_NO_FILE, os.mkfifo, id="pipe"),
        pytest.param("No such device or address", listen, id="socket"),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    path: Path, said: str, plant: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    plant(path)
    before = open_fds()
    with pytest.raises(OSError, match=said):
        open_regular(path)
    assert before == open_fds()


def test_what_is_opened_goes_with_the_process_and_to_no_child(path: Path) -> None:
    os.close(replace_file(path, NEW))
    file, _ = open_regular(path)
    with file:
        assert not os.get_inheritable(file.fileno())
    fd = create(path)
    assert not os.get_inheritable(fd)
    os.close(fd)
