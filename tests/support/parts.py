"""Callbacks and data sources that tests put into configurations: `_target_: support.parts.Witness`."""

import json
import re
import time
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from inkwash.data.images import Images
from inkwash.process.spacing import Trailing
from inkwash.samplers.ddim import DDIM
from inkwash.training.callbacks.generation import generate_local


class Pictures:
    """Source of n images of smooth blobs, of any shape; image i has class i mod 10, or none."""

    def __init__(self, n: int = 60, labelled: bool = True):
        self.n, self.labelled = n, labelled

    def load(self, split, shape, path):
        generator = torch.Generator().manual_seed(len(split))
        coarse = torch.rand(self.n, shape[0], 2, 2, generator=generator)
        images = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
        return Images(
            (255 * images).to(torch.uint8), torch.arange(self.n) % 10 if self.labelled else torch.full((self.n,), -1)
        )


class Bomb(L.Callback):
    """Raise in one rank after a step."""

    def __init__(self, rank: int, step: int):
        self.rank, self.step = rank, step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_rank == self.rank and trainer.global_step == self.step:
            raise RuntimeError("the bomb went off")


class Ruin(L.Callback):
    """Put NaN into the weights before a step, on every rank."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, module, *args):
        if trainer.global_step == self.step:
            next(module.denoiser.parameters()).data.fill_(float("nan"))


class Witness(L.Callback):
    """Write the times, losses, images and weights of each rank and step to files of the run directory."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        record = {
            "t": outputs["t"],
            "losses": outputs["losses"],
            "raw": outputs["raw"],
            "images": batch[0],
            "labels": batch[1],
        }
        name = f"{trainer.global_rank}-{trainer.global_step}.pt"
        torch.save(record, f"{trainer.default_root_dir}/witness-{name}")
        weights = torch.cat([p.detach().flatten() for p in module.denoiser.parameters()])
        torch.save(weights, f"{trainer.default_root_dir}/weights-{name}")


class FixedScores(L.Callback):
    """Set the metric `name` to scores[step] at the steps it lists."""

    def __init__(self, scores: dict, name: str = "fd_test_8", lower_is_better: bool = True):
        self.scores = {int(step): value for step, value in scores.items()}
        self.name, self.lower_is_better = name, lower_is_better

    def on_fit_start(self, trainer, module):
        module.lower_is_better = {self.name: self.lower_is_better, **module.lower_is_better}

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step in self.scores:
            module.scores, module.scores_step = {self.name: self.scores[trainer.global_step]}, trainer.global_step


class Exchanges(L.Callback):
    """Count the all-reduces of gradients, and write their number into the run directory."""

    def on_train_start(self, trainer, module):
        self.count = 0
        trainer.strategy.model.register_comm_hook(None, self._exchange)

    def _exchange(self, state, bucket):
        self.count += 1
        return default_hooks.allreduce_hook(None, bucket)

    def on_train_end(self, trainer, module):
        with open(f"{trainer.default_root_dir}/exchanges-{trainer.global_rank}.txt", "w") as file:
            file.write(str(self.count))


class SlowRank(L.Callback):
    """Delay one rank before every forward pass."""

    def __init__(self, rank: int, seconds: float):
        self.rank, self.seconds = rank, seconds

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_rank == self.rank:
            time.sleep(self.seconds)


class Pace(L.Callback):
    """Make every step take some seconds, so that it can be interrupted."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def on_train_batch_end(self, *args):
        time.sleep(self.seconds)


class BufferWitness(L.Callback):
    """Write the buffers of the network and of its averages, of each rank, to a file of the run directory at the end."""

    def on_train_end(self, trainer, module):
        nets = {name: module.weights_of(name).net for name in ("raw", "ema", *module.averages)}
        found = {name: dict(net.named_buffers()) for name, net in nets.items()}
        torch.save(found, f"{trainer.default_root_dir}/buffers-{trainer.global_rank}.pt")


class DrawRaw(L.Callback):
    """Draw an image with the raw weights after every step, and write down whether the network was in training mode."""

    def on_train_start(self, trainer, module):
        self.modes = []
        module.denoiser.net.register_forward_pre_hook(lambda net, _: self.modes.append(net.training))

    def on_train_batch_end(self, trainer, module, *args):
        sampler, self.modes[:] = DDIM(Trailing(1)), []
        drawn = generate_local(trainer, module, 1, sampler, None, seed=0, weights="raw")
        self.drawn = [*getattr(self, "drawn", []), *(self.modes[0] for _ in drawn)]
        assert module.denoiser.training

    def on_train_end(self, trainer, module):
        with open(f"{trainer.default_root_dir}/drawn.json", "w") as file:
            json.dump(self.drawn, file)


class PageSteps(L.Callback):
    """Write down which step report.html tells of after each step of the training, None without a page."""

    def on_train_start(self, trainer, module):
        self.told = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        path = Path(trainer.default_root_dir, "report.html")
        found = re.search(r"step \d+", path.read_text()) if path.exists() else None
        self.told.append(found and found[0])

    def on_train_end(self, trainer, module):
        Path(trainer.default_root_dir, "page_steps.json").write_text(json.dumps(self.told))


class Widest(L.Callback):
    """Write down the most images that the network and its average were given at a time."""

    def setup(self, trainer, module, stage):
        self.most = {"raw": 0, "ema": 0}
        for name in self.most:
            module.weights_of(name).net.register_forward_pre_hook(lambda net, x, name=name: self.note(name, len(x[0])))

    def note(self, name, images):
        self.most[name] = max(self.most[name], images)

    def on_train_end(self, trainer, module):
        with open(f"{trainer.default_root_dir}/widest.json", "w") as file:
            json.dump(self.most, file)


class Logging(L.Callback):
    """Log a value in every hook that may, one of them every third step only."""

    def on_train_batch_start(self, trainer, module, *args):
        self.log("own/start", float(trainer.global_step))

    def on_train_batch_end(self, trainer, module, *args):
        self.log("own/end", trainer.global_step, sync_dist=True)
        self.log("own/quiet", 1.0, logger=False)
        if trainer.global_step % 3 == 0:
            self.log_dict({"own/third": torch.tensor(float(trainer.global_step), device=module.device)})

    def on_train_epoch_end(self, trainer, module):
        self.log("own/last", trainer.global_step)


class Noting(Logger):
    """A logger that notes what it is asked for, in order; the list is of all of them."""

    name, version = "noting", "0"
    asked: ClassVar[list] = []

    @property
    def experiment(self):
        self.asked.append("experiment")

    def log_hyperparams(self, params, *args, **kwargs):
        self.asked.append("configuration")

    def log_metrics(self, metrics, step=None):
        self.asked.append(step)
