"""What the launcher leaves in a run directory, with ranks that only pretend to train."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from inkwash.commands import train
from inkwash.config.paths import config_dir
from inkwash.files import write_text
from inkwash.runs.directory import RunDirectory

# Claims a file until its input ends, and says whether it could.
CLAIM = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); sys.stdin.read()"
CLAIM = CLAIM.replace("sys.stdin", "print(1); sys.stdin")
QUICK = ("debug=fast", "logger=csv", "trainer=cpu")
RUN = Path("runs/run")


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose("train", [*QUICK, "run=run", "hydra.job.name=train"], return_hydra_config=True)


@pytest.fixture
def start(tmp_path, monkeypatch, capfd, composed):
    """start(ranks, **changes): `train run=run` where ranks(directory) stands for the job; returns status and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", composed)

    def begin(ranks, **changes):
        config = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        for key, value in changes.items():
            OmegaConf.update(config, key, value)
        monkeypatch.setattr(train, "start", lambda job, config, *_: ranks(config.parent))
        try:
            train.train(config)
        except SystemExit as stop:
            return stop.code, capfd.readouterr().err
        return 0, capfd.readouterr().err

    return begin


def trained(directory):
    """Ranks that have nothing to complain of."""
    write_text(directory / "summary.json", '{"metrics": {}}')
    return 0


@pytest.mark.slow
def test_a_new_start_without_checkpoint_is_a_new_wandb_run(start):
    """Without a checkpoint nothing of its first life goes on; with one it is the same run, whatever was changed."""

    def id_after(**changes):
        assert start(trained, **changes)[0] == 0
        return json.loads((RUN / "run.json").read_text())["id"]

    first = id_after()
    assert id_after() == first
    second = id_after(**{"optimizer.lr": 0.5})
    assert second != first
    (RUN / "checkpoints").mkdir()
    (RUN / "checkpoints" / "step-00000001.ckpt").touch()
    assert id_after(**{"optimizer.lr": 0.25}) == second


@contextlib.contextmanager
def another_claims(path):
    """Gives whether another process could claim a file, which it keeps meanwhile."""
    command = [sys.executable, "-u", "-S", "-c", CLAIM, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        yield bool(process.stdout.readline())
        process.communicate()


def test_the_command_locks_its_directory_until_the_ranks_end(start):
    """Also while they import torch, and have claimed nothing yet."""
    claimed = {}

    def ranks(directory):
        for name in ("launch.lock", "train.log"):
            with another_claims(directory / name) as claimed[name]:
                pass
        return trained(directory)

    assert start(ranks)[0] == 0
    assert claimed == {"launch.lock": False, "train.log": True}
    with another_claims(RUN / "launch.lock") as could:
        assert could


@pytest.mark.parametrize("whose", ["launch.lock", "train.log"])
def test_a_directory_in_which_another_trains_stays_as_it_is(start, monkeypatch, whose):
    monkeypatch.setattr("inkwash.runs.lock.PATIENCE_SECONDS", 0.1)
    RUN.mkdir(parents=True)
    with another_claims(RUN / whose) as could:
        assert could
        status, said = start(trained)
    assert status == 1
    assert said.splitlines() == [
        "waiting for another process that trains in runs/run",
        "error: another process trains in runs/run: wait for its end, or choose another run=NAME",
    ]
    assert {path.name for path in RUN.iterdir()} <= {"launch.lock", "train.log"}
    assert start(trained)[0] == 0


def test_a_sweeps_job_leaves_the_status_of_a_running_training(start, sweeps, monkeypatch):
    monkeypatch.setattr("inkwash.runs.lock.PATIENCE_SECONDS", 0)
    RUN.mkdir(parents=True)
    RunDirectory(RUN).write_status("running")
    with another_claims(RUN / "launch.lock"):
        _, said = start(trained)
    assert said.endswith("error: another process trains in runs/run: wait for its end, or choose another run=NAME\n")
    assert RunDirectory(RUN).status["state"] == "running"
    assert not (RUN / "run.json").exists()


@pytest.fixture
def sweeps(composed, monkeypatch):
    """As `start`, but of a sweep's job."""
    settings = OmegaConf.merge(composed, {"hydra": {"mode": "MULTIRUN", "sweep": {"dir": "runs", "subdir": "run"}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", settings)


@pytest.mark.parametrize("file", ["command.txt", "job/status.json"])
def test_a_run_does_not_go_into_a_sweep(start, file):
    (RUN / file).parent.mkdir(parents=True)
    (RUN / file).touch()
    status, said = start(trained)
    assert (status, said) == (1, "error: run=run: runs/run is a sweep: choose another run=NAME\n")
    assert [path.name for path in RUN.iterdir()] == [file.partition("/")[0]]


def test_a_run_that_a_sweep_went_into_goes_on(start, finished):
    (RUN / "command.txt").touch()
    assert start(trained)[0] == 0


def test_a_refused_start_leaves_no_directory(start):
    status, said = start(trained, resume="must")
    assert status == 1
    assert "there is no runs/run/checkpoints/last.ckpt" in said
    assert not RUN.exists()


def test_a_failure_before_the_first_step_leaves_no_directory(start):
    assert start(lambda directory: 1)[0] == 1
    assert not Path("runs").exists()
    assert start(trained, run="before")[0] == 0
    with pytest.raises(RuntimeError):
        start(lambda directory: exec("raise RuntimeError"))
    assert start(lambda directory: sys.exit(130))[0] == 130
    assert [path.name for path in Path("runs").iterdir() if not path.is_symlink()] == ["before"]
    assert Path("runs/latest").readlink() == Path("before")


@pytest.mark.parametrize("left", ["metrics.csv", "samples/step-00000001.png", "checkpoints/last.ckpt", "wandb/x"])
def test_a_failure_of_a_training_that_has_begun_keeps_what_it_has(start, left):
    def ranks(directory):
        (directory / left).parent.mkdir(exist_ok=True)
        (directory / left).touch()
        return 1

    assert start(ranks)[0] == 1
    assert RunDirectory(RUN).status["state"] == "failed"
    assert (RUN / left).exists()


def test_a_failed_job_of_a_sweep_keeps_its_directory(start, sweeps):
    assert start(lambda directory: 1)[0] == 0
    assert RunDirectory(RUN).status["state"] == "failed"


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_job_of_a_sweep_with_a_damaged_record_fails_alone(start, sweeps, content):
    RUN.mkdir(parents=True)
    (RUN / "run.json").write_text(content)
    assert start(trained) == (0, "")
    error = "runs/run/run.json is damaged: delete it, and the run is a new one to W&B"
    assert RunDirectory(RUN).status | {"time": 0} == {"state": "failed", "error": error, "time": 0}
    (RUN / "run.json").unlink()
    start(trained)
    assert RunDirectory(RUN).status["state"] == "finished"


# --- A resume that comes to nothing -----------------------------------------------------------------------------------


@pytest.fixture
def finished(start):
    """A run that has ended: a checkpoint, and what the launcher writes; gives all of it."""

    def ranks(directory):
        (directory / "checkpoints").mkdir()
        (directory / "checkpoints" / "last.ckpt").touch()
        return trained(directory)

    assert start(ranks)[0] == 0
    return content()


def content():
    return {path.name: path.read_text() for path in RUN.iterdir() if path.is_file()}


def test_a_resume_that_the_ranks_refuse_leaves_the_run_as_it_was(start, finished):
    def ranks(directory):
        assert RunDirectory(directory).next_config["seed"] == 5
        assert RunDirectory(directory).status["state"] == "running"
        assert (directory / "config.yaml").read_text() == finished["config.yaml"]  # whoever is killed now
        return 1

    assert start(ranks, seed=5)[0] == 1
    assert content() == finished


def test_a_signal_before_a_checkpoint_leaves_the_run_as_it_was(start, finished):
    def ranks(directory):
        sys.exit(143)

    assert start(ranks, seed=5)[0] == 143
    assert content() == finished


def test_a_resume_that_fails_after_a_checkpoint_is_the_new_run(start, finished):
    def ranks(directory):
        RunDirectory(directory).accept_next_config()
        return 1

    assert start(ranks, seed=5)[0] == 1
    assert RunDirectory(RUN).config["seed"] == 5
    assert RunDirectory(RUN).status["state"] == "failed"


def test_a_resume_with_nothing_to_do_takes_the_new_configuration(start, finished):
    assert start(trained, seed=5)[0] == 0
    assert RunDirectory(RUN).config["seed"] == 5
    assert not RunDirectory(RUN).next_config_path.exists()


def test_a_start_afresh_has_nothing_of_an_earlier_resume(start, finished):
    RunDirectory(RUN).write_next_config({"seed": 7})  # its launcher was killed
    (RUN / "checkpoints" / "last.ckpt").unlink()
    seeds = []
    start(lambda directory: seeds.append(RunDirectory(directory).next_config["seed"]) or 1)
    assert seeds == [0]


def test_only_an_imported_run_has_made_no_step(start, finished):
    """last.ckpt alone may be of any step: a run that was copied, or unpacked from W&B."""
    adam = {"optimizer._target_": "torch.optim.Adam"}
    status, said = start(trained, **adam)
    assert status == 1
    assert "holds a checkpoint of another optimizer._target_" in said
    assert content() == finished
    about = json.loads(finished["run.json"])
    (RUN / "run.json").write_text(json.dumps(about | {"imported": "pipe"}))
    assert start(lambda directory: 1, **adam)[0] == 1
    assert start(trained, **adam)[0] == 0
    assert json.loads((RUN / "run.json").read_text())["imported"] == "pipe"
