"""Bad run directories, and what cannot be asked of a good one."""

import os

from support.bad_inputs.case import QUICK, Case
from support.bad_inputs.checkpoints import copied, evaluate, sample, saved

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
