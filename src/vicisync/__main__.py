"""``python -m vicisync`` is the command."""

from vicisync.commands.cli import main

if __name__ == "__main__":
    main()
