"""`inkwash encode data=NAME autoencoder=kl out=FOLDER`: encode a set once, for trainings on its latents."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.commands.auto_data import find
from inkwash.commands.auto_keys import check_shape, with_stand_ins
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.files import write_text
from inkwash.launch.environment import RankEnv, check_rank_env
from inkwash.launch.report import say
from inkwash.launch.start import exit_code, start


def encode(config: DictConfig) -> None:
    """Write OUT, the moments of all training images, on every rank a part of them; what is there is not done again."""
    try:
        env = RankEnv.given()
        check_shape(config)
        check(with_stand_ins(config))
        check_rank_env(env, config.trainer)
        said = find(config)
        check(config)
        if config.autoencoder is None:
            raise UserError("autoencoder=null encodes nothing: choose autoencoder=kl or autoencoder=tiny")
        leads = env is None or env.rank == 0
        for line in said if leads else ():
            say(line)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain["out"] = str(Path(plain["out"]).expanduser().absolute())
    except (UserError, OSError) as error:
        sys.exit(f"error: {user_error(error) or error}")
    with tempfile.TemporaryDirectory(prefix="inkwash-encode-") as folder:  # each rank of torchrun has its own
        path, trainer = Path(folder, "encode.yaml"), config.trainer
        write_text(path, OmegaConf.to_yaml(plain))
        status = start("inkwash.jobs.encode:encode", path, trainer.accelerator, trainer.devices, env)
    if status:
        sys.exit(exit_code(status))
    if leads:
        say(f"{plain['out']}    next: make train ... autoencoder.cache={config.out}")


def main() -> None:
    cli.run(encode, "encode")
