import numpy as np
import pytest
import torch

from inkwash.data.facts import Facts, Tally
from inkwash.data.images import Images
from inkwash.data.labels import Classes
from inkwash.data.module import ImageDataModule
from inkwash.data.report import lines, report_of
from inkwash.errors import UserError


class Given:
    """A source of given splits."""

    def __init__(self, train, heldout):
        self.splits = {"train": train, "heldout": heldout}

    def load(self, split, shape, path):
        return self.splits[split]


def split(labels, names=(), low=0, high=256, **facts):
    pixels = np.random.default_rng(0).integers(low, high, (len(labels), 1, 4, 4), dtype=np.uint8)
    return Images(torch.from_numpy(pixels), torch.tensor(labels), facts=Facts(classes=Classes(tuple(names)), **facts))


def report(train, heldout=None, num_classes=None):
    heldout = split([0]) if heldout is None else heldout
    return report_of(ImageDataModule(Given(train, heldout), (1, 4, 4), num_classes, 2))


def test_the_report_says_what_there_is():
    passed_over = {"hidden": Tally(5, ["a", "b", "c"]), "unreadable": Tally(1, ["d"])}
    sizes = ((6, 6), (9, 7))
    train = split([0] * 1200 + [1] * 20 + [-1], ["cat", "dog", "emu"], origin="data.path=x", passed_over=passed_over,
                  sizes=sizes)  # fmt: skip
    assert list(lines(report(train, split([2], ["cat", "dog", "emu"], origin="y")))) == [
        "train    1,221 images from data.path=x",
        "         6 x 6 to 9 x 7 pixels (height x width) before scaling, levels 0 to 255, 1 without a label",
        "heldout  1 image from y",
        "         levels {} to {}".format(*report(train, split([2])).heldout.levels),
        "classes  3, not used: cat 1,200, dog 20, emu 0",
        "not used 5 hidden (a, b, c, ...)",
        "not used 1 unreadable (d)",
    ]


def test_a_set_without_labels_has_no_classes():
    told = report(split([-1] * 5), split([-1]))
    assert (told.classes, list(lines(told))[-1]) == ([], "classes  none")
    assert told.suspicious == []


@pytest.mark.parametrize(
    ("labels", "names", "num_classes", "options", "sentence"),
    [
        ([0, 2] * 20, "abc", 3, {}, "classes without a training image: b (of 3), so their samples mean nothing"),
        ([0] * 20 + [1] * 3, "ab", 2, {}, "classes with fewer than 10 training images: b (3)"),
        ([1] * 20, "ab", None, {}, "all labels are the same, b: check the labels, or the folder that data.path names"),
        ([0, -1] * 20, "", None, {}, "20 of 40 training images have no label"),
        ([-1] * 20, "", None, {"high": 16}, "all levels lie between 0 and 15 of 0..255"),
        ([-1] * 20, "", None, {"low": 7, "high": 8}, "the 20 images looked at are all the same: check data.path"),
    ],
)
def test_suspicious_data_is_told(labels, names, num_classes, options, sentence):
    told = report(split(labels, names, **options), num_classes=num_classes).suspicious
    assert any(text.startswith(sentence) for text in told)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["Cat", "cat", "cat "], "classes of almost the same name, 'Cat' and 'cat' and 'cat ': if they are one class"),
        (["caf\u00e9", "cafe\u0301"], "classes of almost the same name, 'caf\u00e9' and 'cafe\u0301'"),
        (["a", "nan"], "a class is called 'nan', as labels that are missing are written"),
        (["", "a"], "a class is called '', as labels that are missing are written"),
    ],
)
def test_odd_names_of_classes_are_told(names, sentence):
    """orrzohar/FOMO#12: one class in two spellings; pandas-dev/pandas#25353: missing labels become the text nan."""
    told = report(split([*range(len(names))] * 20, names)).suspicious
    assert [text.startswith(sentence) for text in told] == [True]


def test_images_that_are_enlarged_are_told():
    told = report(split([0, 1] * 20, "ab", sizes=((2, 9), (8, 9)))).suspicious
    assert told == [
        "the smallest images, 2 x 9, are enlarged to 4 x 4, which makes no details: choose a smaller data.shape, or "
        "leave them out"
    ]


def test_what_is_suspicious_of_the_heldout_images_is_told_too():
    train, heldout = split([0, 1] * 20, "ab", suspicious=("both",)), split([0], "ab", suspicious=("both", "theirs"))
    assert report(train, heldout).suspicious == ["both", "theirs"]


def test_sound_data_raises_no_suspicion():
    assert report(split([0, 1] * 20, "ab"), num_classes=2).suspicious == []


def test_a_report_is_plain_json():
    plain = report(split([0, 1], "ab", sizes=((1, 1), (1, 1)))).plain()
    assert plain["train"]["counts"] == [1, 1]
    assert plain["classes"] == ["a", "b"]


@pytest.mark.parametrize("num_classes", [None, 10])
def test_numbers_that_are_no_classes_are_refused(num_classes):
    """A list of all numbers up to the largest one would fill the memory."""
    sentence = r"^the train labels go up to 999,999,999, of 3 different ones: number the classes 0, 1, \.\.\. without"
    with pytest.raises(UserError, match=sentence):
        report(split([0, 5, -1, 999_999_999, 5]), num_classes=num_classes)
    with pytest.raises(UserError, match=r"^the heldout labels go up to 10,000,000, of 1 different"):
        report(split([0]), split([10_000_000]))


def test_a_few_gaps_between_numbers_of_classes_are_fine():
    assert len(report(split([0, 5, 100_000])).classes) == 100_001
