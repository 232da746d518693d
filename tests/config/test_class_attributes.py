"""Attributes of classes are read from their source, and nothing is imported."""

import sys

import pytest

from inkwash.config.class_attributes import class_attribute

PACKAGE = {
    "__init__.py": "raise SystemExit\nfrom .deep import Child as Renamed\n",
    "deep/__init__.py": "from .leaf import Child\n",
    "deep/leaf.py": (
        "import bases_elsewhere as other\nfrom ..roots import Root as Trunk, Generic\n"
        "class Child(Generic[int], Trunk, other.Far):\n    own: int = 3\n"
    ),
    "roots.py": "class Generic: ...\nclass Root:\n    root = ('a', None)\n    made = 1 + 1j * 2 ** 3\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in PACKAGE.items():
        path = tmp_path / "grove" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "bases_elsewhere.py").write_text("class Far:\n    far = {'x': True}\n    own = 4\n")
    (tmp_path / "broken.py").write_text("class Broken(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("target", ["grove.deep.leaf.Child", "grove.deep.Child", "grove.Renamed"])
def test_own_and_inherited_attributes(package, target):
    assert class_attribute(target, "own") == 3
    assert class_attribute(target, "root") == ("a", None)
    assert class_attribute(target, "far") == {"x": True}
    assert class_attribute(target, "other") is None
    with pytest.raises(ValueError, match="malformed node"):
        class_attribute(target, "made")
    assert not {"grove", "bases_elsewhere"} & set(sys.modules)


@pytest.mark.parametrize(
    "target", ["broken.Broken", "nowhere.at.All", "bases_elsewhere.Other", "NoModule", "", "torch"]
)
def test_what_cannot_be_found_has_no_attributes(package, target):
    assert class_attribute(target, "own") is None


def test_a_common_base_comes_last(package, tmp_path):
    (tmp_path / "diamond.py").write_text(
        "class Base:\n    x = 0\nclass A(Base): ...\nclass B(Base):\n    x = 1\nclass C(A, B): ...\n"
    )
    assert class_attribute("diamond.C", "x") == 1
    assert class_attribute("diamond.A", "x") == 0


def test_our_own_classes():
    assert class_attribute("inkwash.metrics.kernel.KernelDistance", "keys") == ("kid", "kid_std")
    assert class_attribute("inkwash.metrics.kernel.KernelDistance", "lower_is_better") == (True, None)
    assert class_attribute("inkwash.metrics.kernel.KernelDistance", "needs_labels") is False
