"""The checkpoint as the run before left it: read whole and trusted only where it is sound."""

import errno
from pathlib import Path

from vicisync.errors import CURE, CheckpointError
from vicisync.state.checkpoint import Checkpoint, Damaged, parse
from vicisync.state.files import check_folder, open_regular, version_of

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
    text = f"The checkpoint {path} is damaged: {damage}. {kept}"
    raise CheckpointError(f"{text}{CURE}vicisync reset-checkpoint") from damage
