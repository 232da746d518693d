"""--help: one screen for each command, of the comments in conf/."""

import sys

import pytest
import yaml

from inkwash.__main__ import COMMANDS, LIKE, main, usage
from inkwash.config.help import page
from inkwash.config.paths import config_dir

NAMES = sorted(COMMANDS.keys() - {*LIKE, "new"})


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_screen_and_has_every_key(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = page(name).splitlines()
    assert len(lines) <= 46
    assert f"inkwash {name} " in page(name) or f"inkwash {name}," in page(name)
    assert "make " not in page(name).partition("\n\n")[0]
    with open(f"{config_dir()}/{name}.yaml") as file:
        config = yaml.safe_load(file)
    groups = {key for item in config["defaults"] if isinstance(item, dict) for key in item if " " not in key}
    for key in {*config, *groups} - {"defaults", "hydra"}:
        assert any(line.split()[:1] in ([key], [f"{key}:"]) for line in lines), key


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_keys_are_folded_to_the_width_of_the_terminal(name, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    words = page(name).split()
    monkeypatch.setenv("COLUMNS", str(width))
    text = page(name)
    assert max(map(len, text.partition("KEY=VALUE:")[2].splitlines())) <= width
    assert text.split() == words


@pytest.mark.parametrize(("width", "examples"), [(80, False), (100, True)])
def test_the_list_of_commands_fits_the_terminal(width, examples, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = usage()
    assert max(map(len, text.splitlines())) <= width
    assert ("inkwash sync dry=true" in text) == examples


def test_names_that_begin_or_end_alike_are_one_word():
    text = " ".join(page("train").split())
    assert "edm2_{cifar10,l,m,s,small,xl,xs,xxl,xxs}" in text
    assert "{dit,jit,lightningdit,min_snr,sit}_in256" in text
    assert " ect_digits " in text
    assert " cifar10 cifar10_gpu_8min ddpm_" in text


def test_the_choice_of_the_command_is_marked():
    (line,) = [line for line in page("train").splitlines() if line.split()[:1] == ["schedule"]]
    assert line.split()[1:3] == ["[cosine]", "cosine_shifted"]
    assert "[fid]" in page("train")
    assert " kid" in page("train")


@pytest.mark.parametrize("form", [("--config-dir={}",), ("--config-dir", "{}"), ("-cd", "{}")])
def test_choices_of_ones_own(form, tmp_path, monkeypatch):
    monkeypatch.setenv("INKWASH_CONF", "")  # remembered, so that it is taken back
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "my_net.yaml").write_text("")
    arguments = [part.format(tmp_path) for part in form]
    assert "my_net" in page("train", ["model=my_net", *arguments]).split()


def test_a_folder_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["inkwash", "train", "--config-dir=nowhere", "--help"])
    with pytest.raises(SystemExit, match="^error: --config-dir=nowhere is not a folder"):
        main()


def test_new_has_a_page(monkeypatch, capsys):
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["inkwash", "new", "--help"])
    main()
    assert capsys.readouterr().out.startswith("inkwash new NAME: ")


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", [*LIKE, *NAMES])
def test_every_command_prints_its_page(name, flag, monkeypatch, capsys):
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["inkwash", name, "seed=1", flag])
    main()
    assert capsys.readouterr().out == page(LIKE.get(name, name)) + "\n"
