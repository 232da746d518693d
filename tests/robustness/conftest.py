"""Training jobs to kill, and the counts printed at the end."""

import pytest

from support import counts
from support.job_server import JobServer

# No evaluation: it takes long.
BARE = ("~callbacks.evaluation", "learning_rate.total_steps=20", "learning_rate.warmup_steps=2")


@pytest.fixture(scope="session")
def jobs():
    server = JobServer()
    yield server
    server.close()


@pytest.fixture
def new_run(quick_run):
    """new_run(name, *overrides): a run directory as the command leaves it for the ranks."""
    return lambda name, *overrides: quick_run(name, *BARE, *overrides)


def pytest_terminal_summary(terminalreporter):
    if counts.COUNTS:
        terminalreporter.section("what was tried here")
        for line in counts.lines():
            terminalreporter.write_line(line)
