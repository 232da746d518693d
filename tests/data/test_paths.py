import pytest

from inkwash.data.paths import braces, find_files
from inkwash.errors import UserError


@pytest.fixture
def fill(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def names(folder, path, suffixes=(".tar",)):
    return [str(file.relative_to(folder)) for file in find_files(folder / path, suffixes, "data.path")]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("a-{0000..0003}.tar", ["a-0000.tar", "a-0001.tar", "a-0002.tar", "a-0003.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("{{a,b},c}", ["a", "c", "b", "c"]),
        ("x{}y", ["x{}y"]),
        ("x{a}y", ["x{a}y"]),
        ("x{a..b}", ["x{a..b}"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_are_those_of_bash(pattern, wanted):
    assert list(braces(pattern)) == wanted


def test_files_folders_globs_and_braces(fill):
    folder = fill("b.tar", "a.tar", "c.TAR", "x.txt", "._a.tar", "sub/d.tar")
    assert names(folder, "a.tar") == ["a.tar"]
    assert names(folder, ".") == ["a.tar", "b.tar", "c.TAR"]
    assert names(folder, "sub/..") == ["sub/../a.tar", "sub/../b.tar", "sub/../c.TAR"]
    assert names(fill("deep/x/e.tar", "deep/.x/f.tar", "deep/__MACOSX/g.tar"), "deep") == ["deep/x/e.tar"]
    assert names(folder, "[ab].tar") == ["a.tar", "b.tar"]
    assert names(folder, "**/*.tar") == ["a.tar", "b.tar", "deep/__MACOSX/g.tar", "deep/x/e.tar", "sub/d.tar"]
    assert names(folder, "{b,a}.tar") == ["b.tar", "a.tar"]
    assert names(folder, "{a,sub/?}.tar") == ["a.tar", "sub/d.tar"]


@pytest.mark.parametrize("name", ["[v2] set", "a b", "日本", "{0..1}", "what?*"])
def test_names_with_the_signs_of_patterns_are_names_first(fill, name):
    folder = fill(f"{name}/train-[1].tar", f"{name}/train-2.tar", "other/train-3.tar")
    assert names(folder, f"{name}/train-[1].tar") == [f"{name}/train-[1].tar"]
    assert names(folder, name) == [f"{name}/train-2.tar", f"{name}/train-[1].tar"]
    assert names(folder, f"{name}/*-2.tar") == [f"{name}/train-2.tar"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("full/a-{0..4}.tar", r"data\.path=.*stands for 5 files, of which 3 are missing, .*a-2\.tar first: correct"),
        ("full/b-{0..4}*.tar", r"finds no file: give a \.tar file"),
        ("nowhere", r"finds no file: give a \.tar file, a folder of them or a quoted glob"),
        ("packed", r"finds no file: a\.tar\.gz is compressed, unpack it first"),
        ("s3:/bucket/a.tar", r"it is an address, not a path: fetch the files first"),
    ],
)
def test_mistakes_are_named(fill, path, message):
    folder = fill("full/a-0.tar", "full/a-1.tar", "packed/a.tar.gz")
    with pytest.raises(UserError, match=message):
        names(folder, path)


def test_a_folder_of_save_to_disk_is_told(fill):
    folder = fill("set/train/data-00000-of-00001.arrow", "set/dataset_dict.json")
    with pytest.raises(UserError, match=r"finds no file: .*arrow is of save_to_disk .*: use data=hf"):
        find_files(folder / "set", (".parquet",), "data.path")
