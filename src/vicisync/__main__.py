"""``python -m vicisync`` is the command."""

from __future__ import annotations

from vicisync.commands.cli import main

if __name__ == "__main__":
    main()
