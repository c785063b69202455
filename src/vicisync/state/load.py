"""The checkpoint as the run before left it: read whole and trusted only where it is sound."""

import errno
import time
from contextlib import suppress
from pathlib import Path

from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Checkpoint, Damaged, parse
from vicisync.state.files import check_folder, open_regular, version_of

OLD_CHECKPOINT_MAX_AGE = 2 * 86400
"""Seconds since its last change after which the Perl script's checkpoint is nobody's any more."""

_LARGEST = 256 * 1024 * 1024


def read_checkpoint(path: Path, give_up_after: int) -> Checkpoint | None:
    """Return the checkpoint; None where there is none yet. Raises CheckpointError where it cannot be trusted."""
    try:
        check_folder(path.parent)
        file, status = open_regular(path)
        with file:
            if status.st_size > _LARGEST:
                raise Damaged(f"it is {status.st_size} bytes long, far more than any checkpoint")
            checkpoint = parse(file.read().decode("ascii"), give_up_after)
        checkpoint.version = version_of(status)
        return checkpoint
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        damage = Damaged(f"byte {error.start} is no text")
    except Damaged as error:
        damage = error
    except OSError as error:
        if error.errno != errno.EIO:  # which is a bad sector, and lasts
            raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}") from error
        damage = Damaged("the disk cannot read it (Input/output error)")
    kept = "Nothing was sent and the file was left as it is"
    cure = "To go on from a time of your choice: vicisync reset-checkpoint --to '1h'"
    raise CheckpointError(f"The checkpoint {path} is damaged: {damage}. {kept}. {cure}") from damage


def read_old_checkpoint(path: Path, give_up_after: int) -> Checkpoint | None:
    """Return the Perl script's checkpoint; None where it is missing, stale, or anyone could have planted it."""
    try:
        file, status = open_regular(path)
    except OSError:
        return None
    with file, suppress(ValueError):
        checkpoint = parse(file.read(100).decode("ascii"), give_up_after)
        if time.time() - status.st_mtime <= OLD_CHECKPOINT_MAX_AGE and checkpoint.end_epoch <= time.time():
            return checkpoint
    return None
