"""Features of a small classifier that is trained on the data set itself."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.images import ImageSplit, InBlocks, to_float
from inkwash.metrics.cache import cached
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.random import generator, seed_of

log = logging.getLogger(__name__)

RECIPE = 1  # raise it with any change to the network or its training: it names the cached file
STEPS = 1000
BATCH_SIZE = 64
LEARNING_RATE = 4e-3


class ClassifierFeatures(FeatureExtractor):
    """The 64 penultimate features of a convolutional classifier of the training labels.

    `prepare` trains it once for a data set: on one CPU thread and from a fixed seed, so that jobs on any device get the
    same network, and in a fixed number of steps, so that its cost does not grow with the data set.

    Args:
        cache_dir: folder for the weights, `classifier-<key>.pt`.

    Attributes:
        heldout_accuracy: fraction of the held-out images that it classifies correctly.
        num_classes: K; the labels are 0 .. K - 1.
    """

    name = "classifier"
    dim = 64
    num_classes: int

    def __init__(self, cache_dir: str):
        super().__init__()
        self.cache_dir = Path(cache_dir)
        self.network: Classifier | None = None

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Load the classifier of this data set, after training it if no run has yet.

        Raises:
            NotApplicableError: the images are smaller than 8 x 8, or have no labels.
        """
        if self.network is not None:
            return
        shape = train.shape
        _check(train, shape)
        self.num_classes = int(train.labels.max()) + 1
        identity = (RECIPE, train.fingerprint, heldout.fingerprint)
        key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        stored = cached(self.cache_dir / f"classifier-{key}.pt", lambda: _train(train, heldout, self.num_classes))
        with torch.device("meta"):  # weights that are about to be replaced need no random numbers
            network = Classifier(shape, self.num_classes)
        network.load_state_dict(stored["weights"], assign=True)
        self.network = network.requires_grad_(False).eval()
        self.heldout_accuracy = stored["heldout_accuracy"]
        self.hash = _hash(stored["weights"])

    def features(self, images: Tensor) -> Tensor:
        assert self.network is not None, "call prepare first"
        return self.network.features(images)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, K) of features (B, d)."""
        assert self.network is not None, "call prepare first"
        return self.network.head(features)


class Classifier(nn.Module):
    """Pairs of 3x3 convolutions and pooling until the shorter side is below 8; mean over pixels; linear layer."""

    def __init__(self, shape: tuple[int, ...], num_classes: int):
        super().__init__()
        channels, side, width = shape[0], min(shape[1:]), 32
        layers: list[nn.Module] = []
        while side >= 8:
            layers += [*_convolution(channels, width), *_convolution(width, width), nn.MaxPool2d(2)]
            channels, side, width = width, side // 2, ClassifierFeatures.dim
        layers += [*_convolution(channels, width), *_convolution(width, width)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.body(to_float(images)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def _check(train: ImageSplit, shape: tuple[int, ...]) -> None:
    if int(train.labels.min()) < 0 or int(train.labels.max()) < 1:
        raise NotApplicableError(
            "extractor=classifier needs labels of at least two classes, which this data set does not have: "
            "use extractor=inception"
        )
    if min(shape[1:]) < 8:
        raise NotApplicableError(
            f"extractor=classifier needs images of at least 8 x 8, not {shape[1]} x {shape[2]}: use extractor=inception"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums then have one order, so the weights do not depend on the number of cores. On a busy machine two threads,
    # which wait for each other after each small layer, took more than ten times as long as one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def _train(train: ImageSplit, heldout: ImageSplit, num_classes: int) -> dict[str, Any]:
    """Train the classifier; return its weights and its accuracy on the held-out images."""
    log.info("training the metrics' classifier once for this data set, %d steps on one CPU thread", STEPS)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("classifier", "weights"))  # torch.manual_seed would reseed GPUs too
        network = Classifier(train.shape, num_classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    draws = generator("classifier", "batches")
    for batch in islice(_batches(train, draws), STEPS):
        images, labels = train.__getitems__(batch)
        loss = nn.functional.cross_entropy(network(_shift(images, draws)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {"weights": network.state_dict(), "heldout_accuracy": _accuracy(network.eval(), heldout)}


def _batches(train: ImageSplit, draws: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of random indices without end."""
    if isinstance(train, InBlocks):
        shuffled = chain.from_iterable(train.order("classifier", epoch) for epoch in count())
        while True:
            yield list(islice(shuffled, BATCH_SIZE))
    while True:
        yield torch.randint(len(train), (BATCH_SIZE,), generator=draws).tolist()


def _shift(images: Tensor, draws: torch.Generator) -> Tensor:
    """Shift each image by -1, 0 or 1 pixels along both axes, repeating its border."""
    B, _, H, W = images.shape
    dy, dx = torch.randint(-1, 2, (2, B, 1), generator=draws)
    rows = (torch.arange(H) + dy).clamp(0, H - 1)  # (B, H)
    columns = (torch.arange(W) + dx).clamp(0, W - 1)  # (B, W)
    shifted = images[torch.arange(B)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return shifted.permute(0, 3, 1, 2)


@torch.no_grad()
def _accuracy(network: Classifier, images: ImageSplit, batch_size: int = 256) -> float:
    correct = 0
    for start in range(0, len(images), batch_size):
        x, labels = images.__getitems__(list(range(start, min(start + batch_size, len(images)))))
        correct += int((network(x).argmax(dim=1) == labels).sum())
    return correct / len(images)


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:12]
