"""Whatever a user types or points at: one sentence, an exit code, a bounded time, and nothing written elsewhere."""

import copy
import hashlib
import logging
import os
import random
import re
import subprocess
import sys
import time

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.checkpoints.io import read_checkpoint
from inkwash.config.paths import config_dir
from inkwash.config.validate import check, check_stored
from inkwash.data.decode import decode
from inkwash.data.folder import Folder
from inkwash.errors import UserError
from inkwash.files import write_text
from inkwash.launch.report import fail, report_of_ranks
from inkwash.runs.directory import RunDirectory
from inkwash.training.log_setup import logging_of
from support.bad_inputs import everything
from support.bad_inputs.case import QUICK
from support.bad_inputs.checkpoints import Malice, archive, saved
from support.bad_inputs.command_lines import values
from support.bad_inputs.images import IMAGES, special
from support.bad_inputs.runs import LAUGHS
from support.counts import count
from support.fork_server import ForkServer


@pytest.fixture(scope="session")
def commands(data_dir):
    server = ForkServer(data_dir)
    yield server
    server.close()


@pytest.fixture(scope="session")
def good(commands, tmp_path_factory):
    """A run of four steps."""
    folder = tmp_path_factory.mktemp("good")
    status, _, text = commands(folder, "train", (*QUICK, "run=run"))
    assert status == 0, text
    return folder / "work" / "runs" / "run"


def tree(folder):
    """Return {file: hash} of all files outside of runs/, where a command may write."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if not name.startswith("work/runs") and name not in ("stdout", "stderr"):
            found[name] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
            )
    return found


def complaints(case, folder, commands):
    """Return a list of what is wrong with how a case ends, its seconds, and its sentences."""
    for name in ("work", "home"):
        (folder / name).mkdir(parents=True)
    before_cwd = os.getcwd()
    os.chdir(folder / "work")
    try:
        case.make(folder / "work")
    finally:
        os.chdir(before_cwd)
    before = tree(folder)
    status, seconds, text = commands(folder, case.module, case.arguments)
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(\w+\.py: )?error: ", line)]
    found = []
    if status is None:
        found.append(f"not over after {seconds} s")
    elif status < 0:
        found.append(f"ended by signal {-status}")
    elif status == 0:
        found.append("exit code 0")
    if "Traceback" in text or "rank 0 failed" in text:
        found.append(f"traceback: {lines[-1] if lines else ''}")
    elif len(told) != 1:
        found.append(f"{len(told)} sentences")
    elif lines[-1] != told[0]:
        found.append(f"more after the sentence: {lines[-1]}")
    elif case.says not in told[0]:
        found.append(f"does not name {case.says}: {told[0]}")
    elif len(told[0]) > 600:
        found.append(f"a sentence of {len(told[0])} letters")
    if (after := tree(folder)) != before:
        found.append(f"wrote {sorted(after.keys() ^ before.keys()) or 'over a file'}")
    return found, seconds, told


def check_all(cases, tmp_path, commands, say=None):
    wrong, slowest = [], 0.0
    for i, case in enumerate(cases):
        found, seconds, told = complaints(case, tmp_path / str(i), commands)
        slowest = max(slowest, seconds)
        kind = case.name.partition("/")[0]
        count(f"bad inputs refused: {kind}", not found)
        wrong += [f"{case.name} {' '.join(case.arguments[-2:])}: {'; '.join(found)}"] if found else []
        if say:
            print(f"{case.name}\t{seconds:.1f}\t{found}\t{told}", file=say, flush=True)
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)
    return slowest


# --- A part of it, by calling what the commands call ------------------------------------------------------------------


def told(function, *arguments):
    """The one line of the UserError that ends it."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def told_of_a_kind(composed, case):
    """Return the error for a value of another kind, or None if neither the check nor Hydra refuses it."""
    key, _, text = case.arguments[-1].partition("=")
    config = copy.deepcopy(composed)  # references and all
    (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
    try:
        OmegaConf.update(config, key, override.value(), merge=False)
        check(config)
    except UserError as error:
        return str(error)
    except OmegaConfBaseException:
        return None
    return None


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(config_dir(), version_base="1.3"):
        found = compose("train", list(QUICK))
    OmegaConf.set_struct(found, False)
    return found


def kinds(plain):
    return [case for case in values(plain) if case.name.startswith("kinds/")]


@pytest.mark.slow
def test_values_of_another_kind_are_refused_before_torch(compose_config, composed):
    cases = kinds(compose_config(*QUICK))
    assert len(cases) > 200
    refused = [(case, said) for case in cases if (said := told_of_a_kind(composed, case))]
    assert len(refused) > 200
    for case, said in refused:
        assert case.says in said
        assert "\n" not in said


@pytest.mark.parametrize("name", IMAGES)
def test_an_unreadable_image_is_named(name):
    assert name in told(decode, IMAGES[name], (3, 8, 8), True, name)


@pytest.mark.parametrize(
    "text",
    [b"", b"- 1\n", b"5", bytes(range(256)), b"a: \xff", b"a: [", b"a: " + b"[" * 3000, LAUGHS, b"\x00",
     b"x: !!python/object/apply:os.system ['touch mark']\n", b"a: 1\na: 2\n"],
)  # fmt: skip
def test_a_damaged_or_forged_configuration_of_a_run_is_named(text, tmp_path):
    (tmp_path / "config.yaml").write_bytes(text)

    def read():
        check_stored(RunDirectory(tmp_path).config, tmp_path / "config.yaml")

    assert "config.yaml" in told(read)


@pytest.mark.parametrize(
    "content",
    [saved([1, 2]), saved(5), saved({}), saved(torch.zeros(2)), archive(x=b"hello"),
     archive(**{"data.pkl": bytes(3_000_000), "version": b"3"}), saved({"state_dict": {},
     "x": Malice()}),
     saved({"state_dict": [], "global_step": 1}), saved({"state_dict": {"a": 5}, "global_step": 1}),
     saved({"state_dict": {}, "global_step": "1"}), saved({"state_dict": {}, "global_step": -1})],
    ids=range(11),
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_is_named(content, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(content)
    assert "x.ckpt is not a readable checkpoint" in told(read_checkpoint, tmp_path / "x.ckpt")


@pytest.mark.parametrize("how", ["fifo", "socket", "nowhere"])
def test_a_pipe_among_the_images_is_not_waited_for(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    special(tmp_path, "odd.png", how)
    source = Folder(heldout_fraction=0.4, cache_dir=str(tmp_path / "cache"))
    assert "odd.png is a" in told(source.load, "train", (3, 8, 8), str(tmp_path / "images"))


def test_a_file_whose_name_is_no_text_is_named(tmp_path, monkeypatch, capsys):
    """By whatever tells of it: the rank's report, the job's, train.log, status.json."""
    name = os.fsdecode(b"\xff.png")
    monkeypatch.setattr("inkwash.launch.report._leave", lambda status: None)
    monkeypatch.setattr(logging.getLogger("inkwash"), "propagate", False)  # pytest-xdist cannot send such a name
    with logging_of(tmp_path, 0):
        logging.getLogger("inkwash").warning("skipped %s", name)
    fail(tmp_path, f"error: {name} cannot be read")
    assert report_of_ranks(tmp_path, {0: 1}) == 1
    write_text(tmp_path / "status.json", name)
    assert capsys.readouterr().err.endswith("cannot be read\n")
    for file in ("error-rank-0.txt", "error.txt", "train.log", "status.json"):
        assert r"\udcff.png" in (tmp_path / file).read_text("utf-8")
    assert "skipped" in (tmp_path / "train.log").read_text("utf-8")


# --- All of it, by the commands ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_bad_input_ends_in_one_sentence(tmp_path, commands, good, compose_config, composed):
    """Values of another kind through the check alone, where it refuses them: it is what the command calls first."""
    plain = compose_config(*QUICK)
    refused = {case.name for case in kinds(plain) if case.says in (told_of_a_kind(composed, case) or "")}
    count("bad inputs refused: kinds", len(refused))
    cases = [case for case in everything(plain, good) if case.name not in refused]
    assert len(cases) >= 200
    path = os.environ.get("INKWASH_CORPUS", os.devnull)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:  # what each of them says
        print(f"the slowest took {check_all(cases, tmp_path, commands, file):.1f} s")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_some_of_them_by_the_real_command(tmp_path, good, compose_config, data_dir):
    """Launcher, agent and ranks in processes of their own."""

    def real(folder, module, arguments):
        start, command = time.monotonic(), [sys.executable, "-m", f"inkwash.{module}", *arguments]
        environment = {**os.environ, "INKWASH_DATA": str(data_dir), "HOME": str(folder / "home")}
        environment["MPLCONFIGDIR"] = str(data_dir)  # where whatever imports matplotlib leaves its list of fonts
        done = subprocess.run(
            command, cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=180
        )  # fmt: skip
        return done.returncode, time.monotonic() - start, done.stderr

    cases = [case for case in everything(compose_config(*QUICK), good) if "\x00" not in case.name]
    check_all(random.Random(0).sample(cases, 24), tmp_path, real)
