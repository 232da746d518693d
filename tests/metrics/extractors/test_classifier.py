import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.extractors import classifier as classifier_module
from inkwash.metrics.extractors import progress as progress_module
from inkwash.metrics.extractors import view as view_module
from inkwash.metrics.extractors.classifier import ClassifierFeatures


def random_images(n, shape, num_classes=3):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draws)
    return Images(images, torch.arange(n) % num_classes)


def test_knows_the_digits(classifier, heldout):
    assert classifier.heldout_accuracy >= 0.985
    predicted = classifier.logits(classifier(heldout.images)).argmax(dim=1)
    assert (predicted == heldout.labels).double().mean().item() == pytest.approx(classifier.heldout_accuracy)
    assert classifier.num_classes == 10


def test_training_leaves_the_global_random_state_alone(classifier):
    assert classifier.rng_untouched


def test_a_second_prepare_loads_instead_of_training(classifier, classifier_cache, train, heldout, monkeypatch):
    monkeypatch.setattr(classifier_module, "_train", lambda *args: pytest.fail("trained"))
    state = torch.get_rng_state()
    again = ClassifierFeatures(str(classifier_cache))
    again.prepare(train, heldout)
    assert again.hash == classifier.hash
    assert again.heldout_accuracy == classifier.heldout_accuracy
    assert torch.equal(again(heldout.images), classifier(heldout.images))
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(pytest.fail.Exception, match="trained"):  # other data, another classifier
        ClassifierFeatures(str(classifier_cache)).prepare(Images(train.images[1:], train.labels[1:]), heldout)


def test_training_is_a_function_of_the_data(train, heldout, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_module, "STEPS", 5)
    hashes = []
    threads = torch.get_num_threads()
    for n in (1, 2):
        torch.manual_seed(n)
        torch.set_num_threads(n)
        extractor = ClassifierFeatures(str(tmp_path / str(n)))
        with torch.inference_mode():  # as a callback of an evaluation loop would call it
            extractor.prepare(train, heldout)
        hashes.append(extractor.hash)
        assert torch.get_num_threads() == n
    torch.set_num_threads(threads)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 20), (4, 32, 16)], ids=str)
def test_any_channels_and_sizes(shape, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_module, "STEPS", 2)
    images = random_images(20, shape)
    extractor = ClassifierFeatures(str(tmp_path))
    extractor.prepare(images, images)
    features = extractor(images.images)
    assert features.shape == (20, extractor.dim)
    assert features.dtype == torch.float32
    assert extractor.logits(features).shape == (20, 3)


def test_features_ignore_autocast_and_batch_size(classifier, heldout):
    with torch.autocast("cpu", torch.bfloat16):
        features = classifier(heldout.images)
    torch.testing.assert_close(features, classifier(heldout.images), rtol=0, atol=0)
    in_parts = torch.cat([classifier(part) for part in heldout.images.split(77)])
    torch.testing.assert_close(in_parts, features, rtol=1e-4, atol=1e-4)


def test_float_images_are_refused(classifier):
    with pytest.raises(TypeError, match="uint8"):
        classifier(torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("labels", [[-1, -1], [0, -1], [0, 0]], ids=["none", "some", "one class"])
def test_data_without_labels_are_refused(labels, tmp_path):
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor(labels))
    with pytest.raises(UserError, match="extractor=inception"):
        ClassifierFeatures(str(tmp_path)).prepare(images, images)


def operations(shape):
    """Additions and multiplications for one image, counted by torch."""
    network = classifier_module.Classifier(shape, 10).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *shape, dtype=torch.uint8))
    return counter.get_total_flops()


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 32, 32), (3, 64, 64), (4, 512, 100), (3, 1024, 1024)], ids=str)
def test_its_cost_does_not_grow_with_the_images(shape):
    """layout-dm#35, PyTorch-StudioGAN#154: minutes of preparation before the first step, hours at larger sizes."""
    assert operations(shape) < 2.5 * operations((1, 8, 8))


def test_a_bounded_number_of_pixels_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier_module, "STEPS", 2)
    monkeypatch.setattr(view_module, "COPIES", 12)
    images = random_images(40, (3, 16, 16))
    read = []
    images.__class__ = type("Counted", (Images,), {"__getitems__": lambda self, i: read.extend(i) or pick(self, i)})
    extractor = ClassifierFeatures(str(tmp_path))
    extractor.prepare(images, random_images(5, (3, 16, 16)))
    assert len(read) == len({*read}) == 12


def pick(images, indices):
    return Images.__getitems__(images, indices)


def test_an_interrupted_training_goes_on_to_the_same_weights(train, heldout, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(classifier_module, "STEPS", 6)
    monkeypatch.setattr(progress_module, "SECONDS", 0.0)
    caplog.set_level("INFO")
    whole, halved = (ClassifierFeatures(str(tmp_path / name)) for name in ("whole", "halved"))
    whole.prepare(train, heldout)
    assert "step 3 of 6" in caplog.text
    shift, calls = classifier_module._shift, []

    def interrupted(*args):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(1)
        return shift(*args)

    monkeypatch.setattr(classifier_module, "_shift", interrupted)
    with pytest.raises(KeyboardInterrupt):
        halved.prepare(train, heldout)
    monkeypatch.setattr(classifier_module, "_shift", lambda *args: calls.append(1) or shift(*args))
    halved.prepare(train, heldout)
    assert len(calls) == 6  # no step was made twice
    assert halved.hash == whole.hash
    assert "6 steps on one CPU thread, from step 4 on" in caplog.text
    assert not [*(tmp_path / "halved").glob("*.partial")]


def test_a_damaged_state_costs_only_time(train, heldout, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_module, "STEPS", 2)
    whole, again = (ClassifierFeatures(str(tmp_path / name)) for name in ("whole", "again"))
    whole.prepare(train, heldout)
    (tmp_path / "again").mkdir()
    name = next((tmp_path / "whole").glob("*.pt")).stem
    (tmp_path / "again" / f"{name}.partial").write_bytes(b"half a file")
    again.prepare(train, heldout)
    assert again.hash == whole.hash


def test_without_held_out_images_its_accuracy_is_unknown(train, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_module, "STEPS", 2)
    extractor = ClassifierFeatures(str(tmp_path))
    extractor.prepare(train, Images(train.images[:0], train.labels[:0]))
    assert extractor.heldout_accuracy is None
    assert extractor.knows_classes


def test_images_below_8_pixels_are_refused(tmp_path):
    images = random_images(4, (1, 8, 7))
    with pytest.raises(UserError, match="at least 8 x 8, not 8 x 7"):
        ClassifierFeatures(str(tmp_path)).prepare(images, images)
