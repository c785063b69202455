import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from tests.limits import as_nobody
from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Damaged
from vicisync.state.load import read_checkpoint

GIVE_UP_AFTER = 28800


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@contextmanager
def refused(said: str) -> Iterator[None]:
    with pytest.raises(CheckpointError) as error:
        yield
    assert said == str(error.value)


def test_where_there_is_no_file_there_is_no_checkpoint(path: Path) -> None:
    assert read_checkpoint(path, GIVE_UP_AFTER) is None


def test_a_file_that_may_not_be_read_is_told(path: Path) -> None:
    path.write_text("1729771200\n")
    path.chmod(0)
    with as_nobody(), refused(f"Cannot read the checkpoint {path}: Permission denied"):
        read_checkpoint(path, GIVE_UP_AFTER)


@pytest.mark.parametrize(("why", "content"), [("it is empty", b""), ("byte 6 is no text", b"hello \xff")])
def test_damage_stops_the_run_with_the_command_that_helps(path: Path, why: str, content: bytes) -> None:
    path.write_bytes(content)
    with refused(
        f"The checkpoint {path} is damaged: {why}. Nothing was sent and the file was left as it is"
        "\n→ vicisync reset-checkpoint"
    ):
        read_checkpoint(path, GIVE_UP_AFTER)
    assert path.read_bytes() == content


def test_a_bad_sector_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("1729771200\n")
    file = mock.MagicMock()
    file.read.side_effect = OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr("vicisync.state.load.open_regular", lambda _: (file, path.stat()))
    said = r"is damaged: the disk cannot read it \(Input/output error\)\. (?s:.*)vicisync reset-checkpoint"
    with pytest.raises(CheckpointError, match=said) as error:
        read_checkpoint(path, GIVE_UP_AFTER)
    assert isinstance(error.value.__cause__, Damaged)


def test_a_file_too_large_for_a_checkpoint_is_damaged_and_not_read(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)
    said = "is damaged: it is 1099511627776 bytes long, far more than any checkpoint"
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(path, GIVE_UP_AFTER)
