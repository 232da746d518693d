"""What mkdocs adds to the pages of docs/ while it builds the site.

Pictures, lab book and source files are kept where they belong in the repository, and pages link to them there
(`../experiments/explain/chain.png`, `../src/inkwash/process/forward.py`). So the links work in a checkout, and here
they become files of the site. `<!-- code: process/forward.py q_sample -->` is replaced by that function's source, and
`<!-- conf -->` by the reference of conf/ (conf_reference.py), `<!-- recipes -->` by its recipes (recipe_table.py).
"""

import ast
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs")]

import conf_reference  # noqa: E402 - needs the path above
import recipe_table  # noqa: E402

# Files of the repository that are pages or files of the site at the same place. The site has no README.md of its own.
BESIDE = ("CONTRIBUTING.md", "LICENSE")
SOURCE = re.compile(r"\]\((?:\.\./)*src/(inkwash/[\w/]+\.py)\)")
CODE = re.compile(r"<!-- code: (?P<file>\S+) (?P<name>\S+) -->")
OUTSIDE = re.compile(r"\]\((?:\.\./)+(?=(?:experiments|src|CONTRIBUTING|LICENSE)\b)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the lab book, and each source file that a page links to."""
    outside = [*BESIDE, *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "experiments").rglob("*")) if p.is_file())]
    for name in outside:
        if "__pycache__" not in name:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    texts = [(ROOT / "docs" / file.src_uri) for file in files.documentation_pages() if file.generated_by is None]
    linked = {name for path in [*texts, ROOT / "CONTRIBUTING.md"] for name in SOURCE.findall(path.read_text("utf-8"))}
    for name in sorted(linked):
        files.append(File.generated(config, _page_of(name), content=_source_page(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the files that `on_files` has added, and put in code and the reference of conf/."""
    depth = page.file.src_uri.count("/")
    markdown = OUTSIDE.sub(lambda _: "](" + "../" * depth, markdown)
    markdown = SOURCE.sub(lambda found: "](" + "../" * depth + _page_of(found[1]) + ")", markdown)
    markdown = CODE.sub(lambda found: _code(found["file"], found["name"]), markdown)
    for place, make in {"<!-- conf -->": conf_reference.page, "<!-- recipes -->": recipe_table.page}.items():
        if place in markdown:
            markdown = markdown.replace(place, make())
    return markdown


def _page_of(name: str) -> str:
    """Return the page of a source file, inkwash/process/forward.py for example."""
    return f"src/{name.removesuffix('.py')}_py.md"


def _source_page(name: str) -> str:
    text = (ROOT / "src" / name).read_text("utf-8")
    return f'---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n````python linenums="1"\n{text}````\n'


def _code(file: str, name: str) -> str:
    """Return a function or class of src/inkwash/FILE, `Class.method` for a method, as a block of code."""
    text = (ROOT / "src" / "inkwash" / file).read_text("utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part]
        if not found:
            raise PluginError(f"<!-- code: {file} {name} -->: src/inkwash/{file} has no {part}")
        node = found[0]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    indent = len(lines[0]) - len(lines[0].lstrip())
    body = "\n".join(line[indent:] for line in lines)
    return f'```python title="src/inkwash/{file}" linenums="{first}"\n{body}\n```'
