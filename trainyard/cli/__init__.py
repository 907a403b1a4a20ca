"""Command line of Trainyard; ``entry`` is the program ``trainyard``."""

from __future__ import annotations

import sys


def entry() -> None:
    """Run the command that this process was started for. Ctrl-C ends the imports, too, in peace."""
    try:
        from trainyard.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    main()
