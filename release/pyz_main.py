"""What ``vicisync.pyz`` starts with: written for every Python, to say so where one is too old."""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 -- an installation would refuse it; nothing is installed here
    sys.stderr.write(
        "vicisync needs Python 3.9 or newer, and this is %d.%d: name a newer one, such as python3.11 %s\n"  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1], sys.argv[0])
    )
    sys.exit(2)

# Python 3.9 is left with older versions of some of what comes along.
sys.path.insert(1, sys.path[0] + ("/python3.10" if sys.version_info >= (3, 10) else "/python3.9"))

from vicisync.commands.cli import main

main()
