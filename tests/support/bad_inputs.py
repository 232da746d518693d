"""Bad inputs: command lines, YAMLs, image files, Parquet files, checkpoints, run directories.

Every case is a command that must end in one sentence. Some cases are written by hand, most are generated.
"""

import ast
import io
import json
import os
import pickle
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from inkwash.autoencoders.files import WEIGHTS
from inkwash.config.signatures import _arguments
from support.autoencoders import save_config, save_kl

ROOT = Path(__file__).parents[2]
QUICK = (
    "debug=fast", "logger=csv", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "model.channels=8",
    "data.batch_size=16", "~callbacks.evaluation",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command that must be refused.

    Attributes:
        name: the kind first: `values/model.channels=abc`.
        module: of inkwash.
        arguments: of the command line.
        says: text that the sentence must contain: a key, a file.
        make: writes files into the folder that the command runs in.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    says: str
    make: Callable[[Path], object] = lambda work: None


# --- Command lines ----------------------------------------------------------------------------------------------------

SYNTAX = {
    "x": "'x'", "=x": "''", "seed": "'seed'", "data.batch_size=[1": "'[1'", "data={": "'{", "seed='1": "seed='1",
    "": "EOF", "seed=${": "seed=${", "seed=${nope}": "nope", "seed=${seed}": "seed",
    "seed=${oc.env:NO_SUCH}": "NO_SUCH",
    "seed=${nope:1}": "nope", "~nope": "nope", "~seed=5": "seed", "seed=abc": "seed", "seed=1.5": "seed",
    "seed=[1]": "seed", "seed={a: 1}": "seed", "seed=null": "seed", "seed=": "seed", "seed=1e400": "seed",
    "+seed.x=1": "seed", "nope=1": "nope", "SEED=1": "SEED", "seed==1": "seed",
    "model@x=unet_small": "model@x", "model@=unet_small": "model", "+model=unet_small": "model", "~model": "model",
    "~data": "data", "~trainer": "trainer", "~callbacks": "callbacks", "~schedule": "schedule", "--nope": "--nope",
    "-q": "-q", "compile=5": "compile", "resume=perhaps": "resume", "resume=must": "run=NAME", "hydra.nope=1": "nope",
    "seed=\x00": "seed", "søde=1": "s", "seed=日本": "seed", "data.shape=(1,8,8)": "(1,8,8)", "hydra.mode=NOPE": "mode",
    "data.shape=${data.shape}": "data.shape", "data.shape=${data}": "shape", "model=${schedule}": "model",
    "seed=choice(1,2)": "seed", "seed=1,2": "multirun", "seed=range(1,3)": "seed", "init_from=nowhere": "init_from",
    "init_from=/etc/passwd": "passwd", "init_from=/dev/null": "/dev/null", "init_from=.": "init_from",
    "init_from=[a]": "init_from", "averages=5": "averages", "averages={a: 5}": "averages.a",
    "averages={a: {_target_: os.system}}": "os.system",
    "seed=" + "[" * 500 + "]" * 500: "brackets", "data.path=/tmp/é": "quotes", "data.path=/tmp/\udcff": "UTF-8",
    "averages={a.b: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.9}}": "averages",
}  # fmt: skip
NAMES = ("a/b", "..", "latest", "-x", "a b", "$(x)", "`x`", "x" * 300, "ü", "a;b", "a\nb", ".hidden", "/tmp/x", "[a]")
GROUPS = sorted(path.name for path in (ROOT / "conf").iterdir() if path.is_dir())
OF_TRAIN = [name for name in GROUPS if name not in ("guide", "likelihood", "task", "tracking")]


SWEEPS = {
    "seed=range(5,5)": "seed=range(5,5)", "seed=glob(*)": "seed=glob(*)", "seed=range(1,100000000)": "10,000",
    "run=a,b": "run=a,b", "launcher=gpus hydra.launcher.gpus=5 seed=1,2": "hydra.launcher.gpus=5",
    "sweeper=optuna seed=range(5,5)": "seed=range(5,5)", "sweeper=optuna seed=glob(*)": "seed=glob(*)",
    "sweeper=optuna seed=1,2 hydra.sweeper.seed=-1": "hydra.sweeper.seed=-1",
    "sweeper=optuna optimizer.lr=interval(1,inf)": "optimizer.lr=interval(1,inf)",
    "sweeper=optuna seed=1,2 hydra.sweeper.storage=nope://x": "hydra.sweeper.storage",
    "sweeper=optuna seed=1,2 hydra.sweeper.storage=a://b:c@d": "hydra.sweeper.storage",
    "sweeper=optuna seed=1,2 hydra.sweeper.storage=sqlite:////nonexistent/x.db": "hydra.sweeper.storage",
}  # fmt: skip


def but(group):
    """QUICK without what needs a group's own file."""
    return tuple(option for option in QUICK if not option.lstrip("~").startswith((f"{group}=", f"{group}.")))


def command_lines():
    for text, says in SYNTAX.items():
        yield Case(f"syntax/{text}", "train", (*QUICK, text), says)
    for name in NAMES:
        quoted = name if name == "[a]" else f"'{name}'" if set(name) & set(" ;$`") else name
        yield Case(f"names/run={name[:20]}", "train", (*QUICK, f"run={quoted}"), "run")
        yield Case(f"names/sweep={name[:20]}", "train", ("--multirun", *QUICK, f"sweep={quoted}"), "sweep")
    for text, says in SWEEPS.items():
        yield Case(f"sweeps/{text}", "train", ("--multirun", *QUICK, *text.split()), says)
    for group in OF_TRAIN:
        yield Case(f"groups/{group}=nope", "train", (*QUICK, f"{group}=nope"), f"{group}/nope")
        yield Case(f"groups/{group}=../../etc/passwd", "train", (*QUICK, f"{group}=../../etc/passwd"), "passwd")
        if group not in ("augment", "debug", "experiment"):  # of which null is a choice
            yield Case(f"groups/{group}=null", "train", (*but(group), f"{group}=null"), group)
            yield Case(f"groups/{group}=5", "train", (*but(group), f"{group}=5"), group)


# --- Values -----------------------------------------------------------------------------------------------------------

OUT_OF_RANGE = {
    "data.batch_size": (0, -1, 10**30), "data.num_workers": (-1,), "data.num_classes": (0, 5, -1),
    "data.shape": ([], [1, 8], [0, 8, 8], [1, 8, 7], [3, 8, 8], [-1, 8, 8], [1, 8, 8, 8]), "data.path": (),
    "data.source.heldout": (0, -5, 1797, 10**6, 3), "data.source.seed": (-1, 2**40), 
    "model.channels": (0, -8, 10**9), "model.channel_mult": ([], [0], [-1], [1] * 9), "model.num_heads": (0, -1, 3),
    "model.num_res_blocks": (-1,), "model.dropout": (-0.1, 1.5), "model.num_classes": (0, 5, -1),
    "model.patch_size": (0, -1), "model.attention_resolutions": ([-1], [0]),
    "schedule.betas.T": (0, -5, 10**12), "schedule.betas.s": (-5,), "schedule.betas.beta_max": (0, 2, -1),
    "spacing.steps": (0, -1, 2000), "optimizer.lr": (-1, "1e-3x"), "optimizer.weight_decay": (-1,),
    "optimizer.betas": ([0.9], [1, 2], [], "abc"),
    "learning_rate.warmup_steps": (-1,), "learning_rate.total_steps": (0, -1),
    "ema.exponent": (0, -1), "loss.label_dropout": (-0.5, 2),
    "trainer.max_steps": (0, -1), "trainer.precision": ("64", "fp8", ""), "trainer.accelerator": ("tpu", "gpus", ""),
    "trainer.devices": (0, -1, "abc", 1.5), "trainer.num_nodes": (0, -1), "trainer.accumulate_grad_batches": (0, -1, 7),
    "trainer.gradient_clip_val": (-1,), "trainer.threads": (0, -1), "trainer.options": ({"nope": 1}, {"max_steps": 3}),
    "callbacks.log.every_n_steps": (0, -1), "callbacks.loss_by_noise.every_n_steps": (0,),
    "callbacks.loss_by_noise.bins": (0, -1), "callbacks.loss_by_noise.low": (20,),
    "callbacks.ema_distance.every_n_steps": (0,), "callbacks.guard.every_n_steps": (0,), "callbacks.guard.skip": (-1,),
    "callbacks.idle.after_steps": (0, -1), "callbacks.progress.log_seconds": (-1,),
    "callbacks.samples.every_n_steps": (0,), "callbacks.samples.num_images": (0, -1), "callbacks.samples.columns": (0,
    -1),
    "callbacks.samples.guidance": ("nan", "abc"), "callbacks.heldout.num_images": (0, -1),
    "callbacks.heldout.batch_size": (0, -1), "callbacks.heldout.every_n_steps": (0,),
    "callbacks.best.mode": ("average",), "callbacks.checkpoint.every_n_steps": (0, -3),
    "callbacks.checkpoint.keep": (0, -1),
}  # fmt: skip
OF_FID = {
    "num_images": (0, 1, -1), "batch_size": (0, -1), "guidance": ("nan",), "weights": ([], ["nope"], "ema"),
    "reference": ("nope", 5), "reference_file": ("nowhere.npz", "/dev/null"), "every_n_steps": (0,),
    "cache_dir": ("/proc/nowhere", 5),
}  # fmt: skip
OF_CHOICES = {
    "schedule=linear": {"schedule.betas.beta_start": (0, -1, 2), "schedule.betas.beta_end": (0, 2)},
    "schedule=edm prediction=edm": {"schedule.sigma_min": (0, -1, 100), "schedule.sigma_data": (0,)},
    "schedule=flow prediction=flow": {"schedule.t_min": (0, 1, -1), "spacing.steps": ("null",)},
    "schedule=vp": {"schedule.beta_min": (0, 30), "schedule.t_min": (0, 1)},
    "schedule=cosine_shifted": {"schedule.image_size": (0,), "schedule.noise_size": (0,)},
    "loss=huber": {"loss.distance.delta": (0, -1)}, "loss=pseudo_huber": {"loss.distance.c": (-1,)},
    "loss=hybrid": {"loss.vlb_weight": (1,)}, "ema=constant": {"ema.decay": (1, -1, 2)},
    "times=log_normal": {"times.std": (0, -1)}, "times=logit_normal": {"times.std": (0, -1)},
    "times=importance": {"times.history": (0, -1), "times.uniform": (0, 2)},
    "weighting=min_snr": {"weighting.gamma": (0, -1)}, "weighting=soft_min_snr": {"weighting.gamma": (0,)},
    "weighting=p2": {"weighting.k": (0, -1)}, "weighting=uncertainty": {"weighting.channels": (0,)},
    "sampler=ddim": {"sampler.eta": (-1, 2), "sampler.clip": (0, -1)}, "sampler=unipc": {"sampler.order": (0, 4)},
    "sampler=heun": {"sampler.S_churn": (-1,), "sampler.S_noise": (-1,)},
    "spacing=karras sampler=ddim": {"spacing.rho": (0, -1), "spacing.sigma_min": (100,)},
    "model=dit_digits": {
        "model.patch_size": (0, 3, 16), "model.width": (0, -4, 50), "model.depth": (0, -1), "model.num_heads": (0, 5),
        "model.mlp_ratio": (0, -1), "model.bottleneck": (0,), "model.context_tokens": (-1,),
        "model.context_start": (-1, 99), "model.time_scale": (0, -1), "model.num_classes": (0, 5),
    },
    "model=dit_digits model.rotary=true model.width=96": {"model.num_heads": (16,)},
    "model=jit_b16": {"model.patch_size": (16,)},
    "weighting=velocity": {"weighting.clip": (0, -1)},
    "times=logit_normal_shifted": {"times.image_size": (0,), "times.noise_size": (0,)},
    "data=cifar10": {"data.source.name": ("NOPE", "ImageFolder", "datasets", "os")},
    "callbacks=[default,early_stopping]": {"callbacks.early_stopping.patience": (0,),
    "callbacks.early_stopping.mode": ("x",)},
    "logger=wandb": {"logger.wandb.mode": ("nope",), "logger.wandb.tags": ("x",)},
    "extractor=inception": {"extractor.weights_path": ("nowhere.pth", "/dev/null")},
}  # fmt: skip
PAIRS = (
    "prediction=mu schedule=flow", "weighting=vlb schedule=flow", "times=importance schedule=flow",
    "schedule=edm loss=vlb",
    "prediction=eps schedule=flow", "loss=hybrid",
    "prediction=eps schedule.zero_terminal_snr=true",
    "metrics=[]", "data=folder", "data=parquet", "extractor=nope", "data=[digits,mnist]",
    "data=digits model=unet_cifar10 data.shape=[3,8,8]", "data.shape=[1,9,8]",
    "init_from=nowhere resume=must",
)  # fmt: skip


def leaves(node, key=""):
    """Every (key, annotation) of a configuration whose constructor says what it takes."""
    arguments = {}
    if str(node.get("_target_", "")).startswith("inkwash."):
        arguments = _arguments(node["_target_"]) or {}
    for name, value in node.items():
        where = f"{key}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from leaves(value, where)
        elif name in arguments:
            yield where, ast.unparse(arguments[name])


def values(config):
    for key, wrong in OUT_OF_RANGE.items():
        for value in wrong:
            text = json.dumps(value).replace('"', "") if isinstance(value, list | dict) else str(value)
            yield Case(f"values/{key}={text[:40]}", "train", (*QUICK, f"{key}={text}"), key.rpartition(".")[2])
    fid = tuple(option for option in QUICK if option != "~callbacks.evaluation")
    for name, wrong in OF_FID.items():
        for value in wrong:
            text = json.dumps(value) if isinstance(value, list) else str(value)
            says = text.strip("/")[:5] if name in ("reference_file", "cache_dir") and isinstance(value, str) else name
            yield Case(
                f"values/callbacks.evaluation.{name}={text}",
                "train",
                (*fid, f"callbacks.evaluation.{name}={text}"),
                says,
            )
    for choice, keys in OF_CHOICES.items():
        base = fid if choice.startswith("extractor") else but("model") if choice.startswith("model") else QUICK
        for key, wrong in keys.items():
            for value in wrong:
                arguments = (*base, *choice.split(), f"{key}={value}")
                yield Case(f"values/{choice} {key}={value}", "train", arguments, key.split(".")[0])
    for pair in PAIRS:
        yield Case(f"pairs/{pair}", "train", (*fid, *pair.split()), pair.split()[0].split("=")[0])
    for key, kind in leaves(config):
        for value, taken in (
            ("abc", ("str", "Any")),
            ("{a: 1}", ("dict", "Any")),
            ("[[[]]]", ("Any",)),
            ("nan", ("Any",)),
        ):
            if value == "nan" and "str" in str(kind):
                continue  # text, then
            if not any(word in kind for word in taken):
                yield Case(f"kinds/{key}={value}", "train", (*QUICK, f"{key}={value}"), key.rpartition(".")[2])


# --- YAML -------------------------------------------------------------------------------------------------------------

YAMLS = {
    "empty": b"", "list": b"- a\n- b\n", "scalar": b"5\n", "tab": b"a:\n\tb: 1\n", "unclosed": b"a: [1, 2\n",
    "colon": b"a: b: c\n", "binary": bytes(range(256)), "latin": "run: \xe4".encode("latin-1"),
    "utf16": "seed: 1".encode("utf-16"),
    "object": b"seed: !!python/object/apply:os.system ['touch mark']\n", "tag": b"seed: !nope 1\n",
    "twice": b"seed: 1\nseed: 2\n",
    "target": b"defaults: [train]\nmodel:\n  _target_: os.system\n  command: touch mark\n",
    "defaults": b"defaults: [nope]\n", "itself": b"defaults: [bad]\n", "unknown": b"defaults: [train]\nnope: 1\n",
    "kind": b"defaults: [train]\nseed: abc\n", "anchor": b"defaults: [train]\nseed: *x\n", "null": b"\x00\x00",
    "interpolation": b"defaults: [train]\nseed: ${\n", "mapping": b"? [a]\n: 1\n", "number": b"1: 2\n",
    "deep": b"a: " + b"[" * 3000,
}  # fmt: skip


def yamls():
    for name, text in YAMLS.items():
        arguments = ("--config-dir", ".", "--config-name", "bad")
        yield Case(
            f"yaml/{name}", "train", arguments, "", lambda work, text=text: (work / "bad.yaml").write_bytes(text)
        )


# --- Images -----------------------------------------------------------------------------------------------------------


def encoded(kind, size=(8, 8), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, kind, **options)
    return file.getvalue()


def png(width, height, data=b"", crc=None):
    """A PNG whose header says what it likes."""

    def chunk(name, content):
        check = zlib.crc32(name + content) if crc is None else crc
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def flat(mode, value, kind="TIFF"):
    file = io.BytesIO()
    Image.new(mode, (8, 8), value).save(file, kind)
    return file.getvalue()


def half(kind):
    whole = encoded(kind, (32, 32))
    return whole[: len(whole) // 2]


# Ghostscript would run it.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(mark) (w) file closefile\nshowpage\n"
IMAGES = {
    "empty.png": b"", "text.png": b"hello", "html.jpg": b"<html><body>404</body></html>", "zeros.png": bytes(5000),
    "signature.png": b"\x89PNG\r\n\x1a\n", "wide.png": png(2**31 - 1, 1), "bomb.png": png(60000, 60000, bytes(10**6)),
    "large.png": png(14000, 14000, bytes(10**6)), "none.png": png(0, 0), "short.png": png(8, 8, b"x"),
    "checksum.png": png(8, 8, bytes(200), crc=5), "half.png": half("PNG"), "half.jpg": half("JPEG"),
    "half.gif": half("GIF"), "half.tiff": half("TIFF"), "half.bmp": half("BMP"), "script.eps": EPS,
    "half.webp": half("WEBP"), "half.avif": half("AVIF"), "vector.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "zip.png": b"PK\x05\x06" + bytes(18),
    "glass.png": encoded("PNG", mode="RGBA"), "nan.tiff": flat("F", float("nan")), "huge.tiff": flat("F", 1e30),
    "negative.tiff": flat("I", -5), "deep.tiff": flat("I", 2**20), "pickle.png": pickle.dumps([1]),
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "script.png": b"#!/bin/sh\ntouch mark\n", "xpm.png": b"/* XPM */",
}  # fmt: skip
PNG = encoded("PNG")
COLOUR = {"colour.png": encoded("PNG")}


def folder(files):
    def make(work):
        for i in range(4):
            (work / "images").mkdir(exist_ok=True)
            (work / "images" / f"good{i}.png").write_bytes(encoded("PNG"))
        for name, content in files.items():
            (work / "images" / name).write_bytes(content)

    return make


# What a folder may hold that makes no set of images; the first word of the name stands in the sentence.
LAYOUTS: dict[str, dict[str, bytes]] = {
    "dataset.json without labels": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b"{}"},
    "dataset.json cut short": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0'},
    "dataset.json of numbers": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [1, 2]}'},
    "dataset.json with a half": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", 0.5]]}'},
    "dataset.json with words": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", "cat"]]}'},
    "dataset.json below zero": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", -3]]}'},
    "data.source.splits=none two of one": {"train/a/0.png": PNG, "val/a/0.png": PNG, "valid/a/0.png": PNG},
    "data.source.splits=none and more": {"train/a/0.png": PNG, "test/a/0.png": PNG, "more/a/0.png": PNG},
    "no images": {"train/notes.txt": b"x", "test/a/0.png": PNG},
    "data.num_classes of three": {f"{c}/{i}.png": PNG for c in "abc" for i in range(4)},
    "data.num_classes of none": {f"{i}.png": PNG for i in range(4)},
    "holds nothing but text": {"a/0.txt": b"x", "b/1.txt": b"x"},
}


def laid(files, work):
    for name, content in files.items():
        path = work / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def put(files, work):
    (work / "shards").mkdir()
    for name, content in files.items():
        (work / name).write_bytes(content)


def special(work, name, how):
    folder({})(work)
    path = work / "images" / name
    if how == "fifo":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(os.path.relpath(path))
    else:
        path.symlink_to(how)


def images():
    data = (*QUICK, "data=folder", "data.path=images", "data.shape=[3,8,8]", "data.source.cache_dir=runs/cache",
        "data.source.heldout_fraction=0.4",
    )  # fmt: skip
    for name, content in IMAGES.items():
        if name in ("script.eps", "vector.svg"):  # passed over and counted beside images
            continue
        yield Case(f"images/{name}", "train", data, name, folder({name: content}))
    one = (*data, "data.shape=[1,8,8]")
    yield Case("images/colour.png", "train", one, "png", folder(COLOUR))
    yield Case("images/no text", "train", data, "broken.png", folder({os.fsdecode(b"\xffbroken.png"): b"x"}))
    odd = (*data, "data.source.resize=false")
    yield Case("images/odd.png", "train", odd, "odd.png", folder({"odd.png": encoded("PNG", (9, 8))}))
    for name, how in (
        ("pipe.png", "fifo"),
        ("zero.png", "/dev/zero"),
        ("gone.png", "nowhere"),
        ("random.png", "/dev/urandom"),
    ):
        yield Case(f"images/{name}", "train", data, name, lambda work, n=name, h=how: special(work, n, h))
    for name, arguments, says in (
        ("nowhere", (*data, "data.path=nowhere"), "data.path"), ("file", (*data, "data.path=/etc/passwd"), "data.path"),
        ("device", (*data, "data.path=/dev/null"), "data.path"), ("none", (*data, "data.path=null"), "data.path"),
        ("number", (*data, "data.path=5"), "data.path"), ("channels", (*data, "data.shape=[2,8,8]"), "2"),
        ("five", (*data, "data.shape=[5,8,8]"), "5"), ("classes", (*data, "data.num_classes=3"), "data.num_classes"),
        ("enormous", (*data, "data.shape=[3,1000000,1000000]"), "decoded images"),
        ("fraction", (*data, "data.source.heldout_fraction=1"), "heldout_fraction"),
        ("negative", (*data, "data.source.heldout_fraction=-1"), "heldout_fraction"),
        ("splits", (*data, "data.source.splits=yes"), "data.source.splits"),
        ("order", (*data, "data.source.class_order=random"), "class_order"),
        ("heldout", (*data, "data.source.heldout_path=nowhere"), "heldout_path"),
        ("same", (*data, "data.source.heldout_path=images"), "heldout_path"),
        ("no shape", (*data, "data.shape=???"), "data.shape=[3,8,8]"),
        ("cache", (*data, "data.source.cache_dir=/proc/nope"), "cache_dir"),
        ("cache file", (*data, "data.source.cache_dir=/etc/passwd"), "cache_dir"),
    ):  # fmt: skip
        yield Case(f"images/{name}", "train", arguments, says, folder({}))
    yield Case("images/nothing", "train", data, "data.path", lambda work: (work / "images").mkdir())
    for name, files in LAYOUTS.items():
        yield Case(f"images/{name}", "train", (*data, "data.num_classes=2"), name.split()[0], partial(laid, files))
    skip = (*data, "data.source.skip_corrupt=true")
    yield Case("images/none readable", "train", skip, "data.path", lambda work: (
        (work / "images").mkdir(), [(work / "images" / f"{i}.png").write_bytes(b"x") for i in range(20)]))  # fmt: skip


# --- Parquet ----------------------------------------------------------------------------------------------------------

GOOD = [encoded("PNG") for _ in range(20)]


def table(images=GOOD, labels=None, column="image", **more):
    columns = {column: [{"bytes": image, "path": None} for image in images]}
    if labels is not None:
        columns["label"] = labels
    return pa.table(columns | more)


def parquet_bytes(found):
    file = io.BytesIO()
    pq.write_table(found, file)
    return file.getvalue()


def spoilt(content, places):
    found = bytearray(content)
    for place in places:
        found[place] ^= 0xFF
    return bytes(found)


def parquets():
    whole = parquet_bytes(table(labels=[i % 3 for i in range(20)]))
    files = {
        "empty": b"", "text": b"hello", "magic": b"PAR1PAR1", "half": whole[: len(whole) // 2], "tail": whole[-200:],
        "zeros": bytes(1000), "footer": spoilt(whole, range(len(whole) - 40, len(whole) - 8)),
        "pages": spoilt(whole, range(100, 2000)), "length": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        "lengths": whole[:-8] + b"\x05\x00\x00\x00PAR1",
        "no rows": parquet_bytes(table([], [])) , "no images": parquet_bytes(pa.table({"a": [1, 2], "label": [0, 1]})),
        "two": parquet_bytes(table(labels=[0] * 20, other=[{"bytes": b"x", "path": None}] * 20)),
        "many names": parquet_bytes(table(labels=["a", "b", "c", "d"] * 5)),
        "mask labels": parquet_bytes(table(labels=GOOD)), "several labels": parquet_bytes(table(labels=[[0, 1]] * 20)),
        "addresses": parquet_bytes(pa.table({"image": ["https://x.org/a.png"] * 20, "label": [0] * 20})),
        "two labels": parquet_bytes(table(fine_label=[0] * 20, coarse_label=[1] * 20)),
        "pointer": b"version https://git-lfs.github.com/spec/v1\n", "ragged": parquet_bytes(
        pa.table({"image": [[[1, 2], [3]]] * 20, "label": [0] * 20})), "no labels": parquet_bytes(table()),
        "float labels": parquet_bytes(table(labels=[0.5] * 20)),
        "null labels": parquet_bytes(table(labels=[0] * 19 + [None])),
        "negative": parquet_bytes(table(labels=[-5] * 20)), "large": parquet_bytes(table(labels=[10**15] * 20)),
        "null image": parquet_bytes(table([*GOOD[:-1], None], [0] * 20)), "bytes": parquet_bytes(table([b"x"] * 20,
        [0] * 20)),
        "text image": parquet_bytes(pa.table({"image": ["a"] * 20, "label": [0] * 20})),
        "numbers": parquet_bytes(pa.table({"image": [{"bytes": 5}] * 20, "label": [0] * 20})),
        "path only": parquet_bytes(pa.table({"image": [{"path": "a.png"}] * 20, "label": [0] * 20})),
        "lists": parquet_bytes(pa.table({"image": [[1, 2]] * 20, "label": [0] * 20})),
    }  # fmt: skip
    data = (*QUICK, "data=parquet", "data.shape=[3,8,8]", "data.num_classes=3", "data.source.cache_dir=runs/cache")
    for name, content in files.items():
        arguments = (*data, "data.path=x.parquet")
        yield Case(
            f"parquet/{name}", "train", arguments, "", lambda work, c=content: (work / "x.parquet").write_bytes(c)
        )
    for name, options, says in (
        ("nowhere", ("data.path=nowhere.parquet",), "data.path"), ("glob", ("data.path='*.nope'",), "data.path"),
        ("folder", ("data.path=.",), "data.path"), ("device", ("data.path=/dev/null",), "/dev/null"),
        ("heldout", ("data.path=x.parquet", "data.source.heldout_path=nowhere"), "heldout_path"),
        ("image column", ("data.path=x.parquet", "data.source.image_column=nope"), "image_column"),
        ("label column", ("data.path=x.parquet", "data.source.label_column=nope"), "label_column"),
        ("label is image", ("data.path=x.parquet", "data.source.label_column=image"), "label_column"),
        ("classes", ("data.path=x.parquet", "data.num_classes=2"), "data.num_classes"),
        ("shape", ("data.path=x.parquet", "data.shape=[3,16,16]"), "data.shape"),
        ("fraction", ("data.path=x.parquet", "data.source.heldout_fraction=5"), "heldout_fraction"),
    ):  # fmt: skip
        make = (lambda work: None) if name == "folder" else (lambda work: (work / "x.parquet").write_bytes(whole))
        yield Case(f"parquet/{name}", "train", (*data, *options), says, make)
    mixed = {"a.parquet": whole, "b.parquet": parquet_bytes(pa.table({"other": [1, 2]}))}
    for name, names, says in (
        ("two in one name", ("train-test.parquet", "a.parquet"), "train-test.parquet"),
        ("a third kind", ("train-0.parquet", "extra-0.parquet"), "extra-0.parquet"),
        ("braces", ("a-1.parquet",), "a-0.parquet"),
    ):  # fmt: skip
        place = "data.path='shards/a-{0..3}.parquet'" if name == "braces" else "data.path=shards"
        files = {f"shards/{file}": whole for file in names}
        yield Case(f"parquet/{name}", "train", (*data, place), says, partial(put, files))
    yield Case("parquet/mixed", "train", (*data, "data.path=shards"), "", lambda work: (
        (work / "shards").mkdir(), [(work / "shards" / name).write_bytes(c) for name, c in mixed.items()]))  # fmt: skip


# --- Tar and zip files ------------------------------------------------------------------------------------------------


def tar_bytes(files, mode="w"):
    """Files by name; a list of pairs may have a name twice."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return file.getvalue()


def labelled(names="{}.png", labels="{}.cls", value=b"0"):
    return {name: content for i in range(20) for name, content in (
        (names.format(i), GOOD[i]), (labels.format(i), value))}  # fmt: skip


def encrypted(content):
    found = bytearray(content)
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        found[found.index(sign) + place] |= 1
    return bytes(found)


def archives():
    apart = dict(sorted(labelled().items(), key=lambda item: item[0].endswith("cls")))
    tars = {
        "empty": b"", "half": tar_bytes(labelled())[:9000], "none": tar_bytes({"a.txt": b"x"}),
        "compressed": tar_bytes(labelled(), "w:gz"), "apart": tar_bytes(apart),
        "folders": tar_bytes(labelled("images/{}.png", "labels/{}.cls")), "dots": tar_bytes(labelled("a.{}.png")),
        "twice": tar_bytes([*labelled().items(), ("19.cls", b"1")]), "text": tar_bytes(labelled(value=b"a\nb")),
        "mixed": tar_bytes({**labelled(), "0.cls": b"cat"}), "zip": archive(**{"0.png": GOOD[0]}),
    }  # fmt: skip
    data = (*QUICK, "data=webdataset", "data.path=x.tar", "data.shape=[3,8,8]", "data.num_classes=3",
        "data.source.cache_dir=runs/cache",
    )  # fmt: skip
    for name, content in tars.items():
        make = lambda work, c=content: (work / "x.tar").write_bytes(c)  # noqa: E731
        yield Case(f"archives/{name} tar", "train", data, "x.tar", make)
    zips = {
        "empty": b"", "half": archive(**{f"{i}.png": GOOD[i] for i in range(20)})[:500], "none": archive(a=b"x"),
        "encrypted": encrypted(archive(**{"0.png": GOOD[0]})), "tar": tar_bytes(labelled()),
        "labels": archive(**{"0.png": GOOD[0], "dataset.json": b"[]"}),
    }  # fmt: skip
    zipped = (*QUICK, "data=folder", "data.path=x.zip", "data.shape=[3,8,8]", "data.source.cache_dir=runs/cache")
    for name, content in zips.items():
        make = lambda work, c=content: (work / "x.zip").write_bytes(c)  # noqa: E731
        yield Case(f"archives/{name} zip", "train", zipped, "x.zip", make)
    whole = lambda work: (work / "x.tar").write_bytes(tar_bytes(labelled()))  # noqa: E731
    for options, says in (
        ("data.path='x-{0..2}.tar'", "stands for 3 files"), ("data.path=s3://b/x.tar", "address"),
        ("data.source.white=0", "data.source.white"), ("data.source.black=300", "data.source.black"),
        ("data.source.background=wite", "data.source.background"), ("data.source.label=nope", "label nope"),
        ("data.source.white=4095", "8 bits"), ("data.source.background=[1,2]", "data.source.background"),
        ("data.source.image=webp", "no images"),
    ):  # fmt: skip
        yield Case(f"archives/{options}", "train", (*data, options), says, whole)


# --- Checkpoints ------------------------------------------------------------------------------------------------------


class Malice:
    """Would leave a file behind when it is unpickled."""

    def __reduce__(self):
        return (open, ("mark", "w"))


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def archive(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as found:
        for name, content in files.items():
            found.writestr(f"archive/{name}", content)
    return file.getvalue()


def changed(content, **keys):
    """The checkpoint with some keys changed, or without those that are None."""
    found = torch.load(io.BytesIO(content), weights_only=True)
    for key, value in keys.items():
        found.pop(key, None)
        if value is not None:
            found[key] = value
    return saved(found)


def odd_state(content, change):
    found = torch.load(io.BytesIO(content), weights_only=True)["state_dict"]
    return changed(content, state_dict={name: change(value) for name, value in found.items()})


def checkpoints(good):
    """`good` is a trained run of QUICK."""
    content = (good / "checkpoints" / "last.ckpt").read_bytes()
    first = next(iter(torch.load(io.BytesIO(content), weights_only=True)["state_dict"]))
    files = {
        "empty": b"", "text": b"hello", "zeros": bytes(10_000), "half": content[: len(content) // 2],
        "end": content[:-10],
        "pickle": pickle.dumps({"state_dict": {}}), "malicious": saved({"state_dict": {}, "x": Malice()}),
        "bare": pickle.dumps(Malice()), "list": saved([1, 2]), "number": saved(5), "tensor": saved(torch.zeros(2)),
        "none": saved({}),
        "zip": archive(x=b"hello"), "no pickle": archive(**{"data/0": b"x", "version": b"3"}),
        "bomb": archive(**{"data.pkl": bytes(300_000_000), "version": b"3"}), "old": saved([1],
        _use_new_zipfile_serialization=False),
        "no state": changed(content, state_dict=None), "no step": changed(content, global_step=None),
        "text step": changed(content, global_step="x"), "list state": changed(content, state_dict=[1]),
        "negative step": changed(content, global_step=-5), "numbers": changed(content, state_dict={first: 5}),
        "shapes": odd_state(content, lambda value: value[None]), "empty state": changed(content, state_dict={}),
        "text keys": changed(content, state_dict={5: torch.zeros(2)}),
    }  # fmt: skip
    of_training = {
        "no optimizer": changed(content, optimizer_states=None), "no loops": changed(content, loops=5),
        "odd optimizer": changed(content, optimizer_states=[{"state": {}, "param_groups": []}]),
        "text optimizer": changed(content, optimizer_states="abc"), "text config": changed(content, config="abc"),
        "no scores": changed(content, scores=None), "no schedulers": changed(content, lr_schedulers=None),
        "text callbacks": changed(content, callbacks="abc"), "odd layout": changed(content, layout=5),
        "odd images": changed(content, images=[5]), "future": changed(content, **{"pytorch-lightning_version": "99.0"}),
        "no version": changed(content, **{"pytorch-lightning_version": None}),
    }  # fmt: skip
    sound = {"future", "no version", "odd images"}
    put = lambda name, c: lambda work: copied(good, work, **{name: c})  # noqa: E731
    for name, found in files.items():
        step = "checkpoints/last.ckpt"
        yield Case(f"checkpoints/sample {name}", "sample", sample("runs/run"), "last.ckpt", put(step, found))
        start = (*QUICK, "run=new", "init_from=x.ckpt")
        yield Case(
            f"checkpoints/init_from {name}",
            "train",
            start,
            "x.ckpt",
            lambda work, c=found: (work / "x.ckpt").write_bytes(c),
        )
    for name, found in {**files, **of_training}.items():
        if name not in sound:
            resume = (*QUICK, "run=run", "trainer.max_steps=9")
            yield Case(f"checkpoints/resume {name}", "train", resume, "", put("only", found))
    yield Case(
        "checkpoints/evaluate", "evaluate", evaluate("run=runs/run"), "last.ckpt", put("checkpoints/last.ckpt", b"x")
    )
    yield Case(
        "checkpoints/export",
        "export",
        ("run=runs/run", "out=runs/out"),
        "last.ckpt",
        put("checkpoints/last.ckpt", b"x"),
    )
    for name in ("nope.ckpt", "../config.yaml", "/etc/passwd", "", "..", "."):
        arguments = (*sample("runs/run"), f"checkpoint='{name}'")
        yield Case(f"checkpoints/checkpoint={name}", "sample", arguments, "checkpoint", lambda work: copied(good, work))


def sample(run):
    return (
        f"run={run}",
        "num_images=2",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
        "spacing.steps=2",
        "out=runs/out",
    )


def evaluate(*more):
    return ("trainer.accelerator=cpu", "trainer.threads=1", "num_images=8", "metrics=[fid]", "out=runs/out", *more)


def copied(good, work, **files):
    """A copy of a run in runs/run, with files replaced; `only` replaces its one checkpoint under all its names."""
    for path in good.rglob("*"):
        target = work / "runs" / "run" / path.relative_to(good)
        if path.is_file() and "only" in files and path.suffix == ".ckpt":
            continue
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for name, content in files.items():
        target = work / "runs" / "run" / ("checkpoints/last.ckpt" if name == "only" else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            target.unlink()
        else:
            target.write_bytes(content)


# --- Run directories --------------------------------------------------------------------------------------------------

LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(8)
)


HARMLESS = (
    "interpolation",
    "cut",
    "nothing",
    "missing",
    "kind",
    "lacking",
    "argument",
    "stranger",
    "nowhere",
    "other class",
)


def runs(good):
    config = (good / "config.yaml").read_bytes()
    broken = {
        "empty": b"", "list": b"- 1\n", "scalar": b"5", "binary": bytes(range(256)), "latin": b"a: \xff\xfe",
        "unclosed": b"a: [", "laughs": LAUGHS, "laughs too": config + LAUGHS, "cut": config[: len(config) // 2],
        "nothing": b"{}",
        "object": config + b"x: !!python/object/apply:os.system ['touch mark']\n", "null": b"\x00",
        "interpolation": config.replace(b"seed: 0", b"seed: ${nope}", 1), "missing": config.replace(b"channels: 8",
        b"channels: ???"),
        "kind": config.replace(b"channels: 8", b"channels: abc"), "other": config.replace(b"channels: 8",
        b"channels: 16"),
        "argument": config.replace(b"channels: 8", b"chanels: 8"), "lacking": config.replace(b"  channels: 8\n", b""),
        "stranger": config.replace(b"inkwash.nets.unet.UNet", b"os.system"),
        "nowhere": config.replace(b"nets.unet.UNet", b"nets.unet.Nope"),
        "other class": config.replace(b"inkwash.nets.unet.UNet", b"inkwash.process.weightings.EDM"),
        "shape": config.replace(b"  shape:\n  - 1\n", b"  shape:\n  - 2\n"), "no shape": config.replace(b"  shape:\n",
        b"  shapes:\n"),
    }  # fmt: skip
    commands = {
        "sample": ("sample", sample("runs/run")),
        "evaluate": ("evaluate", evaluate("run=runs/run")),
        "export": ("export", ("run=runs/run", "out=runs/out")),
        "init_from": ("train", (*QUICK, "init_from=runs/run", "run=new")),
        "resume": ("train", (*QUICK, "run=run", "trainer.max_steps=9")),
    }
    assert all(text != config for text in broken.values())
    for name, text in broken.items():
        for kind, (module, arguments) in commands.items():
            # What trains composes its own configuration, and asks the run's only what has changed.
            if kind == "init_from" or (kind == "resume" and name in HARMLESS):
                continue
            makes = lambda work, t=text: copied(good, work, **{"config.yaml": t})  # noqa: E731
            yield Case(f"runs/{kind} {name}", module, arguments, "", makes)
    for file, content in (
        ("run.json", b""), ("run.json", b"[]"), ("run.json", b"{}"), ("run.json", b"\xff"),
        ("metrics.csv", b"\xff\xfe,\x00\n"), ("metrics.csv", b"a,b\n1,2\n"),
        ("metrics.csv", b"step,heldout/loss\n4,abc\n"),
    ):  # fmt: skip
        makes = lambda work, f=file, c=content: copied(good, work, **{f: c})  # noqa: E731
        arguments = (*QUICK, "run=run", "trainer.max_steps=9")
        yield Case(f"runs/{file} {content!r}", "train", arguments, file, makes)
    for file in ("config.yaml", "run.json", "train.log", "metrics.csv", "metrics.jsonl", "status.json"):

        def makes(work, file=file):
            copied(good, work)
            (work / "runs/run" / file).unlink(missing_ok=True)
            (work / "runs/run" / file).mkdir()

        yield Case(f"runs/{file} is a folder", "train", (*QUICK, "run=run", "trainer.max_steps=9"), file, makes)
    for file in ("run.json", "metrics.csv", "metrics.jsonl", "train.log", "checkpoints/last.ckpt"):

        def makes(work, file=file):
            copied(good, work)
            for path in (work / "runs/run/checkpoints").iterdir() if "last" in file else [work / "runs/run" / file]:
                path.unlink(missing_ok=True)
            os.mkfifo(work / "runs/run" / file)

        says = "checkpoints" if "last" in file else file
        yield Case(f"runs/{file} is a pipe", "train", (*QUICK, "run=run", "trainer.max_steps=9"), says, makes)
    for kind in ("sample", "evaluate", "export", "init_from"):
        module, arguments = commands[kind]
        yield Case(
            f"runs/{kind} nothing", module, arguments, "run", lambda work: (work / "runs/run").mkdir(parents=True)
        )
    for file in ("checkpoints", "samples"):

        def makes(work, file=file):
            (work / "runs/run").mkdir(parents=True)
            (work / "runs/run" / file).write_text("x")

        yield Case(f"runs/{file} is a file", "train", (*QUICK, "run=run"), file, makes)
    yield Case(
        "runs/runs is a file", "train", (*QUICK, "run=run"), "runs", lambda work: (work / "runs").write_text("x")
    )
    yield Case("runs/run is a file", "train", (*QUICK, "run=run"), "runs", lambda work: (
        (work / "runs").mkdir(), (work / "runs/run").write_text("x")))  # fmt: skip


# --- What is asked of a run -------------------------------------------------------------------------------------------

ASKED = {
    "num_images": (0, -1, "abc"), "batch_size": (0, -1), "columns": (0, -1), "label": (10, -1, "abc"),
    "guidance": ("nan", "abc", "inf"),
    "weights": ("nope", ""), "spacing.steps": (0, -1, 5000, "abc"), "trainer.accelerator": ("tpu",),
    "trainer.precision": ("fp8",),
    "trainer.threads": (0, -1), "task": ("nope", "null"), "sampler": ("nope", "null", "unipc sampler.order=9"),
    "seed": ("abc",),
    "guide": ("auto", "nope", "null"), "trainer": ("null", "5"), "out": ("/dev/null/x", "/proc/x"),
    "task=inpaint task.mask": ("nope", "/dev/null", "5"), "task=inpaint task.resamples": (0, -1),
    "task=inpaint task.images": ("nowhere", "5", "/dev/null"),
    "task=img2img task.strength": (0, -1, 2, "nan"), "task=reconstruct task.strength": (-1, 5),
    "task=interpolate task.frames": (0, 1, -1),
    "guide=auto guide.bad": (5, "nowhere"), "guide=auto guide.run": ("nowhere",),
}  # fmt: skip
MEASURED = {
    "num_images": (0, 1, -5, "abc"), "batch_size": (0, 1), "reference": ("nope",), "reference_file": ("nowhere.npz",
    "/dev/null"),
    "weights": ("nope",), "checkpoint": ("nope.ckpt",), "metrics": ("[]", "null", "[nope]"), "likelihood": ("nope",
    "flow"),
    "trainer.devices": (0, "abc"), "images": ("nowhere",), "extractor": ("nope",
    "inception extractor.weights_path=nowhere"),
    "cache_dir": ("/proc/nope",), "guidance": ("nan", "abc"), "out": ("/dev/null/x",), "sampler": ("ddim,nope",),
    "seed": ("abc", "range(5,5)", "range(1,100000000)"), "data": ("folder", "nope"),
    "run": ("nowhere",), "metrics=[kid] metrics.kid.subsets": (0,),
    "metrics=[kid] metrics.kid.subset_size": (0,),
}  # fmt: skip


def asked(good):
    make = lambda work: copied(good, work)  # noqa: E731
    for module, base, table_ in (
        ("sample", sample("runs/run"), ASKED),
        ("evaluate", evaluate("run=runs/run"), MEASURED),
    ):
        for key, wrong in table_.items():
            for value in wrong:
                *more, key_ = key.split()
                first, _, rest = str(value).partition(" ")
                arguments = (*base, *more, f"{key_}={first}", *rest.split())
                name = f"{module}/{key}={value}"
                says = (
                    first.strip("/")[:5]
                    if key in ("out", "reference_file", "cache_dir")
                    else key_.rpartition(".")[2][:6]
                )
                yield Case(name, module, arguments, says, make)
    for module in ("sample", "evaluate", "export", "importing"):
        yield Case(f"{module}/nothing", module, (), "", make)
        yield Case(f"{module}/nope", module, ("nope=1",), "nope", make)
        yield Case(f"{module}/syntax", module, ("run=[",), "[", make)
        yield Case(f"{module}/multirun", module, ("--multirun", "run=runs/run"), "--multirun", make)
    for name, arguments in (
        ("format", ("run=runs/run", "out=runs/out", "format=nope")), ("weights", ("run=runs/run", "out=runs/out",
        "weights=nope")),
        ("out", ("run=runs/run", "out=/dev/null/x")), ("run", ("run=nowhere", "out=runs/out")),
        ("file", ("run=runs/run", "out=/proc/x", "format=safetensors")),
    ):  # fmt: skip
        yield Case(f"export/{name}", "export", arguments, {"file": "/proc/x", "out": "/dev/null"}.get(name, name), make)
    for name, files in {
        "nothing": {}, "empty": {"model_index.json": b""}, "list": {"model_index.json": b"[]"},
        "binary": {"model_index.json": b"\xff"},
        "other": {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}'},
        "halves": {"model_index.json": b'{"_class_name": "DDPMPipeline"}', "unet/config.json": b"{",
        "scheduler/scheduler_config.json": b"{}"},
        "no weights": {"model_index.json": b'{"_class_name": "DDPMPipeline"}', "unet/config.json": b"{}",
        "scheduler/scheduler_config.json": b"{}"},
        "no fields": {"unet/config.json": b"[]", "scheduler/scheduler_config.json": b"{}"},
        "no path": {"unet/config.json": b'{"_class_name": "UNet2DModel"}', "scheduler/scheduler_config.json": b"[]"},
        "list of weights": {"unet/config.json": b'{"_class_name": "UNet2DModel"}', "scheduler/scheduler_config.json":
        b'{"_class_name": "DDPMScheduler"}', "unet/diffusion_pytorch_model.bin": saved([1, 2])},
        "no size": {"unet/config.json": b'{"_class_name": "UNet2DModel", "sample_size": 0}',
        "scheduler/scheduler_config.json": b'{"_class_name": "DDPMScheduler"}',
        "unet/diffusion_pytorch_model.bin": saved({})},
    }.items():  # fmt: skip

        def makes(work, files=files):
            for file, content in files.items():
                (work / "pipe" / file).parent.mkdir(parents=True, exist_ok=True)
                (work / "pipe" / file).write_bytes(content)

        yield Case(f"import/{name}", "importing", ("folder=pipe", "run=new"), "", makes)


# --- Latents, and images in few steps ---------------------------------------------------------------------------------


def kept_autoencoder(work, channels=1, seed=0, **config):
    """An autoencoder of diffusers in work/kl, with some fields of its config.json changed."""
    save_kl(work / "kl", channels, seed)
    fields = json.loads((work / "kl" / "config.json").read_text())
    (work / "kl" / "config.json").write_text(json.dumps(fields | config))


def with_cache(work):
    """An autoencoder, and moments that another one has made."""
    kept_autoencoder(work)
    (work / "moments").mkdir()
    (work / "moments" / "meta.json").write_text(json.dumps({"autoencoder": "0" * 32}))


def latents(good):
    kl, whole = (*QUICK, "autoencoder=kl"), kept_autoencoder
    for name, more, says, make in (
        ("no value", (), "autoencoder.path=...", whole),
        ("nowhere", ("path=nowhere",), "autoencoder.path=nowhere", whole),
        ("empty folder", ("path=kl",), "holds no autoencoder", lambda work: (work / "kl").mkdir()),
        ("no weights", ("path=kl",), "safetensors is missing", lambda work: save_config(work / "kl")),
        ("other weights", ("path=kl",), "autoencoder.path=kl", partial(whole, latent_channels=3)),
        ("text for weights", ("path=kl",), "autoencoder.path=kl", lambda work: (
            whole(work), put({f"kl/{WEIGHTS}": b"hello"}, work))),
        ("offline", ("path=me/nothing",), "autoencoder.path=me/nothing", whole),
        ("a run", ("path=runs/run",), "runs/run holds no autoencoder", lambda work: copied(good, work)),
        ("channels", ("path=kl",), "images of 3 channels", partial(whole, channels=3)),
        ("factor", ("path=kl",), "multiples of 16", partial(whole, block_out_channels=[16] * 5)),
        ("std", ("path=kl", "std=0"), "autoencoder.std=0", whole),
        ("batch", ("path=kl", "batch_size=0"), "autoencoder.batch_size=0", whole),
        ("no cache", ("path=kl", "cache=nowhere"), "autoencoder.cache=nowhere", whole),
        ("another's cache", ("path=kl", "cache=moments"), "latents of another autoencoder", with_cache),
    ):  # fmt: skip
        yield Case(f"latents/{name}", "train", (*kl, *(f"autoencoder.{key}" for key in more)), says, make)
    for text, says in (
        ("sampler.clip=1", "sampler.clip"), ("loss=vlb", "loss=vlb"), ("sampler=ddim_dynamic", "sampler.clip"),
        ("augment=edm", "augment"), ("resume=must", "run=NAME"),
    ):  # fmt: skip
        yield Case(f"latents/{text}", "train", (*kl, "autoencoder.path=kl", text), says, whole)
    tiny = (*QUICK, "autoencoder=tiny", "autoencoder.path=kl")
    yield Case("latents/another class", "train", tiny, "use autoencoder=kl", whole)


EDM = ("schedule=edm", "prediction=edm", "times=log_normal", "spacing=karras")
FLOW = ("schedule=flow", "prediction=flow", "sampler=euler")
OTHER = ("model=edm2_small", "model.head_dim=8", "model.channels=16")  # a network that cannot be told two times


def few_steps(good):
    """`good` is a run of the default path, a chain."""
    make = lambda work: copied(good, work)  # noqa: E731
    tune, told = (*EDM, "loss=consistency"), (*FLOW, "model.two_times=true")
    for name, options, says in (
        ("another path", (*tune, "init_from=runs/run"), "trained with schedule._target_"),
        ("a chain", ("loss=consistency", "init_from=runs/run"), "loss=consistency"),
        ("stages", (*tune, "loss.stages=5"), "loss.stages=5"), ("stages 0", (*tune, "loss.stages=0"), "loss.stages=0"),
        ("weighted", (*tune, "weighting=edm"), "weighting"), ("prediction", (*tune, "prediction=x0"), "prediction=x0"),
        ("not told", (*FLOW, "loss=meanflow"), "model.two_times=true"),
        ("not told halves", (*FLOW, "loss=shortcut"), "model.two_times=true"),
        ("cannot be told", (*FLOW, "loss=meanflow", *OTHER), "model: EDM2"),
        ("told for nothing", ("model.two_times=true",), "model.two_times"),
        ("jumps on a chain", ("loss=shortcut", "model.two_times=true"), "loss=shortcut"),
        ("jumps on edm", (*EDM, "loss=shortcut", "model.two_times=true", "weighting=uniform"), "loss=shortcut"),
        ("quick waves", (*told, "loss=meanflow"), "model.time_scale"), ("steps", (*told, "loss=shortcut",
        "loss.steps=100"), "loss.steps=100"), ("same", (*told, "loss=shortcut", "loss.same=1"), "loss.same=1"),
        ("difference", (*told, "loss=meanflow", "loss.h=1"), "loss.h=1"),
        ("no label", (*told, "loss=shortcut", "loss.guidance=2", "loss.label_dropout=0"), "loss.guidance=2"),
        ("no classes", (*told, "loss=shortcut", "loss.guidance=2", "model.num_classes=null"), "loss.guidance=2"),
        ("16 bits", (*told, "loss=meanflow", "model.time_scale=0.01", "trainer.precision=bf16-true"), "loss=meanflow"),
        ("sampler", ("sampler=consistency", "spacing=karras"), "sampler: Consistency"),
    ):  # fmt: skip
        yield Case(f"few steps/{name}", "train", (*QUICK, *options), says, make)
    chosen = ("sampler=consistency", "spacing=trailing")
    yield Case("few steps/sample", "sample", (*sample("runs/run"), *chosen), "sampler: Consistency", make)
    yield Case("few steps/evaluate", "evaluate", evaluate("run=runs/run", *chosen), "sampler: Consistency", make)


def everything(config, good):
    """All cases; `config` is a composed configuration of QUICK, `good` a run of it."""
    kinds = (
        command_lines(), values(config), yamls(), images(), parquets(), archives(), checkpoints(good), runs(good),
        asked(good), latents(good), few_steps(good),
    )  # fmt: skip
    return [*{case.name: case for kind in kinds for case in kind}.values()]
