"""Features of a small classifier that is trained on the data set itself."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from inkwash.images import ImageSplit, InBlocks, to_float
from inkwash.metrics.cache import cached, check_writable
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.extractors.progress import Progress
from inkwash.metrics.extractors.view import Copy, View, scaled_copy, some_of
from inkwash.muon import Muon
from inkwash.random import generator, seed_of

RECIPE, FOLDED = 3, 4  # raise both with any change to its network or training: they name the cached file
STEPS = 500
BATCH_SIZE = 64
LEARNING_RATES = 0.01, 4e-3  # of matrices, by Muon; of the other parameters, by AdamW
GUESSING = 1.5  # times the accuracy of guesses: no better than that
ACCURACY_IMAGES = 10_000  # of the held-out images, at most


class ClassifierFeatures(FeatureExtractor):
    """The 64 penultimate features of a convolutional classifier of the training labels.

    `prepare` trains it once for a data set: on one CPU thread and from a fixed seed, so that jobs on any device get the
    same network, and in a fixed number of steps, so that its cost does not grow with the data set. Nor does it grow
    with the images: those of more than 12 x 12 are seen through a View, which costs as much as one of 8 x 8. If it is
    interrupted, the next one goes on from where it was a few seconds before.

    Args:
        cache_dir: folder for the weights, `classifier-<key>.pt`.

    Attributes:
        heldout_accuracy: fraction of the held-out images that it classifies correctly; None without held-out images.
        num_classes: K; the labels are 0 .. K - 1.
    """

    name = "classifier"
    dim = 64
    num_classes: int

    def __init__(self, cache_dir: str):
        super().__init__()
        self.cache_dir = Path(cache_dir)
        self.network: Classifier | None = None

    def check(self, train: ImageSplit) -> None:
        check_data(train)

    def is_ready(self, train: ImageSplit, heldout: ImageSplit) -> bool:
        if self.network is not None or self._path(train, heldout).exists():
            return True
        check_writable(self.cache_dir)
        return False

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Load the classifier of this data set, after training it if no run has yet.

        Raises:
            NotApplicableError: the images are smaller than 8 x 8, or have no labels.
        """
        if self.network is not None:
            return
        shape = train.shape
        self.check(train)
        self.num_classes = int(train.labels.max()) + 1
        self.preprocessing = View(shape).preprocessing
        path = self._path(train, heldout)
        stored = cached(path, lambda: _train(train, heldout, self.num_classes, path.with_suffix(".partial")))
        with torch.device("meta"):  # weights that are about to be replaced need no random numbers
            network = Classifier(shape, self.num_classes)
        network.load_state_dict(stored["weights"], assign=True)
        self.network = network.requires_grad_(False).eval()
        self.heldout_accuracy = stored["heldout_accuracy"]
        self.hash = _hash(stored["weights"])

    def _path(self, train: ImageSplit, heldout: ImageSplit) -> Path:
        identity = (RECIPE if View(train.shape).as_it_is else FOLDED, train.fingerprint, heldout.fingerprint)
        key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        return self.cache_dir / f"classifier-{key}.pt"

    @property
    def doubt(self) -> str | None:
        if self.heldout_accuracy is None or self.heldout_accuracy >= GUESSING / self.num_classes:
            return None
        return (
            f"the classifier is right for {self.heldout_accuracy:.0%} of the held-out images, as guesses are: its "
            "features say little about these images; pass extractor=auto, or more images"
        )

    def features(self, images: Tensor) -> Tensor:
        assert self.network is not None, "call prepare first"
        return self.network.features(images)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, K) of features (B, d)."""
        assert self.network is not None, "call prepare first"
        return self.network.head(features)


class Classifier(nn.Module):
    """Pairs of 3x3 convolutions and pooling until the shorter side is below 8; mean over pixels; linear layer.

    It takes uint8 images of `shape`, or those that its View has scaled already.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int):
        super().__init__()
        self.view = View(shape)
        channels, *sides = self.view.folded
        side, width = min(sides), 32
        layers: list[nn.Module] = []
        while side >= 8:
            layers += [*_convolution(channels, width), *_convolution(width, width), nn.MaxPool2d(2)]
            channels, side, width = width, side // 2, ClassifierFeatures.dim
        layers += [*_convolution(channels, width), *_convolution(width, width)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.body(to_float(self.view.fold(self.view.scale(images)))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def check_data(train: ImageSplit) -> None:
    """Raise NotApplicableError for images that are too small, or without labels of two classes."""
    shape = train.shape
    if len(train.labels) == 0 or int(train.labels.min()) < 0 or int(train.labels.max()) < 1:
        raise NotApplicableError(
            "extractor=classifier needs labels of at least two classes, which this data set does not have: "
            "use extractor=inception, or extractor=auto"
        )
    if min(shape[1:]) < 8:
        raise NotApplicableError(
            f"extractor=classifier needs images of at least 8 x 8, not {shape[1]} x {shape[2]}: "
            "use extractor=inception, or extractor=auto"
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
def _train(train: ImageSplit, heldout: ImageSplit, num_classes: int, partial: Path) -> dict[str, Any]:
    """Train the classifier; return its weights and its accuracy on the held-out images.

    Args:
        partial: file of the state that an interrupted training leaves behind, and starts from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("classifier", "weights"))  # torch.manual_seed would reseed GPUs too
        network = Classifier(train.shape, num_classes)
    lr, adamw_lr = LEARNING_RATES
    # Without gram, which later versions have, it is the same judge to the last bit.
    optimizer = Muon(network.parameters(), network, lr=lr, gram=False, adamw_lr=adamw_lr)
    schedule = OneCycleLR(optimizer, list(LEARNING_RATES), total_steps=STEPS, cycle_momentum=False)
    draws = generator("classifier", "batches")
    progress = Progress(partial, "the metrics' classifier", STEPS, network, optimizer, schedule, draws)
    images = train if network.view.as_it_is else scaled_copy(train, network.view, "classifier")
    for batch in islice(_batches(images, draws, progress.step), STEPS - progress.step):
        x, labels = images.__getitems__(batch)
        loss = nn.functional.cross_entropy(network(_shift(x, draws)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.advance()
    partial.unlink(missing_ok=True)
    return {"weights": network.state_dict(), "heldout_accuracy": _accuracy(network.eval(), heldout)}


def _batches(train: ImageSplit | Copy, draws: torch.Generator, step: int) -> Iterator[list[int]]:
    """Yield the batches of random indices from a step on, without end."""
    if isinstance(train, InBlocks) and not isinstance(train, Copy):
        shuffled = chain.from_iterable(train.order("classifier", epoch) for epoch in count())
        next(islice(shuffled, step * BATCH_SIZE, step * BATCH_SIZE), None)
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
def _accuracy(network: Classifier, images: ImageSplit, batch_size: int = 256) -> float | None:
    chosen, correct = some_of(images, ACCURACY_IMAGES, "accuracy"), 0
    for start in range(0, len(chosen), batch_size):
        x, labels = images.__getitems__(chosen[start : start + batch_size])
        correct += int((network(x).argmax(dim=1) == labels).sum())
    return correct / len(chosen) if chosen else None


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:12]
