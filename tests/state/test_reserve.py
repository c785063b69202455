"""The reserve: room on the disk while calls are in flight, and what is left of a run that was killed."""

from pathlib import Path

import pytest

from vicisync.errors import CheckpointError
from vicisync.state.reserve import RESERVE, Reserve


def test_it_takes_its_room_once_and_gives_it_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "checkpoint")
    for _ in range(2):
        reserve.hold()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= RESERVE
    reserve.release()
    assert [] == list(tmp_path.iterdir())


def test_what_was_left_is_known_from_the_begin_and_goes_with_the_end(tmp_path: Path) -> None:
    Reserve(tmp_path / "checkpoint").hold()
    after_a_kill = Reserve(tmp_path / "checkpoint")
    after_a_kill.release()
    assert [True, False] == [after_a_kill.was_left, Reserve(tmp_path / "checkpoint").was_left]


def test_without_a_checkpoint_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reserve = Reserve(None)
    reserve.hold()
    assert (False, []) == (reserve.was_left, list(tmp_path.iterdir()))
    reserve.release()


def test_where_there_is_no_room_the_checkpoint_is_named_with_the_cure(tmp_path: Path) -> None:
    said = f"No room beside the checkpoint {tmp_path}/none/c.d: No such .* could not be recorded$"
    with pytest.raises(CheckpointError, match=said):
        Reserve(tmp_path / "none" / "c.d").hold()
