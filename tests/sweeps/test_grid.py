"""A grid runs the jobs that are not done (jobs take no time: support.fast_jobs)."""

import csv

from support.sweeps import run, states


def test_a_repeated_sweep_runs_what_is_left(tmp_path):
    """A job fails and a job is killed: the others finish, both are told, and only these two run again."""
    arguments = ("sweep=mine", "optimizer.lr=1e-2,1e-3,1e-4,1e-1", "launcher=parallel")
    first = run(*arguments, cwd=tmp_path, FAIL="1e-3", DIE="1e-4")
    directory = tmp_path / "runs" / "mine"
    assert first.returncode == 1, first.stderr
    assert sorted(states(directory).values()) == ["failed", "finished", "finished", "running"]
    assert "failed: optimizer.lr=0.001: error: as it was told to" in first.stdout
    assert "running: optimizer.lr=0.0001: " in first.stdout

    begun = set((directory / "begun").read_text().splitlines())
    (directory / "begun").unlink()
    second = run(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "4 jobs, 2 of them done already" in second.stdout
    again = (directory / "begun").read_text().splitlines()
    assert len(again) == 2
    assert set(again) < begun
    assert set(states(directory).values()) == {"finished"}
    with open(directory / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["heldout_loss"]) for row in rows]
    assert losses == sorted(losses) == [0, 1, 1, 4]
    assert (directory / "command.txt").read_text().startswith("make sweep sweep=mine optimizer.lr=1e-2,1e-3")
