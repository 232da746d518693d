from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer

from inkwash.data.digits import Digits
from inkwash.data.images import Images
from inkwash.data.module import ImageDataModule
from inkwash.data.parquet import Parquet
from inkwash.errors import UserError


class Memory:
    """A source of ready arrays."""

    def __init__(self, pixels, labels):
        self.images = Images(torch.as_tensor(pixels), torch.as_tensor(labels))

    def load(self, split, shape, path):
        return self.images


class Recorder(LightningModule):
    """Notes what each training step is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append((self.global_step, *batch))
        return self.weight * batch[0].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(steps, path, resume=None, data=None, **kwargs):
    quiet = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "barebones"), False
    )
    trainer = Trainer(max_steps=steps, max_epochs=-1, accelerator="cpu", default_root_dir=path, **quiet, **kwargs)
    model = Recorder()
    data = data or ImageDataModule(Digits(), [1, 8, 8], 10, batch_size=16, flip=True)
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer, model.batches


def same(batches, others):
    return len(batches) == len(others) and all(
        step == other_step and torch.equal(images, other) and torch.equal(labels, other_labels)
        for (step, images, labels), (other_step, other, other_labels) in zip(batches, others, strict=True)
    )


def test_the_network_sees_floats_from_minus_one_to_one(tmp_path):
    _, batches = fit(2, tmp_path)
    _, images, labels = batches[0]
    assert (images.dtype, images.shape, labels.dtype) == (torch.float32, (16, 1, 8, 8), torch.int64)
    assert (images.min(), images.max()) == (-1, 1)


def test_resuming_continues_the_same_batches(tmp_path, recwarn):
    _, whole = fit(5, tmp_path, accumulate_grad_batches=2)
    trainer, before = fit(2, tmp_path, accumulate_grad_batches=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    _, after = fit(5, tmp_path, tmp_path / "a.ckpt", accumulate_grad_batches=2)
    assert len(whole) == 10
    assert same(before + after, whole)
    assert not [w for w in recwarn if "resum" in str(w.message)]


def test_lightnings_epochs_and_workers_change_nothing(tmp_path):
    workers = ImageDataModule(Digits(), [1, 8, 8], 10, batch_size=16, flip=True, num_workers=1)
    assert same(fit(5, tmp_path, limit_train_batches=2, data=workers)[1], fit(5, tmp_path)[1])


def test_overfitting_repeats_its_batches(tmp_path):
    _, batches = fit(4, tmp_path, overfit_batches=1)
    assert all(torch.equal(images, batches[0][1]) for _, images, _ in batches)


def test_flip_shows_mirror_images_and_only_then(noise, tmp_path):
    source = Memory(noise(8, 1, 2, 3), [0] * 8)
    originals = {image.numpy().tobytes() for image in source.images.images}
    for flip, mirrors in ((False, 0), (True, 8)):
        data = ImageDataModule(source, [1, 2, 3], None, batch_size=16, flip=flip)
        images = fit(1, tmp_path, data=data)[1][0][1]
        seen = {((image + 1) * 127.5).round().byte().numpy().tobytes() for image in images}
        assert len(seen - originals) == mirrors
        assert len(data.train) == 8


def test_the_seed_decides_the_batches(tmp_path):
    seeds = [ImageDataModule(Digits(), [1, 8, 8], 10, batch_size=16, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (fit(2, tmp_path, data=data)[1] for data in seeds)
    assert same(first, again)
    assert not same(first, other)


def test_splits_are_loaded_once():
    data = ImageDataModule(Digits(), [1, 8, 8], 10, batch_size=16)
    data.setup("fit")
    loaded = data.train, data.heldout
    data.setup("test")
    assert (data.train, data.heldout) == loaded
    assert (len(data.train), len(data.heldout)) == (1347, 450)


@pytest.mark.parametrize(
    ("shape", "labels", "num_classes", "message"),
    [
        ([3, 4, 4], [0, 1], 2, r"data\.shape=\[3, 4, 4\], but the images of Memory are \[1, 4, 4\]: set data\.shape"),
        ([4, 4], [0, 1], 2, r"data\.shape=\[4, 4\] must be \[channels, height, width\]"),
        ([1, 4, 4], [0, 2], 2, r"data\.num_classes=2, but the train labels go up to 2: set data\.num_classes=3"),
        ([1, 4, 4], [0, -1], 2, r"1 of 2 train images have no label: set data\.num_classes=null"),
    ],
)
def test_a_wrong_shape_or_label_is_named_before_training(noise, shape, labels, num_classes, message):
    with pytest.raises(UserError, match=message):
        ImageDataModule(Memory(noise(2, 1, 4, 4), labels), shape, num_classes, batch_size=2).setup()


def test_without_classes_labels_are_kept_but_not_checked(noise):
    data = ImageDataModule(Memory(noise(2, 1, 4, 4), [-1, 7]), [1, 4, 4], None, batch_size=2)
    data.setup()
    assert data.train.labels.tolist() == [-1, 7]


def test_a_set_of_one_labelled_image_holds_nothing_out(noise, write_parquet, tmp_path):
    path = write_parquet(tmp_path / "one.parquet", noise(1, 6, 5, 3), [2])
    data = ImageDataModule(Parquet(cache_dir=str(tmp_path / "cache")), (3, 6, 5), 3, 4, path)
    data.setup()
    assert [len(data.train), len(data.heldout)] == [1, 0]


def test_heldout_images_without_labels_may_be_replaced():
    """A dataset.json that lists the training images alone is no reason to train without classes."""
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    splits = {"train": Images(pixels, torch.tensor([0, 1])), "heldout": Images(pixels, torch.tensor([-1, -1]))}
    source = SimpleNamespace(load=lambda split, shape, path: splits[split])
    data = ImageDataModule(source, (1, 4, 4), 2, 2)
    with pytest.raises(
        UserError, match=r"2 of 2 heldout images have no label: set .*null .* alone as data\.path, to hold"
    ):
        data.setup()
