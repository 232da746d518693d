"""Bad command lines, values of keys and YAML files."""

import ast
import json

from inkwash.config.signatures import _arguments
from support.bad_inputs.case import QUICK, ROOT, Case

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
    "seed=choice(1,2)": "seed", "seed=1,2": "sweep", "seed=range(1,3)": "seed", "init_from=nowhere": "init_from",
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
