"""`inkwash new NAME`: write a small project with one part of each kind, to begin one's own from (commands/project/)."""

import importlib.util
import keyword
import re
import shutil
import sys
from pathlib import Path

from inkwash.errors import UserError

TEMPLATE = Path(__file__).parent / "project"
PACKAGE = "studio"  # its name in the template
USAGE = """\
inkwash new NAME: write a project of your own into the folder NAME

It has a network, a schedule, a data source, a metric, a callback and an experiment that uses them, each one class
and one YAML, with tests and a Makefile. NAME is a Python package in it, too."""


def new(place: Path) -> list[Path]:
    """Write the project and return its files.

    Args:
        place: the folder, which must not exist; its last part becomes the name of the package.

    Raises:
        UserError: the name cannot be that of a package, or the folder exists.
    """
    _check(place)
    written = []
    for file in sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        parts = (_named(part, place.name) for part in file.relative_to(TEMPLATE).parts)
        target = place.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(rf"\b{PACKAGE}\b", place.name, file.read_text("utf-8")), "utf-8")
        written.append(target)
    return written


def _named(part: str, package: str) -> str:
    return {"gitignore": ".gitignore", PACKAGE: package}.get(part, part)


def _check(place: Path) -> None:
    name = place.name
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        near = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lstrip("0123456789_")
        hint = f"; did you mean {near}?" if near.isidentifier() and not keyword.iskeyword(near) else ""
        raise UserError(f"{name or place} cannot be the name of a Python package: take letters, digits and _{hint}")
    if place.exists() or place.is_symlink():
        raise UserError(f"{place} exists already: choose another name, or delete it")
    if name in ("conf", "tests", "runs") or importlib.util.find_spec(name) is not None:
        raise UserError(f"{name} is the name of another Python package or folder, which would be found in its place")


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) != 1 or arguments[0].startswith("-") or "=" in arguments[0]:
        sys.exit("error: give a name and nothing else: inkwash new NAME")
    place = Path(arguments[0])
    try:
        files = new(place)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    python = "" if shutil.which("python") == sys.executable else f" PYTHON={sys.executable}"
    print(f"{place}    {len(files)} files; next: cd {place} && make test train{python}")
