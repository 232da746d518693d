"""How well measures that need no published network rank known damage, and known progress of a training.

    python benchmarks/extractors.py digits
    python benchmarks/extractors.py cifar10-train.parquet cifar10-test.parquet --shape 3 32 32 --run runs/NAME

Damage: held-out images, in three disjoint parts, are damaged in ten ways and five strengths; a measure compares each
part with other real images. It prints the mean rank correlation of value and strength, and the mean weakest strength
(0 .. 4, 5 for none) at which all parts have larger values than any undamaged one. Progress: images of every checkpoint
of a run; the share of pairs of checkpoints of which the later one has the smaller value. experiments/extractors has the
results.
"""

import argparse
import io
import itertools
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from inkwash.data.digits import Digits
from inkwash.data.images import Images
from inkwash.data.parquet import Parquet
from inkwash.images import to_float
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.extractors.classifier import ClassifierFeatures
from inkwash.metrics.extractors.pyramid import PyramidFeatures, pyramid
from inkwash.metrics.frechet import frechet_distance
from inkwash.metrics.moments import FeatureStatistics

draws = torch.Generator().manual_seed(1)


# --- Damage: (images, labels, strength 0 .. 4) -> images --------------------------------------------------------------


def levels(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def blur(x, y, i):
    s = (0.35, 0.5, 0.7, 1.0, 1.5)[i]
    r = math.ceil(3 * s)
    k = torch.exp(-0.5 * (torch.arange(-r, r + 1) / s) ** 2)
    k, C = (k / k.sum()).view(1, 1, 1, -1).expand(x.shape[1], 1, 1, -1), x.shape[1]
    x = F.conv2d(F.pad(x.float(), (r, r, 0, 0), mode="replicate"), k, groups=C)
    return levels(F.conv2d(F.pad(x, (0, 0, r, r), mode="replicate"), k.transpose(2, 3), groups=C))


def noise(x, y, i):
    return levels(x + (3, 6, 12, 25, 50)[i] * torch.randn(x.shape, generator=draws))


def jpeg(x, y, i):
    found = []
    for image in x:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy().squeeze()).save(file, "JPEG", quality=(75, 50, 30, 15, 5)[i])
        found.append(torch.from_numpy(np.array(Image.open(file))).view(*x.shape[2:], -1).permute(2, 0, 1))
    return torch.stack(found)


def swap(x, y, i):
    """Exchange two quarter-sized patches in a share of the images, in the last strength four times."""
    x, n = x.clone(), max(1, x.shape[2] // 4)
    for j in range(int((0.1, 0.25, 0.5, 1, 1)[i] * len(x))):
        for _ in range((1, 1, 1, 1, 4)[i]):
            (a, b), (c, d) = (n * torch.randint(0, 4, (2, 2), generator=draws)).tolist()
            one, two = (slice(a, a + n), slice(b, b + n)), (slice(c, c + n), slice(d, d + n))
            x[j, :, *one], x[j, :, *two] = x[j, :, *two].clone(), x[j, :, *one].clone()
    return x


def modes(x, y, i):
    rows = (y < (9, 7, 5, 3, 1)[i]).nonzero()[:, 0]
    return x[rows[torch.randint(len(rows), (len(x),), generator=draws)]]


def copies(x, y, i):
    return x[torch.randint(max(5, len(x) // (4, 10, 25, 60, 999)[i]), (len(x),), generator=draws)]


def contrast(x, y, i):
    return levels(127.5 + (x - 127.5) * (0.95, 0.9, 0.8, 0.65, 0.5)[i])


def mixed(x, y, i):
    share = (0.05, 0.1, 0.2, 0.35, 0.5)[i]
    return levels((1 - share) * x + share * x[torch.randperm(len(x), generator=draws)])


def warp(x, y, i):
    shift = (0.15, 0.3, 0.6, 1, 1.6)[i] / x.shape[3] * 2 * torch.randn(len(x), 2, 4, 4, generator=draws)
    shift = F.interpolate(shift, x.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return levels(F.grid_sample(x.float(), still + shift, padding_mode="border", align_corners=False))


class Gaussian:
    """A share of images of the Gaussian with the mean and covariance of the training images' pixels."""

    __name__ = "gaussian"

    def __init__(self, train: Tensor):
        z = train.flatten(1).double()
        eigenvalues, V = torch.linalg.eigh(torch.cov(z.T))
        self.mean, self.root = z.mean(dim=0), V * eigenvalues.clamp(min=0).sqrt()

    def __call__(self, x, y, i):
        x, count = x.clone(), int((0.05, 0.1, 0.25, 0.5, 1)[i] * len(x))
        z = torch.randn(count, self.root.shape[1], generator=draws, dtype=torch.float64)
        x[:count] = levels(self.mean + z @ self.root.T).view(count, *x.shape[1:])
        return x


# --- Measures ---------------------------------------------------------------------------------------------------------


class Pixels(FeatureExtractor):
    """The image as at most 8 x 8 pixels."""

    def prepare(self, train, heldout):
        self.dim = train.shape[0] * min(8, train.shape[1]) * min(8, train.shape[2])

    def features(self, images):
        return F.adaptive_avg_pool2d(to_float(images), [min(8, side) for side in images.shape[2:]]).flatten(1)


class RandomNetwork(FeatureExtractor):
    """Mean and standard deviation of each channel on every level of a network of random weights."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def prepare(self, train, heldout):
        seeded, channels, self.layers = torch.Generator().manual_seed(0), train.shape[0], []
        for _ in range(int(math.log2(min(train.shape[1:]) / 4)) + 1):
            self.layers.append([])
            for inputs in (channels, self.width):
                w = torch.randn(self.width, inputs, 3, 3, generator=seeded)
                self.layers[-1].append(w * math.sqrt(2 / (9 * inputs)))
            channels = self.width
        self.dim = 2 * self.width * len(self.layers)

    def features(self, images):
        x, found = to_float(images), []
        for i, layer in enumerate(self.layers):
            x = F.avg_pool2d(x, 2) if i else x
            for w in layer:
                x = F.conv2d(x, w, padding=1).relu()
            found += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
        return torch.cat(found, dim=1)


class Contrastive(ClassifierFeatures):
    """The classifier's network, trained without labels: two crops of an image are to be alike (Chen et al. 2020)."""

    def prepare(self, train, heldout):
        from inkwash.metrics.extractors.classifier import Classifier

        torch.manual_seed(0)
        network, head = Classifier(train.shape, 2), nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        network.features = lambda x: network.body(network.view.fold(x)).mean(dim=(2, 3))  # takes floats
        optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=4e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=1000)
        for _ in range(1000):
            x = to_float(network.view.scale(train.images[torch.randint(len(train), (64,))]))
            z = F.normalize(head(network.features(torch.cat([self.view_of(x), self.view_of(x)]))), dim=1)
            loss = F.cross_entropy((z @ z.T / 0.2).fill_diagonal_(-1e9), torch.arange(128).roll(64))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        del network.features
        self.network = network.eval()

    def view_of(self, x):
        n, scale = len(x), 0.5 + 0.5 * torch.rand(len(x))
        crop = torch.zeros(n, 2, 3)
        crop[:, 0, 0] = crop[:, 1, 1] = scale
        crop[:, :, 2] = (2 * torch.rand(n, 2) - 1) * (1 - scale)[:, None]
        grid = F.affine_grid(crop, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return x * (0.6 + 0.8 * torch.rand(n, 1, 1, 1)) + 0.2 * torch.randn(n, x.shape[1], 1, 1)


class Frechet:
    """Frechet distance in the features of an extractor."""

    def __init__(self, extractor: FeatureExtractor):
        self.extractor = extractor

    def prepare(self, train: Images, heldout: Images, reference: Tensor) -> None:
        self.extractor.prepare(train, heldout)
        self.reference = self.moments(reference)

    def moments(self, images: Tensor):
        statistics = FeatureStatistics(self.extractor.dim)
        for part in images.split(250):
            statistics.update(self.extractor(part))
        return statistics.compute()

    def __call__(self, images: Tensor) -> float:
        found = self.moments(images)
        return frechet_distance(found.mean, found.covariance, self.reference.mean, self.reference.covariance)


class SlicedWasserstein:
    """Sliced Wasserstein distance of 7 x 7 patches of Laplacian pyramids (Karras et al. 2018), mean over the levels."""

    def prepare(self, train: Images, heldout: Images, reference: Tensor) -> None:
        self.reference = reference

    def patches(self, images: Tensor) -> list[Tensor]:
        seeded, found = torch.Generator().manual_seed(3), []
        for level in pyramid(to_float(images)):
            side = min(7, *(side - 1 for side in level.shape[2:]))
            every = F.unfold(level, side)  # (n, C side^2, places)
            places = torch.randint(every.shape[2], (len(images), 64), generator=seeded)
            some = every.gather(2, places[:, None].expand(-1, every.shape[1], -1)).transpose(1, 2)
            some = some.reshape(-1, images.shape[1], side**2)
            found.append(((some - some.mean((0, 2), keepdim=True)) / some.std((0, 2), keepdim=True)).flatten(1))
        return found

    def __call__(self, images: Tensor) -> float:
        values = []
        for x, y in zip(self.patches(images), self.patches(self.reference[: len(images)]), strict=True):
            directions = torch.randn(x.shape[1], 256, generator=torch.Generator().manual_seed(4))
            for part in F.normalize(directions, dim=0).split(32, dim=1):
                values.append(((x @ part).sort(dim=0).values - (y @ part).sort(dim=0).values).abs().mean().item())
        return 1e3 * float(np.mean(values))


# --- What is printed --------------------------------------------------------------------------------------------------


def rank_correlation(values: list[float]) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(values)), np.arange(len(values)))[0, 1])


def of_damage(measure, parts: list[tuple[Tensor, Tensor]], damaged: dict[str, list[list[Tensor]]]) -> dict:
    """Return (rank correlation, weakest strength that is noticed) for each damage."""
    sound, found = [measure(x) for x, _ in parts], {}
    for name, strengths in damaged.items():
        values = [[measure(x) for x in images] for images in strengths]
        noticed = next((i for i, row in enumerate(values) if min(row) > max(sound)), 5)
        found[name] = rank_correlation([np.mean(row) for row in (sound, *values)]), noticed
    return found


def of_progress(measure, series: list[Tensor]) -> float:
    values = [measure(images) for images in series]
    return float(np.mean([later < earlier for earlier, later in itertools.combinations(values, 2)]))


def drawn(run: Path, count: int) -> list[Tensor]:
    from inkwash.process.spacing import Trailing
    from inkwash.run import load_run
    from inkwash.samplers.ddim import DDIM

    files = sorted((run / "checkpoints").glob("step-*.ckpt"))
    return [load_run(run, file.name).sample(count, sampler=DDIM(Trailing(20)), guidance=1.0) for file in files]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="+", help="digits, or the Parquet files of the training and held-out images")
    parser.add_argument("--shape", type=int, nargs=3, default=(1, 8, 8))
    parser.add_argument("--run", type=Path, help="a run with several checkpoints of these images")
    parser.add_argument("--only", help="the beginning of a measure's name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data == ["digits"]:
        train, heldout, count = Digits().load("train", (1, 8, 8)), Digits().load("heldout", (1, 8, 8)), 150
        reference = train.images
    else:
        source = Parquet(heldout_path=options.data[1], cache_dir=tempfile.mkdtemp())
        train, heldout = (source.load(s, tuple(options.shape), options.data[0]) for s in ("train", "heldout"))
        train = Images(train.images[:6000].clone(), train.labels[:6000])
        heldout, count = Images(heldout.images[:2700].clone(), heldout.labels[:2700]), 300
        reference = heldout.images[1200:]
    rows = [slice(i * count, (i + 1) * count) for i in range(3)]
    parts = [(heldout.images[r], heldout.labels[r]) for r in rows]
    ways = (Gaussian(train.images), blur, noise, jpeg, swap, modes, copies, contrast, mixed, warp)
    damaged = {way.__name__: [[way(x, y, i) for x, y in parts] for i in range(5)] for way in ways}
    series = drawn(options.run, 300) if options.run else []
    measures = {
        "pyramid": Frechet(PyramidFeatures()), "pixels, 8 x 8": Frechet(Pixels()),
        "random network, 16": Frechet(RandomNetwork(16)), "random network, 32": Frechet(RandomNetwork(32)),
        "contrastive": Frechet(Contrastive("")), "classifier (labels)": Frechet(ClassifierFeatures(tempfile.mkdtemp())),
        "sliced Wasserstein": SlicedWasserstein(),
    }  # fmt: skip
    for name, measure in measures.items():
        if options.only and not name.startswith(options.only):
            continue
        start = time.process_time()
        measure.prepare(train, heldout, reference)
        prepared = time.process_time()
        found = of_damage(measure, parts, damaged)
        spent = time.process_time() - prepared
        correlation, noticed = (np.mean([value[k] for value in found.values()]) for k in (0, 1))
        progress = f"{of_progress(measure, series):.2f}" if series else "-"
        print(f"| {name} | {correlation:.3f} | {noticed:.2f} | {progress} | {prepared - start:.0f} s | {spent:.0f} s |")
        print("   ", ", ".join(f"{way} {rho:.2f} {weakest}" for way, (rho, weakest) in found.items()), flush=True)


if __name__ == "__main__":
    main()
