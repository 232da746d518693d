"""The commands as a user runs them: real processes, real ranks."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from support.commands import QUICK, inkwash, ours
from support.runs import WITH_PAGE
from support.training import PAGE


def tree(directory):
    """List the files of a run, without W&B's own."""
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != "wandb")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def first(workplace):
    """One run of one process, with the default logger, that most tests below look at."""
    result = inkwash("train", *QUICK, WITH_PAGE, "run=first", "learning_rate.total_steps=4", cwd=workplace)
    assert result.returncode == 0, result.stderr
    return result


# --- Training and sampling --------------------------------------------------------------------------------------------


def test_train_says_where_everything_is(first, workplace):
    assert first.stdout.splitlines()[-1] == "runs/first    next: make sample run=runs/first num_images=64"
    run = workplace / "runs" / "first"
    assert (workplace / "runs" / "latest").resolve() == run
    assert tree(run) == [
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/step-00000002.ckpt",
        "checkpoints/step-00000004.ckpt", "config.yaml", "launch.lock", "metrics.csv", "metrics.jsonl",
        *PAGE, "run.json",
        "samples/step-00000002.png", "samples/step-00000004.png", "status.json", "summary.json", "train.log",
    ]  # fmt: skip
    assert sorted(path.name for path in workplace.iterdir()) == ["runs"]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 4
    assert summary["parameters"] > 0
    assert {"commit", "versions", "images_per_second", "seconds"} <= summary.keys()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert "Traceback" not in first.stderr


def test_wandb_has_one_complete_offline_run(first, workplace):
    """Read back from W&B's own records."""
    (record,) = (workplace / "runs" / "first" / "wandb").glob("offline-run-*")
    assert f"wandb sync {record.relative_to(workplace)}" in first.stderr
    wandb = Path(sys.executable).parent / "wandb"
    text = subprocess.run(
        [wandb, "leet", "inspect", "--json", record], capture_output=True, text=True, check=True
    ).stdout
    about = json.loads((workplace / "runs" / "first" / "run.json").read_text())
    assert record.name.endswith(about["id"])
    for key in ("train/loss", "train/learning_rate", "train/images_per_second", "metrics/fd_classifier_8", "samples"):
        assert key in text, key
    assert "trainer/global_step" in text
    assert "${" not in text
    for fact in ("global_batch_size", "parameters", "world_size", "commit", "channel_mult"):
        assert fact in text, fact
    rows = [json.loads(line) for line in text.splitlines() if '"history"' in line]
    assert rows, text[:2000]
    assert all("trainer/global_step" in json.dumps(row) for row in rows)


@pytest.mark.slow
def test_sampling_needs_only_the_directory_and_repeats_itself(first, workplace, tmp_path):
    moved = tmp_path / "moved" / "elsewhere"
    shutil.copytree(workplace / "runs" / "first", moved)
    options = (f"run={moved}", "num_images=12", "sampler=ddim", "spacing.steps=5", "seed=3")
    for out in ("a", "b"):
        result = inkwash("sample", *options, f"out={tmp_path / out}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert str(tmp_path / out / "grid.png") in result.stdout
        assert result.stderr == ""  # a short job leaves a log file alone
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / out).rglob("*.png")} for out in ("a", "b"))
    assert a == b
    assert sorted(a) == [*(f"{i:06d}.png" for i in range(12)), "grid.png"]
    with Image.open(tmp_path / "a" / "images" / "000000.png") as image:
        assert (image.mode, image.size) == ("L", (8, 8))


@pytest.mark.slow
def test_sample_draws_the_grid_that_training_logged(first, workplace, tmp_path):
    options = ("num_images=4", "columns=2", "sampler=ancestral_between", "spacing.steps=2", "seed=0", f"out={tmp_path}")
    assert inkwash("sample", "run=first", *options, cwd=workplace).returncode == 0
    logged = workplace / "runs" / "first" / "samples" / "step-00000004.png"
    assert (tmp_path / "grid.png").read_bytes() == logged.read_bytes()


# --- Two ranks --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def continued(first, workplace):
    """The first run's weights measured by one and by two processes: two more steps at a learning rate of 0."""
    more = ("trainer.max_steps=6", "learning_rate.total_steps=4", "callbacks.evaluation.num_images=13")
    witness = "+callbacks.witness._target_=support.parts.Witness"
    results = []
    for name, trainer in (("one", ("trainer=cpu",)), ("two", ("trainer=ddp_cpu", "trainer.devices=2"))):
        shutil.copytree(workplace / "runs" / "first", workplace / "runs" / name)
        results.append(inkwash("train", *QUICK, *trainer, *more, witness, f"run={name}", cwd=workplace))
    assert [result.returncode for result in results] == [0, 0], [result.stderr for result in results]
    return results


@pytest.mark.slow
def test_grids_and_metrics_are_the_same_on_two_processes(continued, workplace):
    one, two = (workplace / "runs" / name for name in ("one", "two"))
    grids = [torch.frombuffer(bytearray(Image.open(r / "samples/step-00000006.png").tobytes()), dtype=torch.uint8)
             for r in (one, two)]  # fmt: skip
    # A batch of another size may round the last bit of a pixel the other way.
    assert (grids[0].int() - grids[1].int()).abs().max() <= 1
    records = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-2]) for run in (one, two)]
    assert [record["step"] for record in records] == [6, 6]
    assert records[0]["name"] == records[1]["name"] == "fd_classifier_13"
    assert records[0]["value"] == pytest.approx(records[1]["value"], rel=1e-4)


def test_two_ranks_make_one_run(continued, workplace):
    run = workplace / "runs" / "two"
    names = [name for name in tree(run) if not re.match(r"(witness|weights)-", name)]
    assert names == [name for name in tree(workplace / "runs" / "one") if not re.match(r"(witness|weights)-", name)]
    offline = list((run / "wandb").glob("offline-run-*"))
    # The copied run's own record, and one more, of the same id, for both ranks together.
    assert len({path.name[-8:] for path in offline}) == 1
    assert len(offline) == 2


def test_resume_kept_the_run_and_its_rows(continued, workplace):
    for name in ("one", "two"):
        with open(workplace / "runs" / name / "metrics.csv") as file:
            assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 4, 6]
    ids = {json.loads((workplace / "runs" / name / "run.json").read_text())["id"] for name in ("first", "one", "two")}
    assert len(ids) == 1


def test_ranks_draw_different_noise_and_share_weights_and_data(continued, workplace):
    """Together they are the one process: the same times, the same images, the same losses, in its order."""
    one, two = (workplace / "runs" / name for name in ("one", "two"))
    for step in (5, 6):
        ranks = [torch.load(two / f"witness-{rank}-{step}.pt") for rank in (0, 1)]
        whole = torch.load(one / f"witness-0-{step}.pt")
        assert not torch.equal(ranks[0]["t"], ranks[1]["t"])
        assert not torch.equal(ranks[0]["images"], ranks[1]["images"])
        for key in ("t", "images", "labels"):
            assert torch.equal(torch.cat([rank[key] for rank in ranks]), whole[key]), key
        torch.testing.assert_close(torch.cat([rank["losses"] for rank in ranks]), whole["losses"], rtol=1e-4, atol=1e-5)
        weights = [torch.load(two / f"weights-{rank}-{step}.pt") for rank in (0, 1)]
        assert torch.equal(*weights)


@pytest.mark.slow
def test_ranks_agree_on_importance_sampled_times(workplace):
    """Every t of 20 is known after two batches of 16; from then on two ranks draw what one process draws."""
    importance = ("loss=vlb", "times=importance", "times.history=1", "schedule.betas.T=20", "times.uniform=0.1")
    options = (
        *importance,
        "logger=csv",
        "~callbacks.evaluation",
        "~callbacks.samples",
        "+callbacks.witness._target_=support.parts.Witness",
    )
    runs = []
    for name, trainer in (("alone", ("trainer=cpu",)), ("paired", ("trainer=ddp_cpu", "trainer.devices=2"))):
        result = inkwash("train", *QUICK, *trainer, *options, f"run=times-{name}", cwd=workplace)
        assert result.returncode == 0, result.stderr
        runs.append(workplace / "runs" / f"times-{name}")
    states = [torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in runs]
    assert torch.equal(states[0]["loss.times.counts"], states[1]["loss.times.counts"])
    torch.testing.assert_close(states[0]["loss.times.losses"], states[1]["loss.times.losses"], rtol=1e-4, atol=1e-5)
    ranks = [torch.load(runs[1] / f"witness-{rank}-4.pt") for rank in (0, 1)]
    assert torch.equal(torch.cat([rank["t"] for rank in ranks]), torch.load(runs[0] / "witness-0-4.pt")["t"])


@pytest.mark.slow
def test_a_rank_that_raises_ends_the_job_with_its_traceback(workplace):
    bomb = "+callbacks.bomb={_target_: support.parts.Bomb, rank: 1, step: 2}"
    options = (
        "trainer=ddp_cpu",
        "trainer.devices=2",
        "logger=csv",
        "~callbacks.evaluation",
        "trainer.max_steps=1000",
        bomb,
    )
    start = time.monotonic()
    result = inkwash("train", *QUICK, *options, "run=bombed", cwd=workplace)
    assert result.returncode != 0
    assert time.monotonic() - start < 60
    assert "rank 1 failed:" in result.stderr
    assert "RuntimeError: the bomb went off" in result.stderr
    run = workplace / "runs" / "bombed"
    assert "the bomb went off" in (run / "error-rank-1.txt").read_text()
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert ours("runs/bombed") == []


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True], ids=["train", "sweep"])
def test_ctrl_c_leaves_nothing_behind(sweep, tmp_path):
    """Nor does it start a sweep's next job."""
    many = ("--multirun", "sweep=stopped", "seed=1,2") if sweep else ("run=stopped",)
    endless = ("logger=csv", "~callbacks.evaluation", "trainer.max_steps=99999")
    process = subprocess.Popen(
        [sys.executable, "-m", "inkwash.train", *many, *QUICK, *endless],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/**/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in errors, errors
    assert "SIGINT      stopped after step" in errors
    assert [json.loads(path.read_text())["state"] for path in tmp_path.glob("runs/**/status.json")] == ["stopped"]
    assert ours("stopped") == []
    assert len(list(tmp_path.glob("runs/**/run.json"))) == 1


# --- Sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # tests/sweeps has both, with jobs that take no time
def test_sweep_ends_with_a_table_and_survives_a_failing_job(workplace):
    result = inkwash(
        "train", "--multirun", *QUICK, "trainer=cpu", "sweep=mine", "schedule=linear,cosine", "data.batch_size=16,15",
        "trainer.accumulate_grad_batches=2", cwd=workplace, timeout=400,
    )  # fmt: skip
    sweep = workplace / "runs" / "mine"
    assert result.returncode == 1, result.stderr
    with open(sweep / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "failed"]
    values = [float(row["fd_classifier_8"]) for row in rows[:2]]
    assert values == sorted(values)
    assert {row["schedule"] for row in rows[:2]} == {"linear", "cosine"}
    assert "data.batch_size=15" in result.stdout
    assert result.stdout.count("multiple of trainer.devices") >= 2
    jobs = [path for path in sweep.iterdir() if path.is_dir()]
    assert len(jobs) == 4
    records = [record for job in jobs for record in (job / "wandb").glob("offline-run-*")]
    assert len({record.name[-8:] for record in records}) == 2
    wandb = Path(sys.executable).parent / "wandb"
    for record in records:
        text = subprocess.run([wandb, "leet", "inspect", "--json", record], capture_output=True, text=True).stdout
        assert re.search(r'"run_?group"\s*:\s*"mine"', text, re.IGNORECASE), text[:1000]
    assert all(json.loads((job / "run.json").read_text())["sweep"] == "mine" for job in jobs)
    assert "Traceback" not in result.stderr


# --- Mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = {
    "schedule=cosin": "Available options in 'schedule'",
    "shedule=cosine": "Key 'shedule' not in 'Train'",
    "model.chanels=3": "Key 'chanels' is not in struct",
    "+model.chanels=3": "did you mean model.channels?",
    "data=folder": "data.path has no value yet: pass data.path=",
    "seed=abc": "could not be converted to Integer",
    "trainer.devices=3": "data.batch_size=128 .* multiple of trainer.devices=3",
    "run=a/b": "run=a/b must be letters",
    "run=a b": "run=a b must be letters",
    "resume=must run=nowhere": "there is no runs/nowhere/checkpoints/last.ckpt",
    "resume=perhaps": "resume=perhaps must be auto, must or never",
    "run=latest": "not `latest`",
    "sweep=a/b": "sweep=a/b must be letters",
    "trainer.devices=abc": "trainer.devices=abc must be a number",
    "trainer.num_nodes=2": "trainer.num_nodes=2 needs the same command on every node",
    "trainer.num_nodes=0": "trainer.num_nodes=0 must be a number of machines",
    "model.num_classes=5": "model.num_classes=5, but data.num_classes=10",
    "logger=wandb logger.wandb.mode=nope": "logger.wandb.mode=nope must be online or offline or disabled",
    "optimizer.lr=${nope}": "Interpolation key 'nope' not found",
    "resume=must": "pass run=NAME",
    "model._target_=inkwash.nets.unet.UNett": "did you mean UNet?",
}


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.items())
def test_mistakes_end_in_a_sentence_within_a_second_or_so(arguments, sentence, tmp_path):
    words = [arguments] if arguments == "run=a b" else arguments.split()
    result = inkwash("train", *words, cwd=tmp_path)
    assert result.returncode == 1
    assert re.search(sentence, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "sample"])
def test_the_parent_imports_nothing_heavy(command):
    heavy = ("torch", "lightning", "numpy", "pyarrow")
    code = f"import sys, inkwash.commands.{command}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_another_model_does_not_continue_a_run(first, workplace):
    result = inkwash("train", *QUICK, "run=first", "model.channels=16", cwd=workplace)
    assert result.returncode == 1
    assert "runs/first holds a checkpoint of another model" in result.stderr


def test_sampling_from_what_is_no_run(first, workplace, tmp_path):
    result = inkwash("sample", f"run={tmp_path}", cwd=workplace)
    assert result.returncode == 1
    assert "is not a run directory" in result.stderr


@pytest.mark.slow
def test_mistakes_that_only_the_ranks_see(first, workplace, tmp_path):
    """A checkpoint that does not fit its config.yaml; the sentence comes alone, without a traceback."""
    broken = tmp_path / "broken"
    shutil.copytree(workplace / "runs" / "first", broken)
    text = (broken / "config.yaml").read_text()
    (broken / "config.yaml").write_text(text.replace("channels: 8", "channels: 16"))
    result = inkwash("sample", f"run={broken}", f"out={tmp_path / 'out'}", cwd=workplace)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*checkpoint of another model.*", result.stderr.strip()), result.stderr


def test_eight_launches_at_once_get_eight_directories(tmp_path):
    code = (
        "from pathlib import Path; from inkwash.runs.names import new_directory; "
        "print(new_directory(Path('runs'), 'x'))"
    )
    with ThreadPoolExecutor(8) as pool:
        outs = pool.map(
            lambda _: subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True).stdout,
            range(8),
        )
    assert len(set(outs)) == 8
    assert len(list((tmp_path / "runs").iterdir())) == 8


@pytest.mark.slow
def test_config_yaml_repeats_the_run(first, workplace):
    """`--config-dir RUN --config-name config` trains the same configuration: same hash, same weights."""
    arguments = ("--config-dir", "runs/first", "--config-name", "config", "run=again")
    result = inkwash("train", *arguments, cwd=workplace)
    assert result.returncode == 0, result.stderr
    first_run, again = (workplace / "runs" / name for name in ("first", "again"))
    hashes = [json.loads((run / "run.json").read_text())["config_hash"] for run in (first_run, again)]
    assert hashes[0] == hashes[1]
    states = [torch.load(run / "checkpoints/last.ckpt")["state_dict"] for run in (first_run, again)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
