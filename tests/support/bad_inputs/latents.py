"""Bad inputs of trainings on latents, and of those for few steps."""

import json
from functools import partial

from inkwash.autoencoders.files import WEIGHTS
from support.autoencoders import save_config, save_kl
from support.bad_inputs.case import QUICK, Case
from support.bad_inputs.checkpoints import copied, evaluate, sample
from support.bad_inputs.images import put


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
