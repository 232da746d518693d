"""Bad checkpoints, and what is copied to spoil it."""

import io
import pickle
import zipfile

import torch

from support.bad_inputs.case import QUICK, Case


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
