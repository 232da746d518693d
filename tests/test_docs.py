"""The documentation: every command in it composes and runs, its Python too, and the site builds without a warning."""

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from inkwash.__main__ import COMMANDS, LIKE
from inkwash.commands.average import as_evaluation
from inkwash.commands.new import new
from inkwash.commands.plan import own_words
from inkwash.config.quotes import with_quotes
from support.autoencoders import save_config
from support.pages import PAGES, ROOT, Shell, blocks, exported, of_inkwash, write_files
from support.runs import composed

WITH_COMMANDS = [page for page in PAGES if any(block.commands for block in blocks(page))]
# Program and first argument of those that are not ours, and why they are not run.
OTHERS = {
    ("python", "-m pytest"): "the tests themselves",
    ("mkdocs", "build"): "test_the_site_builds",
    ("torchrun", "--nnodes=2"): "two machines: tests/cluster",
    ("sbatch", "--nodes=2"): "SLURM: tests/cluster",
    ("wandb", "sweep"): "W&B's server: tests/tracking/test_wandb_sweep.py",
}
# from=RUN is replaced by the overrides of that run before anything is composed.
FLAGS = re.compile(r"--(config-dir=.*|cfg|help)|job|from=.*")
# What a shell may take for something of its own outside of quotes: zsh stops at a pattern that matches no file.
UNQUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
SPECIAL = re.compile(r"[\[\]*?{}()#;&|<>`!^]|\s~|\$(?!PWD\b)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def first_values(arguments: list[str]) -> list[str]:
    """Return overrides without flags, the first value of each that lists several or gives a range."""
    chosen = []
    for text in (with_quotes(argument) for argument in arguments if not FLAGS.fullmatch(argument)):
        override = OverridesParser.create().parse_override(text)
        if not override.is_sweep_override():
            chosen.append(text)
        elif override.is_interval_sweep():
            chosen.append(f"{override.get_key_element()}={override.value().start}")
        else:
            chosen.append(f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}")
    return chosen


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like a checkout, whose packages can be imported."""
    (tmp_path / "home").mkdir()
    save_config(tmp_path / "runs" / "digits-kl" / "autoencoder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INKWASH_CONF", "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_a_shell_takes_every_line_as_printed(page):
    """Interactive zsh knows no comments, and expands what bash leaves alone."""
    for command in (command for block in blocks(page) for command in block.commands):
        assert not SPECIAL.search(UNQUOTED.sub("", command)), f"{name(page)}: {command}"


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_every_command_composes(page, place, monkeypatch):
    """Bash and make bring every line to a command, and its keys and choices exist."""
    write_files(page, place)
    lines = [command for block in blocks(page) for command in block.commands]
    calls = Shell(place)(*lines)
    assert len(calls) == sum(not line.startswith("export ") for line in lines)
    if shutil.which("zsh"):
        assert Shell(place, "zsh")(*lines) == calls
    waiting = iter(calls)
    for line in lines:
        if variables := exported(line, place):
            for variable, value in variables.items():
                monkeypatch.setenv(variable, value)
            continue
        call = next(waiting)
        if not (arguments := of_inkwash(call)):
            assert any(" ".join(call).startswith(" ".join(other)) for other in OTHERS), call
            continue
        command, *overrides = arguments
        if command == "--help":
            continue
        assert command in COMMANDS
        if command == "new":
            new(Path(*overrides))
            continue
        if command == "average":
            overrides = as_evaluation(overrides)
        if command == "plan":
            overrides, _ = own_words(overrides)
        own = [value.partition("=")[2] for value in overrides if value.startswith("--config-dir=")]
        searched = [f"hydra.searchpath=[file://{place / folder}]" for folder in own]
        composed(*searched, *first_values(overrides), config_name=LIKE.get(command, command))


# --- The site ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The links and anchors of a page of the site."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [html.unescape(given[key] or "") for key in ("href", "src") if key in given]
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_no_dead_link_and_asks_no_other_server(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    dead = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or not (url.path or url.fragment) or path.name == "404.html":
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.is_file() or (
                url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors
            ):
                dead.append((path.name, link))
    assert dead == []
    loaded = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="(https?:[^"]+)"')
    assert {url for path in pages for url in loaded.findall(path.read_text("utf-8"))} == set()


@pytest.mark.slow
def test_the_site_has_every_choice_and_public_names(site):
    page = (site / "reference" / "conf.html").read_text("utf-8")
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        assert f"{path.parent.name}={path.stem}</code>" in page
    for link in ("inkwash.process.forward.q_sample", "inkwash.samplers.base.Sampler", "inkwash.run.load_run"):
        assert any(f'id="{link}"' in path.read_text("utf-8") for path in (site / "reference").glob("*.html"))


def test_the_reference_has_every_key_with_its_comment(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import conf_reference

    page = conf_reference.page()
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        config = yaml.safe_load(path.read_text("utf-8")) or {}
        keys = [key for key in config if key not in ("defaults", "hydra", "_target_", "_partial_")]
        assert [key for key in keys if not re.search(rf"^\| `{key}[.`]", page, re.MULTILINE)] == [], path
    assert "| `betas.s` | `0.008` |" in page
    assert "| `steps` | `50` | null: every step of a discrete schedule |" in page  # a comment
    assert "| `order` | `2` | 3 without guidance |" in page
    assert "null: a journal beside the jobs" in page  # the second line of a comment


def test_the_reference_asks_docstrings_where_a_yaml_is_silent(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import conf_reference

    said = conf_reference.arguments_of("inkwash.process.schedules.EDMSchedule")
    assert said["sigma_min"] == said["sigma_max"] == "range of noise levels."
    assert "| `sigma_data` | `0.5` | standard deviation of the data, used by the input scale c_in. |" in (
        conf_reference.page()
    )
    inherited = conf_reference.arguments_of("inkwash.samplers.ddim.DDIM")
    assert inherited["clip"].startswith("bound of the x_0 estimates")
    assert inherited["eta"].startswith("0")
    assert conf_reference.summary_of("inkwash.process.predictions.Eps") == "y = eps (Ho et al. 2020, eq. 14)."


def test_the_readme_is_short_and_shows_pictures():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    pictures = [ROOT / path for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)]
    assert len(pictures) >= 2
    assert all(path.is_file() for path in pictures)
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()) < 200_000
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
