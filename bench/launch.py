"""Run one command, wait for it, and print what it used; a small program, to be run by its path.

    python -I -S launch.py LOG COMMAND [ARGUMENT ...]

What the command prints is appended to LOG. Printed as JSON: ``seconds`` from start to end, ``cpu`` seconds of user and
system together, ``peak`` bytes of resident memory, ``exit_code``. Linux counts the memory of the process that starts
another into the peak of the latter, so it has to be smaller than what it measures: hence a program of its own.
"""

import json
import os
import sys
import time


def main() -> None:
    """Do it."""
    log, *command = sys.argv[1:]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    to_log = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    began = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=to_log)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    used = {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    sys.stdout.write(json.dumps(used))


if __name__ == "__main__":
    main()
