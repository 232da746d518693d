"""extractor=auto: which extractor it takes, and that it says so in one line."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.extractors import auto as auto_module
from inkwash.metrics.extractors.auto import AutoFeatures
from inkwash.metrics.extractors.inception import InceptionFeatures
from inkwash.reach import reachable


def images(shape, labelled=True, n=40):
    labels = torch.arange(n) % 2 if labelled else torch.full((n,), -1)
    return Images(torch.zeros(n, *shape, dtype=torch.uint8), labels)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(auto_module, "reachable", lambda url: False)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("shape", "labelled", "classes", "chosen"),
    [
        ((1, 8, 8), True, True, "classifier"),
        ((3, 64, 64), True, True, "classifier"),
        ((3, 64, 64), True, False, "pyramid"),  # no class is asked for: no classifier
        ((3, 64, 64), False, False, "pyramid"),
        ((2, 16, 16), True, True, "classifier"),
        ((4, 16, 16), False, False, "pyramid"),
        ((1, 4, 4), True, True, "pyramid"),
    ],
)
def test_without_weights(shape, labelled, classes, chosen, caplog, tmp_path):
    caplog.set_level("INFO")
    data = images(shape, labelled)
    assert AutoFeatures(str(tmp_path)).chosen(data, data, classes).name == chosen
    (line,) = [record.message for record in caplog.records]
    assert line.startswith(f"extractor=auto: {chosen}; not inception: ")
    assert ("not classifier: " in line) == (chosen == "pyramid")
    assert "\n" not in line


@pytest.mark.usefixtures("offline")
def test_a_few_images_teach_no_classifier(tmp_path, caplog):
    """Unless the run has been measured by it so far."""
    caplog.set_level("INFO")
    data = images((3, 64, 64), n=38)
    assert AutoFeatures(str(tmp_path)).chosen(data, data, True).name == "pyramid"
    assert "not classifier: 19 images of a class are too few" in caplog.text
    assert AutoFeatures(str(tmp_path), "classifier").chosen(data, data, True).name == "classifier"


@pytest.mark.parametrize(("shape", "chosen"), [((3, 32, 32), "inception"), ((1, 28, 28), "classifier")])
def test_inception_where_its_weights_can_be_had(shape, chosen, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(auto_module, "reachable", lambda url: url == InceptionFeatures.published.url)
    monkeypatch.setattr(auto_module, "find_weights", lambda published: ("path", "digest"))
    data = images(shape)
    assert AutoFeatures(str(tmp_path)).chosen(data, data, True).name == chosen


def test_weights_that_are_damaged_are_not_taken(monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    path = InceptionFeatures.published.path
    path.parent.mkdir()
    path.write_bytes(b"half a file")
    data = images((3, 32, 32))
    assert AutoFeatures(str(tmp_path)).chosen(data, data, True).name == "classifier"
    assert "is not the published file" in caplog.text


@pytest.mark.usefixtures("offline")
def test_a_run_that_goes_on_is_measured_as_before(tmp_path):
    data = images((3, 64, 64))
    assert AutoFeatures(str(tmp_path), "pyramid").chosen(data, data, True).name == "pyramid"
    assert AutoFeatures(str(tmp_path), "classifier").chosen(data, data, False).name == "classifier"
    assert (
        AutoFeatures(str(tmp_path), "classifier")
        .chosen(unlabelled := images((3, 64, 64), False), unlabelled, False)
        .name
        == "pyramid"
    )
    with pytest.raises(UserError, match="extractor.first=clip must be null or one of inception, classifier, pyramid"):
        AutoFeatures(str(tmp_path), "clip")


@pytest.mark.usefixtures("offline")
def test_ranks_take_what_all_of_them_can_have(tmp_path, monkeypatch):
    """A rank whose machine has the weights goes by one whose machine does not."""
    monkeypatch.setattr(auto_module, "_inception", lambda shape: InceptionFeatures())  # this rank has them
    other = SimpleNamespace(numbers=iter([-1, 1, 0, 1, -1]))  # the largest of first, mine, -mine; mine, -mine again
    monkeypatch.setattr(auto_module, "largest", lambda mine: max(mine, next(other.numbers)))
    data = images((3, 64, 64))
    assert AutoFeatures(str(tmp_path)).chosen(data, data, True).name == "classifier"


def test_a_server_that_says_nothing_is_given_up_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{server.getsockname()[1]}/weights.pth", seconds=0.5)
        assert time.monotonic() - start < 2


def test_a_name_that_is_not_resolved_is_given_up_within_seconds(monkeypatch):
    """getaddrinfo knows no time limit: a broken resolver takes 10 s and more."""
    release = threading.Event()

    def stuck(*args, **kwargs):
        release.wait(20)
        raise OSError

    monkeypatch.setattr("inkwash.reach.urlopen", stuck)
    start = time.monotonic()
    assert not reachable("https://weights.invalid/weights.pth", seconds=0.3)
    assert time.monotonic() - start < 2
    release.set()
