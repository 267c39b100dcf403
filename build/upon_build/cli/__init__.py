"""The command line `func` (also `upon`, `python -m upon`). Subcommands are imported when they are called."""

from upon_build.cli.app import main

__all__ = ["main"]
