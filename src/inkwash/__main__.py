"""Run the command `inkwash COMMAND ...`, also as `python -m inkwash COMMAND ...`."""

import difflib
import importlib
import shutil
import signal
import sys

from inkwash.commands.new import USAGE
from inkwash.config.help import page
from inkwash.errors import UserError
from inkwash.launch.streams import tolerate_readers

# name: (module of inkwash.commands, description, example)
COMMANDS = {
    "train": ("train", "train one model", "inkwash train model=unet_small schedule=cosine"),
    "sweep": ("train", "train one model for each combination", "inkwash sweep schedule=linear,cosine seed=1,2"),
    "resume": ("resume", "go on with a run", "inkwash resume run=NAME trainer.max_steps=5000"),
    "summary": ("summary", "show a network before it trains", "inkwash summary model=unet_small"),
    "plan": ("plan", "time, memory and cost of a training", "inkwash plan model=unet_cifar10 price=2.5"),
    "sample": ("sample", "draw or edit images with a run", "inkwash sample run=NAME num_images=64"),
    "evaluate": ("evaluate", "measure a run, or other images", "inkwash evaluate run=NAME spacing.steps=10,50"),
    "average": ("average", "measure averages of weights", "inkwash average run=NAME length=0.05,0.1,0.2"),
    "data": ("data", "describe a data set", "inkwash data data=folder data.path=PATH"),
    "encode": (
        "encode",
        "encode images to latents, once",
        "inkwash encode autoencoder.path=RUN out=PATH",
    ),
    "export": ("export", "write a run for other programs", "inkwash export run=NAME out=PATH"),
    "import": ("import_pipeline", "make a run of a diffusers pipeline", "inkwash import folder=PATH run=NAME"),
    "runs": ("runs", "list runs", "inkwash runs state=failed"),
    "compare": ("compare", "show what differs between runs", "inkwash compare runs=NAME,OTHER"),
    "report": ("report", "write the page of a run or sweep", "inkwash report runs=NAME,OTHER"),
    "dashboard": ("dashboard", "make a W&B workspace for a run", "inkwash dashboard run=NAME"),
    "new": ("new", "write a project of your own", "inkwash new NAME"),
    "sync": ("sync", "upload offline runs to W&B", "inkwash sync dry=true"),
    "clean-runs": ("clean_runs", "delete what failed runs have left", "inkwash clean-runs dry=false"),
}
# Commands that take what another one takes: their page of --help is that one's.
LIKE = {"sweep": "train", "resume": "train", "summary": "train", "plan": "train", "average": "evaluate"}

# Commands that start the processes of a job, by what Windows does not have: signals, locks and groups of processes.
OF_UNIX = ("data", "encode", "train", "sweep", "resume", "summary", "plan", "sample", "evaluate", "average", "report")


def usage() -> str:
    """Return the list of commands, with examples where the terminal has room beside them."""
    width = max(len(what) for _, what, _ in COMMANDS.values())
    lines = [f"  {name:<10} {what:<{width}}  {example}" for name, (_, what, example) in COMMANDS.items()]
    if max(map(len, lines)) > shutil.get_terminal_size((100, 0)).columns:
        lines = [f"  {name:<10} {what}" for name, (_, what, _) in COMMANDS.items()]
    return "\n".join(
        [
            "inkwash COMMAND [KEY=VALUE ...]: train image diffusion models as experiments",
            "",
            *lines,
            "",
            "KEY=VALUE overrides the configuration (Hydra): `inkwash COMMAND --help` has the",
            "choices, `inkwash COMMAND --cfg job` what would run. Runs are below runs/.",
        ]
    )


def main(name: str | None = None) -> None:
    """Run the command that the first argument names, or `name` with all arguments."""
    # Ctrl-C during imports ends the command at once, without a traceback; unless the shell has it ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    tolerate_readers()
    if name is None:
        name, *rest = sys.argv[1:] or ["--help"]
        if name in ("--help", "-h", "help"):
            print(usage())
            return
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, 1)
            choices = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
            sys.exit(f"error: there is no command {name!r}: {choices}")
        sys.argv = [sys.argv[0], *(["--multirun"] if name == "sweep" else []), *rest]
    if not {"--help", "-h"}.isdisjoint(sys.argv[1:]):
        try:
            print(USAGE if name == "new" else page(LIKE.get(name, name), sys.argv[1:]))
        except UserError as error:
            sys.exit(f"error: {error}")
        return
    if sys.platform == "win32" and name in OF_UNIX:
        sys.exit(f"error: {name} needs Linux or macOS: on Windows run it in WSL 2, which `wsl --install` sets up")
    importlib.import_module(f"inkwash.commands.{COMMANDS[name][0]}").main()


if __name__ == "__main__":
    main()
