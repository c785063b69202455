"""What ``vicisync.pyz`` starts with: written for every Python, to say so where one is too old."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 -- whoever starts it may have any
    sys.stderr.write(
        "vicisync.pyz needs Python 3.10 or newer, and this is %d.%d: name a newer one, such as python3.11 %s\n"  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1], sys.argv[0])
    )
    sys.exit(2)

from vicisync.commands.cli import main

main()
