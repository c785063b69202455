"""The checkpoint as the run before left it: read whole and trusted only where it is sound."""

from pathlib import Path

from vicisync.errors import CheckpointError
from vicisync.state.checkpoint import Checkpoint, Damaged, parse
from vicisync.state.files import check_folder, open_regular

_LARGEST = 256 * 1024 * 1024


def read_checkpoint(path: Path, give_up_after: int) -> Checkpoint | None:
    """Return the checkpoint; None where there is none yet. Raises CheckpointError where it cannot be trusted."""
    try:
        check_folder(path.parent)
        file, status = open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}") from error
    with file:
        try:
            if status.st_size > _LARGEST:
                raise Damaged(f"it is {status.st_size} bytes long, far more than any checkpoint")
            return parse(file.read().decode("ascii"), give_up_after)
        except UnicodeDecodeError as error:
            damage = Damaged(f"byte {error.start} is no text")
        except Damaged as error:
            damage = error
    kept = "Nothing was sent and the file was left as it is"
    cure = "To go on from a time of your choice: vicisync reset-checkpoint --to '1h'"
    raise CheckpointError(f"The checkpoint {path} is damaged: {damage}. {kept}. {cure}") from damage
