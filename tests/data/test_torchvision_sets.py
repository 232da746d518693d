import hashlib
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from inkwash.data.torchvision_sets import TorchvisionSet
from inkwash.errors import UserError


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def mnist(noise, tmp_path):
    """Pixels of five training and two test images."""
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    pixels = noise(7, 28, 28)
    for split, rows in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        write_idx(raw / f"{split}-images-idx3-ubyte", pixels[rows])
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(7, dtype=np.uint8)[rows])
    return pixels


def test_grey_sets_get_their_channel(mnist, tmp_path):
    train, heldout = (TorchvisionSet("MNIST").load(s, (1, 28, 28), str(tmp_path)) for s in ("train", "heldout"))
    assert torch.equal(train.images[:, 0], torch.from_numpy(mnist[:5]))
    assert torch.equal(heldout.images[:, 0], torch.from_numpy(mnist[5:]))
    assert heldout.labels.tolist() == [5, 6]


def test_a_folder_that_cannot_be_written_is_read(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert len(TorchvisionSet("MNIST").load("train", (1, 28, 28), str(tmp_path))) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]  # without a lock


def test_colour_sets_become_channels_first(noise, tmp_path, monkeypatch):
    pixels = noise(4, 3, 32, 32)
    files = {"batch": {"data": pixels.reshape(4, -1), "labels": [3, 1, 4, 1]}, "meta": {"label_names": ["cat"]}}
    (tmp_path / CIFAR10.base_folder).mkdir()
    for name, content in files.items():
        (tmp_path / CIFAR10.base_folder / name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5(pickle.dumps(content)).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(CIFAR10, "train_list", [("batch", md5["batch"])])
    monkeypatch.setattr(CIFAR10, "test_list", [])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "meta", "key": "label_names", "md5": md5["meta"]})
    train = TorchvisionSet("CIFAR10").load("train", (3, 32, 32), str(tmp_path))
    assert train.images.is_contiguous()
    assert torch.equal(train.images, torch.from_numpy(pixels))
    assert train.labels.tolist() == [3, 1, 4, 1]


@pytest.mark.parametrize(
    ("name", "file"), [("CIFAR10", "cifar-10-python.tar.gz"), ("FashionMNIST", "train-images-idx3-ubyte.gz")]
)
def test_without_a_network_the_files_to_put_in_place_are_named(tmp_path, monkeypatch, name, file):
    def offline(*args, **kwargs):
        raise URLError("no network")

    for function in ("_urlretrieve", "_get_redirect_url"):
        monkeypatch.setattr(f"torchvision.datasets.utils.{function}", offline)
    with pytest.raises(UserError, match=rf"{name} could neither.*put .*{file}.*data\.path={tmp_path}.*data=parquet"):
        TorchvisionSet(name).load("train", (3, 32, 32), str(tmp_path))


@pytest.mark.parametrize("name", ["CIFAR11", "ImageFolder", "utils", "VOCDetection"])
def test_a_name_without_a_training_split_is_refused(name):
    with pytest.raises(UserError, match=rf"data\.source\.name={name}"):
        TorchvisionSet(name)
