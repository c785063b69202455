"""Disk held back while calls are in flight, so that their answers can be recorded on a full disk."""

import os
from contextlib import suppress
from pathlib import Path

from vicisync.errors import CURE, CheckpointError
from vicisync.state.files import create

RESERVE = 64 * 1024  # bytes


class Reserve:
    """A file beside the checkpoint, which only a run that was killed while it sent calls leaves behind.

    Where ``checkpoint_file`` is None, nothing is held.
    """

    def __init__(self, checkpoint_file: Path | None) -> None:
        self._path = checkpoint_file and checkpoint_file.with_name(checkpoint_file.name + ".reserve")
        self.was_left = self._path is not None and os.path.exists(self._path)  # noqa: PTH110 -- raises nothing
        self.is_held = False

    def hold(self) -> None:
        """Take the room, before calls are sent; raise CheckpointError where there is none."""
        if self.is_held or not self._path:
            return
        try:
            with os.fdopen(create(self._path), "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        except OSError as error:
            self.release()
            text = f"No room beside the checkpoint {self._path.with_suffix('')}: {error.strerror}"
            why = "Nothing was sent, since what is sent could not be recorded"
            raise CheckpointError(f"{text}. {why}{CURE}make room: df -h {self._path.parent}") from error
        self.is_held = True

    def release(self) -> None:
        """Give the room back."""
        with suppress(OSError):  # one that stays behind does no harm: the next run makes its own
            if self._path:
                self._path.unlink()
