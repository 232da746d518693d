"""What is wrong with a command line is one sentence, before Hydra runs anything."""

import sys

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException

from inkwash.commands import dashboard, evaluate, export, import_pipeline, sample, sync, train
from inkwash.config import cli
from inkwash.config.instantiate import build
from inkwash.errors import UserError


@pytest.mark.parametrize("module", [sample, evaluate, export, import_pipeline, dashboard, sync])
@pytest.mark.parametrize("flag", ["--multirun", "-m", "--multi", "hydra.mode=MULTIRUN"])
def test_only_training_sweeps(module, flag, tmp_path, monkeypatch, ends):
    monkeypatch.chdir(tmp_path)
    assert ends(module.main, flag, "run=x").startswith(f"error: {flag} is for train only: leave it out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.path=/tmp/\udcff", r"error: 'data.path=/tmp/\udcff' is not UTF-8 text: rename the file"),
        ("data.path='/tmp/\udcff'", "is not UTF-8 text: rename the file"),
        ("logger.wandb.name=é", "logger.wandb.name=é has a letter that must stand in quotes: 'key=\"value\"'"),
        (f"seed={'[' * 1000}", "error: seed=[[["),
        (f"seed={'[' * 1000}{']' * 1000}", "too many brackets within each other"),
    ],
    ids=["bytes", "bytes in quotes", "letter", "open", "nested"],
)
@pytest.mark.parametrize("module", [train, evaluate])
def test_what_cannot_be_parsed_is_named(module, argument, sentence, ends):
    assert sentence in ends(module.main, argument)


@pytest.mark.parametrize(
    ("module", "argument", "sentence"),
    [
        (
            train,
            "seed=1,2",
            "seed=1,2 lists several values, and one model is trained: `inkwash sweep seed=1,2` trains one for each; as "
            "one value it is 'seed=[1,2]', a list, or 'seed=\"1,2\"', a text",
        ),
        (
            sample,
            "label=1,2",
            "label=1,2 lists several values, and one value is taken: run the command once for each; as one value it is "
            "'label=[1,2]', a list, or 'label=\"1,2\"', a text",
        ),
        (
            train,
            "seed=range(1,3)",
            "seed=range(1,3) lists several values, and one model is trained: `inkwash sweep 'seed=range(1,3)'` trains "
            "one for each",
        ),
    ],
)
def test_a_list_of_values_says_which_command_takes_it(module, argument, sentence, ends):
    assert ends(module.main, "run=x", argument) == f"error: {sentence}"


def test_an_error_after_a_job_is_a_sentence_a_bug_is_not(ends):
    def raising(error):
        def task(_config):
            raise error

        return lambda: cli.run(task, "train")

    sentence = "hydra.sweeper.metric=nope was not measured"
    assert ends(raising(UserError(sentence))) == f"error: {sentence}"
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()


@pytest.mark.parametrize("line", ['{}["missing"]', 'raise UserError("a.b=1 is wrong")'])
def test_what_ones_own_class_raises_keeps_its_traceback(line, tmp_path, monkeypatch, ends):
    code = f"from inkwash.errors import UserError\n\nclass Source:\n    def __init__(self):\n        {line}\n"
    (tmp_path / "a_source_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.argv", ["inkwash"])
    monkeypatch.delitem(sys.modules, "a_source_of_mine", raising=False)

    def main():
        cli.run(lambda _: build({"_target_": "a_source_of_mine.Source"}), "data")

    if "UserError" in line:
        assert ends(main) == "error: a.b=1 is wrong"
        return
    with pytest.raises(InstantiationException) as error:
        main()
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-dir=conf", "seed=1", "~logger", "+a.b=c"],
        ["seed=1", "--config-dir=conf", "~logger", "+a.b=c"],
        ["seed=1", "~logger", "+a.b=c", "--config-dir=conf"],
    ],
)
def test_flags_may_stand_anywhere(arguments):
    assert cli.flags_first(arguments) == ["--config-dir=conf", "seed=1", "~logger", "+a.b=c"]


def test_the_value_of_a_flag_stays_behind_it():
    arguments = ["seed=1", "--config-dir", "a=b", "--cfg", "job", "-m"]
    assert cli.flags_first(arguments) == ["--config-dir", "a=b", "--cfg", "job", "-m", "seed=1"]


@pytest.fixture
def compositions(monkeypatch):
    """The configurations that Hydra composes, by their overrides."""
    made, load = [], ConfigLoaderImpl.load_configuration

    def loading(self, config_name, overrides, *args, **kwargs):
        made.append(list(overrides))
        return load(self, config_name, overrides, *args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", loading)
    return made


@pytest.mark.parametrize("argument", ["seed=3", "model.chanels=3"])
def test_a_command_composes_its_configuration_once(argument, compositions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["inkwash", argument])
    seen = []
    try:
        cli.run(lambda config: seen.append((config.seed, HydraConfig.get().mode.name)), "train")
    except SystemExit as error:
        assert "chanels" in str(error)  # noqa: PT017
    assert compositions == [[argument]]
    assert seen == ([(3, "RUN")] if argument == "seed=3" else [])


@pytest.mark.parametrize("words", [["experiment=many"], ["-m"], ["hydra.mode=MULTIRUN"]])
def test_a_file_a_flag_and_a_setting_ask_for_several_runs(words, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "many.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    monkeypatch.chdir(tmp_path)
    arguments = [f"--config-dir={tmp_path / 'mine'}", "hydra/launcher=basic", "hydra/sweeper=basic", *words]
    monkeypatch.setattr(sys, "argv", ["inkwash", "seed=1,2", *arguments])
    seen = []
    cli.run(lambda config: seen.append((config.seed, HydraConfig.get().mode.name)), "train")
    assert seen == [(1, "MULTIRUN"), (2, "MULTIRUN")]
