"""Run a job on one rank: python -m inkwash.launch.rank MODULE:FUNCTION CONFIG.

The function is called with the directory of CONFIG. What it raises is reported there; ranks that torchrun or srun has
started first wait for each other (heartbeat.py).
"""

import signal
import sys


def main() -> None:
    """Import the job's function and call it."""
    # Ctrl-C ends the process without a traceback, from here on: all that takes time is imported after this.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import contextlib
    import importlib
    import os
    from pathlib import Path

    from inkwash.launch import quick_imports
    from inkwash.launch.environment import RankEnv
    from inkwash.launch.report import reporting
    from inkwash.launch.start import COMMAND_LINE
    from inkwash.launch.streams import tolerate_readers

    tolerate_readers()
    job, config = sys.argv[1], Path(sys.argv[2])
    module, _, name = job.partition(":")
    with reporting(config.parent), contextlib.ExitStack() as stack:
        quick_imports.defer()
        function = getattr(importlib.import_module(module), name)
        command_line = os.environ.get(COMMAND_LINE)
        if command_line is not None and RankEnv.current().world_size > 1:
            from inkwash.launch.heartbeat import heartbeat

            stack.enter_context(heartbeat(config, command_line))
        function(config.parent)


if __name__ == "__main__":
    main()
