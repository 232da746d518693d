"""inkwash report: of a run, of a sweep, of several runs."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from inkwash.commands.output import writing_to
from inkwash.errors import UserError
from support.in_process import Commands
from support.runs import QUICK, WITH_PAGE, environment


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two runs, one without a page and one with."""
    folder = tmp_path_factory.mktemp("place")
    run = Commands(folder)
    few = ("~callbacks.evaluation", "callbacks.samples.num_images=4")
    assert run("train", *QUICK, *few, "run=plain").code == 0
    assert run("train", *QUICK, *few, WITH_PAGE, "run=other", "prediction=eps").code == 0
    return folder


@pytest.fixture
def run(place):
    return Commands(place)


def html(path):
    return re.sub(r'<script type="application/gzip".*?</script>', "", path.read_text(), flags=re.DOTALL)


def test_a_training_says_where_its_page_is(place, run):
    assert (place / "runs" / "other" / "report.html").exists()
    assert '<span class="state finished">finished</span>' in html(place / "runs" / "other" / "report.html")
    assert not (place / "runs" / "plain" / "report.html").exists()


def test_what_a_run_lacks_is_drawn(place, run):
    shutil.rmtree(place / "runs" / "plain" / "report", ignore_errors=True)
    ended = run("report", "run=plain")
    assert ended.code == 0, ended.text
    assert "drawing what report.html lacks: forward, schedules, reverse" in ended.text
    text = html(place / "runs" / "plain" / "report.html")
    assert 'id="reverse"' in text
    assert 'id="forward"' in text
    assert "What is missing" not in text
    assert "drawing" not in run("report", "run=plain").text


def test_without_a_checkpoint_it_says_what_cannot_be_drawn(place, run, tmp_path):
    shutil.copytree(place / "runs" / "plain", tmp_path / "half")
    for name in ("checkpoints", "report"):
        shutil.rmtree(tmp_path / "half" / name, ignore_errors=True)
    ended = run("report", f"run={tmp_path / 'half'}")
    assert ended.code == 0, ended.text
    assert "without the reverse process:" in ended.text
    text = html(tmp_path / "half" / "report.html")
    assert "the reverse process was not drawn yet" in text
    assert 'id="forward"' in text


def test_only_what_is_there(place, run, tmp_path):
    shutil.copytree(place / "runs" / "plain", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "report", ignore_errors=True)
    ended = run("report", f"run={tmp_path / 'half'}", "draw=false", f"out={tmp_path / 'page.html'}")
    assert ended.text == f"{tmp_path / 'page.html'}    open it in a browser\n"
    assert "the forward process was not drawn" in html(tmp_path / "page.html")


def test_runs_are_compared(place, run):
    ended = run("report", "runs=plain,other")
    assert ended.text == "runs/compare-plain-other.html    open it in a browser\n"
    text = html(place / "runs" / "compare-plain-other.html")
    assert "inkwash.process.predictions.Eps" in text
    assert "Image i of every run begins from the same noise" in text
    assert run("report", "runs=[plain,other]", "out=x.html").code == 0


def test_a_sweep(place, run):
    shutil.copytree(place / "runs" / "plain", place / "runs" / "mine" / "one")
    shutil.copytree(place / "runs" / "other", place / "runs" / "mine" / "two")
    assert run("report", "sweep=mine").text == "runs/mine/report.html    open it in a browser\n"
    assert "prediction=eps" in html(place / "runs" / "mine" / "report.html")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["run=nothing"],
            "run=nothing is not a run directory: neither nothing nor runs/nothing holds anything of a run",
        ),
        (["run=plain", "sweep=mine"], "report shows one thing at a time, not run and sweep: leave one out"),
        (["runs=plain"], "runs=plain compares two runs or more: runs=NAME,OTHER"),
        (["runs=plain,plain"], "runs=plain,plain compares two runs or more: runs=NAME,OTHER"),
        (["runs=plain,nothing"], "run=nothing is not a run directory: neither nothing nor runs/nothing holds"),
        (["sweep=nothing"], "sweep=nothing is not a directory, and neither is runs/nothing"),
        (["sweep=plain"], "sweep=runs/plain holds no jobs of a sweep"),
        (["run=plain", "out=runs"], "out=runs is a folder: name a file, out=runs/report.html"),
        (["draws=false"], "draws"),
    ],
)
def test_mistakes_end_in_one_sentence(run, arguments, sentence):
    assert sentence in run("report", *arguments).error


def test_a_failed_run_keeps_its_error(place, run, tmp_path):
    """The process that draws reports its own errors, in another folder."""
    shutil.copytree(place / "runs" / "plain", tmp_path / "bad")
    shutil.rmtree(tmp_path / "bad" / "report", ignore_errors=True)
    (tmp_path / "bad" / "error.txt").write_text("error: no\n")
    assert run("report", f"run={tmp_path / 'bad'}").code == 0
    assert (tmp_path / "bad" / "error.txt").read_text() == "error: no\n"
    assert (tmp_path / "bad" / "report" / "forward.png").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_cannot_be_written_there_can_be_written_elsewhere(number):
    with pytest.raises(UserError) as refused, writing_to("runs/one/report.html"):
        raise OSError(number, os.strerror(number), "runs/one/report.html.partial")
    assert str(refused.value) == (
        f"runs/one/report.html cannot be written ({os.strerror(number)}): pass out=PATH, where you may write"
    )
    with pytest.raises(OSError, match="No space"), writing_to("x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


READ_ONLY = """
mount --bind -o ro runs runs || exit 77
out=$1
shift
for what in report sample evaluate "report out=$out/page.html"; do
    "$@" $what run=plain
    echo "$what: $?"
done
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_run_on_a_read_only_disk(place, tmp_path):
    shutil.copytree(place / "runs" / "plain", tmp_path / "runs" / "plain")
    shutil.rmtree(tmp_path / "runs" / "plain" / "report", ignore_errors=True)
    command = ["unshare", "-m", "bash", "-c", READ_ONLY, "-", tmp_path, sys.executable, "-m", "inkwash"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert "Traceback" not in done.stdout + done.stderr
    ended = [line for line in done.stdout.splitlines() if re.search(r": \d+$", line)]
    assert ended == ["report: 1", "sample: 1", "evaluate: 1", f"report out={tmp_path}/page.html: 0"]
    assert done.stderr.count("cannot be written (Read-only file system): pass out=PATH, where you may write") == 3
    assert "the forward process was not drawn" in html(tmp_path / "page.html")


@pytest.mark.slow
def test_a_killed_training_leaves_a_whole_page_and_can_be_shown_anew(tmp_path):
    command = [sys.executable, "-m", "inkwash", "train", *QUICK, WITH_PAGE, "run=killed", "trainer.max_steps=100000"]
    often = ("callbacks.samples.every_n_steps=10", "callbacks.heldout.every_n_steps=10", "callbacks.report.share=0.5")
    page = tmp_path / "runs" / "killed" / "report.html"
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen(
            [*command, *often, "~callbacks.evaluation"], cwd=tmp_path, env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(lambda: page.exists() and step_of(page) >= 30, log=tmp_path / "log")
        finally:
            for pid in [*children(job.pid), job.pid]:
                os.kill(pid, signal.SIGKILL)
            job.wait()
    told = step_of(page)
    text = html(page)
    assert text.rstrip().endswith("</html>")
    assert '<span class="state running">running</span>' in text
    ended = Commands(tmp_path)("report", "run=killed")
    assert ended.code == 0, ended.text
    assert step_of(page) >= told
    assert "could not be drawn" not in html(page)
    assert '<span class="state killed">killed</span>' in html(page)


def step_of(page):
    found = re.search(r"step ([\d,]+) of", page.read_text())
    return int(found[1].replace(",", "")) if found else -1


def children(pid):
    """Return the processes below one, the youngest first."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    own = [child for child, parent in pairs if parent == pid]
    return [*(below for child in own for below in children(child)), *own]


def wait_for(condition, log, seconds=120):
    for _ in range(seconds * 10):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
