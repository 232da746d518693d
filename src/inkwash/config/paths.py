"""Paths of the package and of conf/."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def config_dir() -> str:
    """Return conf/: beside src/ in a checkout, inside the package when installed from a wheel."""
    inside = PACKAGE / "conf"
    return str(inside if inside.is_dir() else PACKAGE.parents[1] / "conf")
