"""Bad inputs: command lines, YAMLs, image files, Parquet files, checkpoints, run directories.

Every case is a command that must end in one sentence. Some cases are written by hand, most are generated.
"""

from support.bad_inputs.checkpoints import checkpoints
from support.bad_inputs.command_lines import command_lines, values, yamls
from support.bad_inputs.images import images
from support.bad_inputs.latents import few_steps, latents
from support.bad_inputs.runs import asked, runs
from support.bad_inputs.tables import archives, parquets


def everything(config, good):
    """All cases; `config` is a composed configuration of QUICK, `good` a run of it."""
    kinds = (
        command_lines(), values(config), yamls(), images(), parquets(), archives(), checkpoints(good), runs(good),
        asked(good), latents(good), few_steps(good),
    )  # fmt: skip
    return [*{case.name: case for kind in kinds for case in kind}.values()]
